//! A catalog, a manifest and a `CURRENT` that an earlier build wrote: every later build must read them.

use std::env;

use super::*;
use crate::format::current;
use crate::format::manifest::{self, Manifest};
use crate::vfs::File;

/// Returns the bytes of a fixture; with QUORATE_REWRITE=1 it is made anew first.
fn fixture(name: &str, make: impl FnOnce() -> Vec<u8>) -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    if env::var_os("QUORATE_REWRITE").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), make()).expect("written");
    }
    Bytes::from(std::fs::read(folder.join(name)).expect("there"))
}

const SECTOR: usize = 512;

/// Packs a file that is mostly zeros: its length, then the sectors that are not zero, each behind its offset.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = (bytes.len() as u64).to_le_bytes().to_vec();
    for (sector, offset) in bytes.chunks(SECTOR).zip((0_u64..).step_by(SECTOR)) {
        if sector.iter().any(|byte| *byte != 0) {
            packed.extend(offset.to_le_bytes());
            packed.extend(sector);
        }
    }
    packed
}

fn unpack(packed: &[u8], file: &dyn File) {
    let (length, sectors) = packed.split_first_chunk::<8>().expect("a length");
    file.set_len(u64::from_le_bytes(*length)).expect("room");
    for sector in sectors.chunks(8 + SECTOR) {
        let (offset, sector) = sector.split_first_chunk::<8>().expect("an offset");
        file.write_at(sector, u64::from_le_bytes(*offset)).expect("written");
    }
}

#[test]
fn a_catalog_of_the_second_format_is_read() {
    let make = || pack(&with_checkpoints(2, 20).read(path()).expect("made"));
    let bytes = fixture("catalog-2", make);
    let vfs = disk();
    unpack(&bytes, &*vfs.open(path(), Open::Create).expect("a file"));
    let (_, found) = verified(&vfs).expect("whole");
    assert_eq!(found.into_iter().collect::<Keys>(), keys(2, 20));
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    check(&catalog.newest(), 2, 20);
    check_groups(&catalog.newest(), 2);
    commit(&catalog, 3, 20).expect("goes on");
    check(&catalog.newest(), 3, 20);
    check_groups(&catalog.newest(), 3);
}

#[test]
fn a_manifest_of_the_first_format_is_read() {
    let sum = |rows| TableSum { rows, sum: u128::from(rows) << 80 };
    let contents = Contents {
        indexed: Indexed { through: 1, round: Some(round(2)) },
        keys: sum(1),
        records: sum(2),
        stream_records: 1,
        snapshots: sum(3),
        filters: sum(4),
        groups: TableSum::default(),
    };
    let (state, chunks) = (state(2), vec![chunk(1), chunk(2)]);
    let log_id = state.log_id.expect("of a checkpoint");
    let manifest = Manifest { log_id, state, contents, chunks };
    let bytes = fixture("manifest-1", || manifest::encode(&manifest).to_vec());
    assert_eq!(manifest::decode(&bytes), Ok(manifest));
}

#[test]
fn a_current_of_the_first_format_is_read() {
    let line = fixture("current-1", || current::encode(17));
    assert_eq!(current::decode(&line), Ok(17));
}
