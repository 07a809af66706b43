//! Tests of power cuts, injected failures and locks of the disk in memory.

use super::*;

const FILE: &str = "/node/file";

fn node() -> MemVfs {
    let vfs = MemVfs::new();
    vfs.create_directory(Path::new("/node")).expect("a folder");
    vfs
}

fn path() -> &'static Path {
    Path::new(FILE)
}

fn sync_names(vfs: &MemVfs) {
    vfs.sync_directory(Path::new("/node")).expect("synced");
}

/// A durable file of 4 sectors of `a`.
fn with_file() -> (MemVfs, Arc<dyn File>) {
    let vfs = node();
    let file = vfs.open(path(), Open::Create).expect("created");
    file.write_at(&[b'a'; 2048], 0).expect("written");
    file.sync_data().expect("synced");
    sync_names(&vfs);
    (vfs, file)
}

#[test]
fn what_was_not_synced_is_lost_with_the_power() {
    let (vfs, file) = with_file();
    file.write_at(b"b", 7).expect("written");
    assert_eq!(vfs.read(path()).expect("there")[7], b'b');
    vfs.restart(Survival::Nothing);
    assert_eq!(vfs.read(path()).expect("there"), [b'a'; 2048]);
    assert!(file.len().is_err(), "a file opened before the cut is dead");
}

#[test]
fn a_killed_program_loses_nothing_it_wrote() {
    let (vfs, file) = with_file();
    file.write_at(b"b", 7).expect("written");
    vfs.restart(Survival::Everything);
    assert_eq!(vfs.read(path()).expect("there")[7], b'b');
}

#[test]
fn a_name_is_lost_until_its_folder_is_synced() {
    let vfs = node();
    let file = vfs.open(path(), Open::Create).expect("created");
    file.sync_data().expect("synced");
    let forgetful = vfs.fork();
    forgetful.restart(Survival::Nothing);
    assert!(!forgetful.exists(path()).expect("power"));
    sync_names(&vfs);
    vfs.restart(Survival::Nothing);
    assert!(vfs.exists(path()).expect("power"));
}

#[test]
fn an_unsynced_rename_leaves_the_old_file_or_the_new_one() {
    let (vfs, _) = with_file();
    let new = vfs.open(Path::new("/node/new"), Open::Create).expect("created");
    new.write_at(b"new", 0).expect("written");
    new.sync_data().expect("synced");
    vfs.rename(Path::new("/node/new"), path()).expect("renamed");
    assert_eq!(vfs.read(path()).expect("there"), b"new");
    let mut seen = [0; 2];
    for seed in 0..32 {
        let disk = vfs.fork();
        disk.restart(Survival::Seeded(seed));
        seen[usize::from(disk.read(path()).expect("old or new") == b"new")] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn a_seeded_cut_leaves_every_mix_of_whole_sectors_and_lengths() {
    let (vfs, file) = with_file();
    file.write_at(&[b'b'; 1024], 256).expect("written");
    file.write_at(&[b'c'; 1024], 2048).expect("written");
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..256 {
        let disk = vfs.fork();
        disk.restart(Survival::Seeded(seed));
        let bytes = disk.read(path()).expect("there");
        for (index, sector) in bytes.chunks(512).enumerate() {
            let fresh = match index {
                0 => [[b'a'; 256], [b'b'; 256]].concat(),
                1 => vec![b'b'; 512],
                2 => [[b'b'; 256], [b'a'; 256]].concat(),
                3 => vec![b'a'; 512],
                _ => vec![b'c'; 512],
            };
            let stale = vec![if index < 4 { b'a' } else { 0 }; 512];
            assert!(sector == fresh || sector == stale, "sector {index} is torn");
        }
        outcomes.insert(bytes);
    }
    assert!(outcomes.len() > 8, "{} outcomes", outcomes.len());
}

#[test]
fn the_same_seed_leaves_the_same_disk() {
    let (vfs, file) = with_file();
    file.write_at(&[b'b'; 2000], 100).expect("written");
    let left = |seed| {
        let disk = vfs.fork();
        disk.restart(Survival::Seeded(seed));
        disk.read(path()).expect("there")
    };
    for seed in 0..16 {
        assert_eq!(left(seed), left(seed));
    }
}

#[test]
fn after_the_cut_everything_fails_until_the_restart() {
    let (vfs, file) = with_file();
    vfs.cut_after(1);
    file.write_at(b"b", 0).expect("the one that is let through");
    assert!(file.sync_data().is_err());
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(vfs.exists(path()).is_err());
    assert!(vfs.open(path(), Open::Read).is_err());
    vfs.restart(Survival::Nothing);
    assert_eq!(vfs.read(path()).expect("there"), [b'a'; 2048]);
    assert!(vfs.open(path(), Open::Write).expect("opened").write_at(b"b", 0).is_ok());
}

#[test]
fn the_change_during_which_the_power_goes_may_survive() {
    let (vfs, file) = with_file();
    vfs.cut_after(0);
    assert!(file.write_at(b"b", 0).is_err());
    vfs.restart(Survival::Everything);
    assert_eq!(vfs.read(path()).expect("there")[0], b'b');
}

#[test]
fn a_failed_sync_loses_its_data_though_it_can_be_read_and_the_next_sync_succeeds() {
    let (vfs, file) = with_file();
    vfs.fail_sync_after(0);
    file.write_at(b"b", 0).expect("written");
    assert!(file.sync_data().is_err());
    file.write_at(b"c", 1000).expect("written");
    file.sync_data().expect("only one sync fails");
    assert_eq!(vfs.read(path()).expect("there")[0], b'b');
    vfs.restart(Survival::Everything);
    let bytes = vfs.read(path()).expect("there");
    assert_eq!((bytes[0], bytes[1000]), (b'a', b'c'));
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwriting() {
    let (vfs, file) = with_file();
    vfs.set_capacity(Some(2100));
    assert_eq!(vfs.free_bytes(path()).expect("power"), 52);
    let full = file.write_at(&[0; 100], 2048).expect_err("full");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    file.write_at(&[0; 100], 0).expect("no growth");
    vfs.set_capacity(None);
    file.write_at(&[0; 100], 2048).expect("room again");
}

#[test]
fn a_flipped_bit_and_a_truncation_are_on_the_platter_too() {
    let (vfs, _) = with_file();
    vfs.flip_bit(path(), 3, 0).expect("there");
    vfs.truncate(path(), 5).expect("there");
    vfs.restart(Survival::Nothing);
    assert_eq!(vfs.read(path()).expect("there"), b"aaa`a");
    assert!(vfs.flip_bit(path(), 5, 0).is_err());
}

#[test]
fn a_removed_file_can_be_read_by_who_has_it_open() {
    let (vfs, file) = with_file();
    vfs.remove(path()).expect("removed");
    sync_names(&vfs);
    file.read_at(&mut [0; 2048], 0).expect("still there");
    assert!(vfs.open(path(), Open::Read).is_err());
}

#[test]
fn a_lock_is_free_again_when_dropped_and_after_a_restart() {
    let vfs = node();
    let lock = Path::new("/node/lock");
    let held = vfs.lock(lock).expect("free");
    assert_eq!(vfs.lock(lock).expect_err("held").kind(), io::ErrorKind::WouldBlock);
    vfs.restart(Survival::Nothing);
    let again = vfs.lock(lock).expect("free");
    drop(held);
    assert!(vfs.lock(lock).is_err(), "a dead lock does not free a live one");
    drop(again);
    assert!(vfs.lock(lock).is_ok());
}

/// Both file systems return the same results for the same calls.
#[test]
fn it_behaves_as_the_real_file_system_does() {
    let real = tempfile::tempdir().expect("a folder");
    let memory = node();
    check_contract(&super::super::OsVfs, real.path());
    check_contract(&memory, Path::new("/node"));
}

fn check_contract(vfs: &dyn Vfs, root: &Path) {
    let directory = root.join("a/b");
    vfs.create_directory(&directory).expect("created");
    vfs.create_directory(&directory).expect("already there");
    let (one, two) = (directory.join("one"), directory.join("two"));
    let kind = |result: io::Result<Arc<dyn File>>| result.expect_err("refused").kind();
    assert_eq!(kind(vfs.open(&one, Open::Read)), io::ErrorKind::NotFound);
    assert_eq!(kind(vfs.open(&root.join("x/y"), Open::Create)), io::ErrorKind::NotFound);
    let file = vfs.open(&one, Open::Create).expect("created");
    assert_eq!(kind(vfs.open(&one, Open::Create)), io::ErrorKind::AlreadyExists);
    file.write_at(b"world", 6).expect("written");
    file.write_at(b"hello", 0).expect("written");
    let mut buffer = [9; 11];
    file.read_at(&mut buffer, 0).expect("read");
    assert_eq!(&buffer, b"hello\0world");
    let early = file.read_at(&mut buffer, 1).expect_err("too long");
    assert_eq!(early.kind(), io::ErrorKind::UnexpectedEof);
    file.set_len(5).expect("cut");
    file.set_len(7).expect("grown");
    file.sync_data().expect("synced");
    assert_eq!(file.len().expect("a length"), 7);
    vfs.rename(&one, &two).expect("renamed");
    vfs.sync_directory(&directory).expect("synced");
    assert_eq!(vfs.list(&directory).expect("listed"), ["two"]);
    assert!(vfs.list(root).expect("listed").is_empty(), "folders are left out");
    assert!(vfs.exists(&two).expect("an answer") && !vfs.exists(&one).expect("an answer"));
    assert!(vfs.open(&two, Open::Read).expect("there").write_at(b"x", 0).is_err());
    let lock = vfs.lock(&directory.join("lock")).expect("free");
    let held = vfs.lock(&directory.join("lock")).expect_err("held").kind();
    assert_eq!(held, io::ErrorKind::WouldBlock);
    drop(lock);
    assert!(vfs.free_bytes(&directory).expect("a number") > 0);
    vfs.remove(&two).expect("removed");
    assert_eq!(vfs.remove(&two).expect_err("gone").kind(), io::ErrorKind::NotFound);
}
