//! The log on the real file system.

use std::sync::Arc;

use quorate_store::vfs::OsVfs;

use super::*;

#[test]
fn a_log_on_the_real_disk_holds_what_it_was_given_over_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("log");
    let open = || RaftLog::open(Arc::new(OsVfs), &directory, options()).expect("opens");
    let mut model = Model::default();
    for seed in 0..6 {
        let (log, mut writer) = open();
        assert!(model.is_held_by(&log), "start {seed}");
        let mut run = Run::new(model);
        run.go(&script(seed, 60), &log, &mut writer);
        drop(log);
        while writer.wait() {
            pump(&mut writer).expect("the disk is well");
        }
        model = run.states.pop().expect("a state");
        let report = verify(&OsVfs, &directory, &options()).expect("is whole");
        assert_eq!(report.entries, model.entries.len() as u64);
    }
}

#[test]
fn readers_on_other_threads_see_whole_entries_while_segments_turn_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = LogOptions { cache_bytes: 0, ..options() };
    let (log, mut writer) = RaftLog::open(Arc::new(OsVfs), folder.path(), options).expect("opens");
    let last = 300;
    std::thread::scope(|scope| {
        let reader = log.clone();
        scope.spawn(move || {
            // A read of entries that are purged meanwhile fails with its own kind of error.
            while reader.state().last.is_none_or(|id| id.index.0 < last) {
                let state = reader.state();
                let from = state.purged.map_or(0, |id| id.index.0 + 1);
                let until = state.last.map_or(0, |id| id.index.0 + 1);
                match reader.read(from, until, 50_000) {
                    Ok(entries) => {
                        for found in entries {
                            assert_eq!(found, entry(1, found.id.index.0, 3000));
                        }
                    }
                    Err(Fault::Io { source, .. }) => {
                        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        });
        for index in 0..=last {
            log.append(vec![entry(1, index, 3000)], Box::new(|answer| answer.expect("is durable")));
            pump(&mut writer).expect("the disk is well");
            if let Some(old) = index.checked_sub(20) {
                log.purge(LogId::new(1, old));
            }
        }
    });
}
