//! A catalog on its way to another node.

use super::*;

#[test]
fn what_is_exported_is_imported() {
    let vfs = with_checkpoints(2, 20_000);
    let export =
        Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").export().expect("pinned");
    let other = disk();
    let mut import = CatalogImport::new(
        &shared(&other),
        path(),
        export.state(),
        export.contents(),
        export.chunks(),
        CACHE,
    )
    .expect("new");
    let pages: Vec<Bytes> = export.pages().collect::<Result<_, _>>().expect("readable");
    assert!(pages.len() > 1);
    for page in &pages {
        import.put(page).expect("taken");
    }
    let imported = import.finish().expect("durable").newest();
    check(&imported, 2, 20_000);
    check_groups(&imported, 2);
    drop(imported);
    other.restart(Survival::Nothing);
    check(&Catalog::open(&shared(&other), path(), CACHE).expect("opened").newest(), 2, 20_000);
    verified(&other).expect("whole");
}

#[test]
fn a_damaged_or_repeated_page_from_another_node_is_refused() {
    let vfs = with_checkpoints(1, 50);
    let export =
        Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").export().expect("pinned");
    let page = export.pages().next().expect("a page").expect("readable");
    let import = || {
        let disk = shared(&disk());
        let (state, contents) = (export.state(), export.contents());
        CatalogImport::new(&disk, path(), state, contents, export.chunks(), CACHE).expect("new")
    };
    for byte in (0..page.len()).step_by(97) {
        let mut flipped = page.to_vec();
        flipped[byte] ^= 4;
        assert!(import().put(&Bytes::from(flipped)).is_err(), "byte {byte}");
    }
    let mut import = import();
    import.put(&page).expect("taken");
    assert!(matches!(import.put(&page), Err(Fault::Damaged { .. })));
}

#[test]
fn a_catalog_that_comes_short_or_changed_from_another_node_is_refused() {
    let vfs = with_checkpoints(2, 20_000);
    let export =
        Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").export().expect("pinned");
    let pages: Vec<Bytes> = export.pages().collect::<Result<_, _>>().expect("readable");
    for left_out in 0..=pages.len() {
        let (state, contents) = (export.state(), export.contents());
        let disk = shared(&disk());
        let import = CatalogImport::new(&disk, path(), state, contents, export.chunks(), CACHE);
        let mut import = import.expect("new");
        for (at, page) in pages.iter().enumerate() {
            if at != left_out {
                import.put(page).expect("each is whole");
            }
        }
        assert_eq!(import.finish().is_ok(), left_out == pages.len(), "without page {left_out}");
    }
    let mut other = export.contents().clone();
    other.records.sum ^= 1;
    let disk = shared(&disk());
    let import = CatalogImport::new(&disk, path(), export.state(), &other, export.chunks(), CACHE);
    let mut import = import.expect("new");
    pages.iter().for_each(|page| import.put(page).expect("taken"));
    assert!(matches!(import.finish(), Err(Fault::Damaged { .. })));
}
