//! A catalog across power cuts, and on disks that fail or are full.

use super::*;

#[test]
fn after_a_failed_commit_nothing_is_committed_any_more() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    vfs.fail_sync_after(0);
    assert!(commit(&catalog, 2, 10).is_err());
    assert!(commit(&catalog, 2, 10).is_err());
    assert!(catalog.export().is_err());
    drop(catalog);
    vfs.restart(Survival::Nothing);
    check(&Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").newest(), 1, 10);
}

#[test]
fn a_full_disk_fails_the_commit_and_keeps_the_checkpoint() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    vfs.set_capacity(Some(vfs.read(path()).expect("there").len() as u64));
    assert!(put(&catalog, &state(2), Some(&chunk(2)), &keys(2, 100_000)).is_err());
    drop(catalog);
    vfs.set_capacity(None);
    vfs.restart(Survival::Everything);
    check(&Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").newest(), 1, 10);
}

/// Runs commits with the power cut after `changes` changes, and checks what every kind of cut leaves.
fn cut_power(base: &MemVfs, changes: u64, count: u64) -> bool {
    let vfs = base.fork();
    vfs.cut_after(changes);
    let mut acknowledged = 2;
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE);
    if let Ok(catalog) = &catalog {
        while acknowledged < 4 && commit(catalog, acknowledged + 1, count).is_ok() {
            acknowledged += 1;
        }
    }
    drop(catalog);
    let survivals = [Survival::Nothing, Survival::Everything].into_iter();
    for survival in survivals.chain((0..6).map(|seed| Survival::Seeded(seed * 1009 + changes))) {
        let left = vfs.fork();
        left.restart(survival);
        let what = format!("{survival:?} after {changes} changes");
        let (export, _) = verified(&left).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let there = export.state().next_chunk - 1;
        assert!(there == acknowledged || there == acknowledged + 1, "{what}: {there}");
        let catalog = Catalog::open(&shared(&left), path(), CACHE).expect(&what);
        check(&catalog.newest(), there, count);
        scrubbed(&catalog).expect(&what);
        commit(&catalog, there + 1, count).expect(&what);
        check(&catalog.newest(), there + 1, count);
        scrubbed(&catalog).expect(&what);
    }
    acknowledged == 4
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_checkpoint_or_the_new_one() {
    let base = with_checkpoints(2, 300);
    let mut changes = 0;
    while !cut_power(&base, changes, 300) {
        changes += 1;
    }
    assert!(changes > 10, "only {changes} moments");
}

/// Scrubs a catalog and returns the number of bytes that were checked.
fn scrubbed(catalog: &Catalog) -> Result<u64, Fault> {
    let (mut scrub, mut bytes) = (catalog.scrub(), 0);
    loop {
        match scrub.step(1 << 16)? {
            0 => return Ok(bytes),
            more => bytes += more,
        }
    }
}

#[test]
fn a_scrub_distinguishes_damage_from_what_a_power_cut_tore() {
    let count = 300;
    let (mut torn, mut found, mut unused) = (0, 0, 0);
    for changes in (3..24).step_by(3) {
        let vfs = with_checkpoints(2, count);
        let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
        vfs.cut_after(changes);
        let is_cut = commit(&catalog, 3, count).is_err();
        drop(catalog);
        vfs.restart(Survival::Seeded(changes));
        // Nothing has been written over the torn pages yet.
        let whole = verified(&vfs).expect("a checkpoint").0.state().clone();
        let fails = fails_its_checksum(&vfs);
        torn += usize::from(is_cut && !fails.is_empty());
        let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
        assert!(scrubbed(&catalog).expect("nothing in use is damaged") > 0);
        assert_eq!(catalog.state(), whole);
        // Further damage is found, unless nothing uses the page. Pages in memory do not hide it.
        let pages = catalog.pages.state().checksums.len() as u64;
        for page in (1 + changes % 13..pages).step_by(13) {
            vfs.flip_bit(path(), page_offset(page) + 7, 3).expect("there");
            match (scrubbed(&catalog), verified(&vfs)) {
                (Err(Fault::Damaged { .. }), Err(_)) => found += 1,
                (Ok(_), Ok(_)) => unused += 1,
                (scrubbed, _) => panic!("page {page} after {changes} changes: {scrubbed:?}"),
            }
            vfs.flip_bit(path(), page_offset(page) + 7, 3).expect("there");
        }
    }
    assert!(found > 5 && unused > 5, "{found} found, {unused} unused");
    assert!(torn > 0, "no power cut tore a page");
}

/// Returns the pages that do not match their checksums.
fn fails_its_checksum(vfs: &MemVfs) -> Vec<u64> {
    let file = shared(vfs).open(path(), Open::Read).expect("there");
    let pages = Pages::open(file, path()).expect("opened");
    let count = pages.state().checksums.len() as u64;
    let fails = |page: &u64| {
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        redb::StorageBackend::read(&pages, page * BLOCK_BYTES, &mut bytes).is_err()
    };
    (1..count).filter(fails).collect()
}

#[test]
fn a_power_cut_while_a_catalog_is_created_leaves_one_that_can_be_replaced() {
    for changes in 0.. {
        let vfs = disk();
        vfs.cut_after(changes);
        let done = Catalog::create(&shared(&vfs), path(), &state(0), CACHE).is_ok();
        for seed in 0..4 {
            let left = vfs.fork();
            left.restart(Survival::Seeded(seed));
            if done {
                check(
                    &Catalog::open(&shared(&left), path(), CACHE).expect("opened").newest(),
                    0,
                    1,
                );
            }
            let again = Catalog::create(&shared(&left), path(), &state(0), CACHE).expect("created");
            check(&again.newest(), 0, 1);
        }
        if done {
            break;
        }
    }
}
