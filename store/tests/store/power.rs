//! The power goes at every operation that changes the disk: nothing that was durable may be missed after it.

use quorate_proto::{Append, Expectation, LogId};
use quorate_store::vfs::{MemVfs, Survival, Vfs};
use quorate_store::{Entry, Fault, Payload, Store};

use crate::model::Model;
use crate::support::{append, command, open, options, read, replay, require, write};

const CHUNK_BYTES: u64 = 1500;

/// A log that crosses some boundaries, one of them without an event between.
pub(crate) fn log(entries: u64) -> (Vec<Entry>, Model) {
    let (mut log, mut model) = (Vec::new(), Model::default());
    for at in 0..entries {
        let appends = appends(at);
        let payload = match at % 30 {
            3 => Payload::Attachment(vec![at as u8; 5].into()),
            20..29 => Payload::Blank,
            _ => {
                model.command(at as i64, &appends);
                command(at as i64, &appends)
            }
        };
        log.push(Entry { log_id: LogId::new(1 + at / 40, at), payload });
    }
    (log, model)
}

fn appends(at: u64) -> Vec<Append> {
    let id = at * 10;
    let mut transaction = append("order-1", Expectation::Any, &[id, id + 1]);
    transaction.writes.push(write("acme/order-2", Expectation::Any, &[id + 2]));
    transaction.requirements.push(require("limits-1", Expectation::None));
    let repeated = append("order-1", Expectation::Any, &[id.saturating_sub(10)]);
    vec![transaction, append(&format!("bill-{at}"), Expectation::None, &[id + 3]), repeated]
}

/// Applies the log and seals as it goes; tells the newest checkpoint that was known to be durable.
fn run(vfs: &MemVfs, log: &[Entry], durable: &mut Option<LogId>) -> Result<Store, Fault> {
    let mut store = open(vfs, &options(CHUNK_BYTES))?;
    for entry in log {
        store.apply(entry.clone())?;
        // Some seals are late, so that the next boundary is near.
        if store.must_wait() || entry.log_id.index.0 % 7 == 0 {
            while let Some(seal) = store.begin_seal() {
                let sealed = seal.run()?;
                *durable = Some(sealed.log_id());
                store.finish_seal(sealed)?;
            }
        }
    }
    Ok(store)
}

/// Opens what is left, applies the rest of the log, and compares.
pub(crate) fn check(
    vfs: &MemVfs,
    log: &[Entry],
    model: &Model,
    durable: Option<LogId>,
    chunk_bytes: u64,
) {
    let mut store = open(vfs, &options(chunk_bytes)).expect("opens after the cut");
    assert!(store.checkpointed() >= durable, "a durable checkpoint is lost");
    assert_eq!(store.applied(), store.checkpointed());
    check_files(vfs, &store);
    replay(&mut store, log).expect("applies the rest of the log");
    assert_eq!(read(&store.reader(), &Model::all(), 4000), model.events);
    assert_eq!(store.position().0, model.events.len() as u64);
    drop(store);
    let again = open(vfs, &options(chunk_bytes)).expect("opens once more");
    assert!(again.checkpointed() >= durable);
}

/// An opened store's folder holds its checkpoint and nothing else but what the next install makes use of.
fn check_files(vfs: &MemVfs, store: &Store) {
    let folder = std::path::Path::new("/store");
    let names = vfs.list(folder).expect("lists");
    assert!(
        matches!(&names[..], [current, catalog]
        if current == "CURRENT" && catalog.starts_with("catalog-")),
        "{names:?}"
    );
    let chunks = store.export().expect("exports").map_or(0, |export| export.chunks().len());
    let names = vfs.list(&folder.join("chunks")).expect("lists");
    let fetched = names.iter().filter(|name| name.starts_with("install-"));
    assert!(fetched.clone().all(|name| !name.ends_with(".part")), "{names:?}");
    assert_eq!(names.len() - fetched.count(), chunks, "{names:?}");
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_a_checkpoint_holds() {
    let (log, model) = log(60);
    let vfs = MemVfs::new();
    let store = run(&vfs, &log, &mut None).expect("runs without a cut");
    let changes = vfs.counters().changes;
    drop(store);
    assert!(changes > 100, "only {changes} operations: nothing was sealed");
    for cut in 0..changes {
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(cut)] {
            let vfs = MemVfs::new();
            vfs.cut_after(cut);
            let mut durable = None;
            let ran = run(&vfs, &log, &mut durable);
            assert!(ran.is_err(), "the cut after {cut} operations was not noticed");
            drop(ran);
            vfs.restart(survival);
            check(&vfs, &log, &model, durable, CHUNK_BYTES);
        }
    }
}

#[test]
fn a_sync_that_fails_ends_the_seal_and_loses_nothing() {
    let (log, model) = log(60);
    let vfs = MemVfs::new();
    run(&vfs, &log, &mut None).expect("runs without a fault");
    for failing in 0..vfs.counters().syncs {
        let vfs = MemVfs::new();
        vfs.fail_sync_after(failing);
        let mut durable = None;
        if run(&vfs, &log, &mut durable).is_ok() {
            // Only syncs of files fail: there were fewer of those.
            break;
        }
        vfs.restart(Survival::Nothing);
        check(&vfs, &log, &model, durable, CHUNK_BYTES);
    }
}

#[test]
fn a_folder_with_chunks_but_without_current_is_refused() {
    let (log, _) = log(40);
    let vfs = MemVfs::new();
    run(&vfs, &log, &mut None).expect("runs");
    vfs.restart(Survival::Everything);
    vfs.remove(std::path::Path::new("/store/CURRENT")).expect("removes");
    let refused = open(&vfs, &options(CHUNK_BYTES)).expect_err("refuses");
    assert!(matches!(refused, Fault::Foreign { .. }), "{refused}");
}

#[test]
fn a_folder_of_other_options_is_refused() {
    let vfs = MemVfs::new();
    drop(open(&vfs, &options(CHUNK_BYTES)).expect("founds"));
    let (mut cluster, mut log, mut size) =
        (options(CHUNK_BYTES), options(CHUNK_BYTES), options(CHUNK_BYTES));
    cluster.cluster = [8; 16];
    log.log = 1;
    size.chunk_bytes += 1;
    for options in [cluster, log, size] {
        let refused = open(&vfs, &options).expect_err("refuses");
        assert!(matches!(refused, Fault::Foreign { .. }), "{refused}");
    }
    open(&vfs, &options(CHUNK_BYTES)).expect("opens with its own");
}
