//! A catalog whose file was damaged behind its back.

use super::*;
use crate::catalog::database::KEYS;

/// Asks for everything: a fault is allowed, another answer is not, and neither is a whole older checkpoint.
fn ask_everything(vfs: &MemVfs, checkpoint: u64, count: u64) {
    let Ok(catalog) = Catalog::open(&shared(vfs), path(), CACHE) else { return };
    assert_eq!(catalog.state(), state(checkpoint));
    for (key, expected) in keys(checkpoint, count) {
        if let Ok(found) = catalog.newest().key(&key.encode()) {
            assert_eq!(found, Some(expected));
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_never_served_and_is_found_where_it_matters() {
    let vfs = with_checkpoints(3, 200);
    let length = vfs.read(path()).expect("there").len() as u64;
    let (mut noticed, mut harmless) = (0, 0);
    for byte in (0..length).step_by(59) {
        let vfs = vfs.fork();
        vfs.flip_bit(path(), byte, (byte % 8) as u8).expect("there");
        match verified(&vfs) {
            Err(Fault::Damaged { .. }) => noticed += 1,
            Err(fault) => panic!("byte {byte}: {fault}"),
            Ok((export, found)) => {
                harmless += 1;
                assert_eq!(export.state(), &state(3), "byte {byte}");
                assert_eq!(found.into_iter().collect::<Keys>(), keys(3, 200), "byte {byte}");
            }
        }
        if vfs.read(path()).expect("there")[byte as usize] != 0 {
            ask_everything(&vfs, 3, 200);
        }
    }
    assert!(noticed > 50 && harmless > 0, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn each_copy_of_the_header_is_enough() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    commit(&catalog, 2, 10).expect("committed");
    // The power fails right after the commit.
    vfs.cut_after(0);
    drop(catalog);
    vfs.restart(Survival::Nothing);
    for offset in [100, BLOCK_BYTES + 100] {
        let vfs = vfs.fork();
        vfs.flip_bit(path(), offset, 3).expect("there");
        check(&Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").newest(), 2, 10);
    }
    vfs.flip_bit(path(), 100, 3).expect("there");
    vfs.flip_bit(path(), BLOCK_BYTES + 100, 3).expect("there");
    assert!(matches!(Catalog::open(&shared(&vfs), path(), CACHE), Err(Fault::Damaged { .. })));
}

#[test]
fn a_value_that_was_changed_behind_its_checksum_is_found() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    let transaction = begin(&catalog.database, path()).expect("begun");
    {
        let mut table = transaction.open_table(KEYS).expect("opened");
        let encoded = key(3).encode();
        let mut value = table.get(&*encoded).expect("read").expect("there").value().to_vec();
        value[0] ^= 1;
        table.insert(&*encoded, &*value).expect("inserted");
    }
    transaction.commit().expect("committed");
    drop(catalog);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    assert!(matches!(catalog.newest().key(&key(3).encode()), Err(Fault::Damaged { .. })));
    assert!(catalog.newest().key(&key(4).encode()).expect("whole").is_some());
    drop(catalog);
    assert!(verified(&vfs).expect_err("found").to_string().contains("order-00003"));
}

#[test]
fn looking_does_not_change_the_file() {
    let vfs = with_checkpoints(2, 100);
    let before = (vfs.read(path()).expect("there"), vfs.counters());
    verified(&vfs).expect("whole");
    assert!(before == (vfs.read(path()).expect("there"), vfs.counters()));
}

#[test]
fn a_truncated_catalog_does_not_lie() {
    let vfs = with_checkpoints(2, 200);
    let length = vfs.read(path()).expect("there").len() as u64;
    for len in (0..length).step_by(30_011).chain([length - 1]) {
        let vfs = vfs.fork();
        vfs.truncate(path(), len).expect("there");
        assert!(verified(&vfs).is_err(), "cut at {len}");
        ask_everything(&vfs, 2, 200);
    }
}
