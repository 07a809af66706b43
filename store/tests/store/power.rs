//! Tests that cut the power at every operation that changes the disk: nothing durable may be lost.

use quorate_proto::{
    Append, Expectation, Failed, GroupDefinition, GroupName, GroupProgress, GroupRequest,
    GroupSettings, LogId, Parked, Position, Query, Selection, Timestamp,
};
use quorate_store::vfs::{MemVfs, Survival, Vfs};
use quorate_store::{Entry, Fault, Payload, Store, command};

use crate::group_model::{Asked, At};
use crate::model::Model;
use crate::support::{append, open, options, read, replay, require, write};

const CHUNK_BYTES: u64 = 6000;

/// Returns a log that crosses some boundaries, one of them without an event since the boundary before.
pub(crate) fn log(entries: u64) -> (Vec<Entry>, Model) {
    let (mut log, mut model) = (Vec::new(), Model::default());
    for at in 0..entries {
        let (log_id, appends) = (LogId::new(1 + at / 40, at), appends(at));
        let payload = match at % 30 {
            3 => Payload::Attachment(vec![at as u8; 5].into()),
            20..29 => Payload::Blank,
            _ => {
                model.command(at as i64, &appends);
                let mut builder = command::Builder::new(Timestamp(at as i64));
                appends.iter().for_each(|append| builder.push(&command::encode_append(append)));
                for asked in of_groups(log_id, &model) {
                    builder.push(&asked.encode());
                    let last = Position(model.events.len() as u64);
                    let at = At { log_id, last, time: Timestamp(at as i64) };
                    model.groups.ask(&asked, at);
                }
                Payload::Command(builder.finish())
            }
        };
        log.push(Entry { log_id, payload });
    }
    (log, model)
}

/// Returns requests to two groups: `mail` comes and goes, `billing` parks and replays more than it drops.
fn of_groups(log_id: LogId, model: &Model) -> Vec<Asked> {
    let (at, last) = (log_id.index.0, model.events.len() as u64);
    let asked = |name: &str, request| {
        let name = GroupName::new(name).expect("a name");
        Asked { name, term: log_id.term, id: None, request }
    };
    let (query, settings) = (Query::everything(), GroupSettings::default());
    let definition = GroupDefinition { query, after: Position(0), settings };
    let progress = |name: &str| {
        let parked = Parked {
            position: Position(last),
            attempts: 10,
            reason: format!("it failed at {at}"),
            parked_at: Timestamp(0),
        };
        let (position, due) = (Position(last - 1), Timestamp(at as i64 + 100));
        GroupProgress {
            incarnation: model.groups.incarnation(&GroupName::new(name).expect("a name")),
            floor: Position(last - 3),
            settled: vec![Position(last - 2)],
            failed: vec![Failed { position, attempts: 1, due }],
            parked: vec![parked],
        }
    };
    let mut all = vec![asked("billing", GroupRequest::Progress(progress("billing")))];
    match at % 10 {
        0 => all.insert(0, asked("billing", GroupRequest::Create(definition))),
        1 => all.push(asked("mail", GroupRequest::Create(definition))),
        2 | 4 => all.push(asked("mail", GroupRequest::Progress(progress("mail")))),
        5 => all.push(asked("billing", GroupRequest::Replay(Selection::All))),
        6 => all.push(asked("mail", GroupRequest::Delete)),
        7 => all.push(asked("billing", GroupRequest::Drop(Selection::All))),
        _ => {}
    }
    all
}

fn appends(at: u64) -> Vec<Append> {
    let id = at * 10;
    let mut transaction = append("order-1", Expectation::Any, &[id, id + 1]);
    transaction.writes.push(write("acme/order-2", Expectation::Any, &[id + 2]));
    transaction.requirements.push(require("limits-1", Expectation::None));
    let repeated = append("order-1", Expectation::Any, &[id.saturating_sub(10)]);
    vec![transaction, append(&format!("bill-{at}"), Expectation::None, &[id + 3]), repeated]
}

/// Applies the log and seals as it goes; sets `durable` to the newest checkpoint known to be durable.
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

/// Opens the store, applies the rest of the log, and compares the result with the model.
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
    model.groups.check(&store.reader());
    drop(store);
    let again = open(vfs, &options(chunk_bytes)).expect("opens once more");
    assert!(again.checkpointed() >= durable);
}

/// Asserts that an opened store's folder holds its checkpoint and files for the next install, nothing else.
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
            // Only syncs of files are made to fail, and there are fewer of them than syncs in all.
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
    assert!(matches!(refused, Fault::Damaged { .. }), "{refused}");
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
