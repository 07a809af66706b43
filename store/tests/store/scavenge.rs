//! Tests that a scavenged store gives the same answers as one that is not scavenged, on less space.

use std::path::Path as FilePath;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_proto::limits::RETRY_WINDOW;
use quorate_proto::{
    Append, ChangeKind, Condition, Event, Expectation, LogId, Position, Query, QueryItem, Read,
    RecordedEvent, Scope, Setting, SettingsChange, Snapshot, Timestamp, Version, Write,
};
use quorate_store::vfs::{Survival, Vfs};
use quorate_store::{
    Entry, Fault, Payload, Rejection, ScavengeStep, Store, Verdict, command, verify,
};

use crate::install::fetch;
use crate::model::Model;
use crate::support::{DIRECTORY, category, exactly, open, read, replay, seal_all, stream};
use crate::twins::{Freed, Node, STREAMS, Twins, files, folder, rewritten, run, scopes};

pub(crate) fn settings(count: Option<u64>, age: Option<u64>, before: Option<u64>) -> ChangeKind {
    let put = |value: Option<u64>| value.map_or(Setting::Keep, Setting::Put);
    let change =
        SettingsChange { max_count: put(count), max_age_us: put(age), truncate_before: before };
    ChangeKind::Settings(change)
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Streams, their expectation, the number of events for each, and how far back a condition looks.
    Append(Vec<usize>, usize, u64, Option<u64>),
    Change(usize, ChangeKind),
    Snapshot(usize),
    Again(prop::sample::Index),
    Wait(i64),
    Seal,
    Checkpoint,
    Scavenge,
    Restart {
        lean: bool,
        seed: u64,
    },
    Compare,
}

fn any_change() -> impl Strategy<Value = ChangeKind> {
    let keep = SettingsChange::default();
    prop_oneof![
        3 => (1..5_u64).prop_map(|count| settings(Some(count), None, None)),
        2 => (1..80_u64).prop_map(|age| settings(None, Some(age), None)),
        2 => (1..60_u64).prop_map(|before| settings(None, None, Some(before))),
        1 => Just(ChangeKind::Settings(SettingsChange { max_count: Setting::Clear, ..keep })),
        1 => Just(ChangeKind::Settings(SettingsChange { max_age_us: Setting::Clear, ..keep })),
        2 => Just(ChangeKind::Delete),
        1 => Just(ChangeKind::Tombstone),
    ]
}

pub(crate) fn any_op() -> impl Strategy<Value = Op> {
    let streams = proptest::sample::subsequence((0..STREAMS.len()).collect::<Vec<_>>(), 1..3);
    prop_oneof![
        12 => (streams, 0..5_usize, 1..5_u64, proptest::option::weighted(0.3, 0..20_u64))
            .prop_map(|(streams, expected, count, back)| Op::Append(streams, expected, count, back)),
        4 => (0..scopes().len(), any_change()).prop_map(|(scope, kind)| Op::Change(scope, kind)),
        1 => (0..STREAMS.len()).prop_map(Op::Snapshot),
        2 => any::<prop::sample::Index>().prop_map(Op::Again),
        2 => (1..40_i64).prop_map(Op::Wait),
        3 => Just(Op::Seal),
        2 => Just(Op::Checkpoint),
        3 => Just(Op::Scavenge),
        1 => (any::<bool>(), any::<u64>()).prop_map(|(lean, seed)| Op::Restart { lean, seed }),
        1 => Just(Op::Compare),
    ]
}

impl Twins {
    pub(crate) fn run(&mut self, op: Op) {
        match op {
            Op::Append(streams, expected, count, back) => {
                let reader = self.plain.store.reader();
                let head = |at: &usize| {
                    let name = stream(STREAMS[*at]);
                    (reader.version(&name).expect("reads"), name)
                };
                let writes: Vec<_> = streams.iter().map(head).collect();
                let expectation = |version: Version| match expected {
                    0 => Expectation::Any,
                    1 => Expectation::None,
                    2 => Expectation::Exists,
                    _ => exactly(version.0),
                };
                let mut append = Append::default();
                for (version, stream) in writes {
                    let (expectation, events) = (expectation(version), self.events(count));
                    append.writes.push(Write { stream, expectation, events });
                }
                if let Some(back) = back {
                    let after = Position(self.plain.store.position().0.saturating_sub(back));
                    let scope = scopes()[(back as usize + expected) % scopes().len()].clone();
                    let items = vec![QueryItem { scope: Some(scope), ..QueryItem::default() }];
                    append.conditions.push(Condition { query: Query { items }, after });
                }
                self.append(&append);
            }
            Op::Change(at, kind) => {
                let scope = scopes()[at].clone();
                let is_stream = matches!(scope, Scope::Stream(_));
                if is_stream || matches!(kind, ChangeKind::Settings(_)) {
                    self.change(scope, kind);
                }
            }
            Op::Snapshot(at) => {
                let stream = stream(STREAMS[at]);
                let version = self.plain.store.reader().version(&stream).expect("reads");
                if version > Version::ZERO {
                    let data = Bytes::from(vec![at as u8; 9]);
                    let snapshot = Snapshot { stream, version, schema: 1, data };
                    self.send(&[command::encode_snapshot(&snapshot)]);
                }
            }
            Op::Again(index) if !self.requests.is_empty() => {
                let request = index.get(&self.requests).clone();
                self.send(&[request]);
            }
            Op::Again(_) => {}
            Op::Wait(time) => self.at += time,
            Op::Seal => self.seal(),
            Op::Checkpoint => self.checkpoint(),
            Op::Scavenge => drop(self.scavenge()),
            Op::Restart { lean, seed } => {
                let node = if lean { &mut self.lean } else { &mut self.plain };
                node.restart(Survival::Seeded(seed), &self.log);
                self.compare_points();
            }
            Op::Compare => self.compare(),
        }
    }

    fn compare_points(&self) {
        assert_eq!(self.plain.store.reader().point(), self.lean.store.reader().point());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_scavenged_store_answers_as_one_that_was_not(
        ops in proptest::collection::vec(any_op(), 1..120), chunk_bytes in 400..3000_u64
    ) {
        let mut twins = Twins::new(chunk_bytes);
        for op in ops {
            twins.run(op);
        }
        twins.checkpoint();
        twins.scavenge();
        twins.compare();
        twins.lean.restart(Survival::Nothing, &twins.log);
        twins.compare_points();
        twins.compare();
        twins.repeat_everything();
        twins.compare();
        twins.checkpoint();
        for node in [&twins.plain, &twins.lean] {
            verify(&node.vfs, FilePath::new(DIRECTORY)).expect("whole");
        }
    }
}

/// Twenty streams of ten events each, of which only the newest two stay, and one stream that is deleted.
fn thinned() -> Twins {
    let mut twins = Twins::new(4500);
    for round in 0..10 {
        for number in 0..20 {
            let name = if number % 2 == 0 {
                format!("order-{number}")
            } else {
                format!("acme/x-{number}")
            };
            let events = twins.events(1);
            let append = Append::to(stream(&name), exactly(round), events);
            assert!(matches!(twins.append(&append), Some(Verdict::Appended(_))));
        }
        twins.seal();
    }
    twins.change(Scope::Category(category("order")), settings(Some(2), None, None));
    twins.change(Scope::Stream(stream("acme/x-1")), ChangeKind::Delete);
    twins
}

#[test]
fn what_is_below_the_floors_leaves_the_disk_and_is_counted() {
    let mut twins = thinned();
    twins.checkpoint();
    let before = twins.lean.bytes();
    let freed = twins.scavenge();
    assert_eq!(freed.events, 10 * 8 + 10);
    assert!(freed.chunks > 3);
    assert_eq!(twins.lean.bytes() as i64, before as i64 - freed.bytes);
    assert!(freed.bytes * 10 > before as i64, "{freed:?} of {before}");
    twins.compare();
    let chunks = |node: &Node| {
        let export = node.store.export().expect("exports").expect("a checkpoint");
        export.chunks().to_vec()
    };
    assert_eq!(chunks(&twins.plain), chunks(&twins.lean), "they are the same chunks");
    verify(&twins.lean.vfs, FilePath::new(DIRECTORY)).expect("whole");

    let again = twins.scavenge();
    assert_eq!(again, Freed::default(), "there is nothing more to give back");
    twins.repeat_everything();
    twins.compare();
}

#[test]
fn a_scavenge_reads_nothing_and_writes_nothing_where_nothing_would_go() {
    let mut twins = Twins::new(1000);
    assert!(twins.lean.store.begin_scavenge().is_none(), "there is no chunk");
    for round in 0..40 {
        let events = twins.events(1);
        twins.append(&Append::to(stream("order-1"), exactly(round), events));
    }
    twins.checkpoint();
    let before = twins.lean.vfs.counters();
    let mut scavenge = twins.lean.store.begin_scavenge().expect("there are chunks");
    let all = scavenge.remaining();
    assert!(all > 1);
    for number in 1..=all {
        assert_eq!(scavenge.remaining(), all + 1 - number);
        assert!(matches!(scavenge.step(), Ok(ScavengeStep::Kept(kept)) if kept == number));
    }
    assert!(matches!(scavenge.step(), Ok(ScavengeStep::Done)));
    assert!(matches!(scavenge.step(), Ok(ScavengeStep::Done)), "it stays done");
    assert_eq!(twins.lean.vfs.counters(), before);
}

#[test]
fn what_was_removed_behind_the_checkpoint_waits_for_the_next_one() {
    let mut twins = thinned();
    let checkpoint = twins.lean.store.checkpointed();
    assert!(checkpoint < twins.lean.store.applied());
    assert_eq!(twins.scavenge(), Freed::default(), "the changes are in no checkpoint yet");
    twins.lean.restart(Survival::Nothing, &twins.log);
    twins.compare_points();
    twins.compare();
    twins.checkpoint();
    assert!(twins.scavenge().events > 0);
    twins.compare();
}

#[test]
fn open_scans_keep_what_they_read_from_a_chunk_that_is_scavenged() {
    let mut twins = thinned();
    twins.checkpoint();
    let reader = twins.lean.store.reader();
    let all = Read { with_system: true, ..Model::all() };
    let before = read(&reader, &all, 100);
    let mut scan = reader.scan(&all).expect("begins");
    let mut events = scan.next_page(1).expect("reads").expect("a page");
    assert!(twins.scavenge().events > 0);
    while let Some(page) = scan.next_page(100).expect("reads") {
        events.extend(page);
    }
    let events: Vec<RecordedEvent> = events.iter().map(|event| event.decode()).collect();
    assert!(events == before);
}

#[test]
fn a_power_cut_at_any_operation_of_a_scavenge_leaves_each_chunk_old_or_new() {
    let mut twins = thinned();
    twins.checkpoint();
    let whole = twins.lean.vfs.fork();
    let olds: Vec<Vec<u8>> =
        files(&whole).iter().map(|path| whole.read(path).expect("there")).collect();
    let before = twins.lean.vfs.counters().changes;
    assert!(twins.scavenge().chunks > 3);
    let changes = twins.lean.vfs.counters().changes - before;
    let news: Vec<Vec<u8>> = files(&twins.lean.vfs)
        .iter()
        .map(|path| twins.lean.vfs.read(path).expect("there"))
        .collect();
    assert!(changes > 10);
    for cut in 0..changes {
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(cut)] {
            let vfs = whole.fork();
            let mut store = open(&vfs, &twins.lean.options).expect("opens");
            vfs.cut_after(cut);
            assert!(run(&mut store).is_err(), "the cut after {cut} operations was not noticed");
            drop(store);
            vfs.restart(survival);
            let store = open(&vfs, &twins.lean.options).expect("opens");
            assert!(store.damaged().is_empty());
            let left = files(&vfs);
            assert_eq!(left.len(), olds.len(), "leftovers are removed: {left:?}");
            for (path, (old, new)) in left.iter().zip(olds.iter().zip(&news)) {
                let found = vfs.read(path).expect("there");
                assert!(found == *old || found == *new, "cut {cut}: {}", path.display());
            }
            twins.lean = Node { vfs, options: twins.lean.options.clone(), store };
            replay(&mut twins.lean.store, &twins.log).expect("applies");
            twins.compare_points();
            if cut % 5 == 0 {
                twins.scavenge();
                twins.compare();
            }
        }
    }
}

#[test]
fn a_chunk_that_was_replaced_meanwhile_is_not_replaced_again() {
    let mut twins = thinned();
    twins.checkpoint();
    let mut scavenge = twins.lean.store.begin_scavenge().expect("there are chunks");
    let scavenged = rewritten(&mut scavenge);
    let number = scavenged.number();
    let path = folder().join(format!("chunk-{number:010}"));
    let fault = Fault::damaged(&path, 0, "a read found it");
    assert_eq!(twins.lean.store.note_damage(&fault), Some(number));
    twins.lean.store.put_scavenged(scavenged);
    assert_eq!(twins.lean.store.damaged().len(), 1, "who is damaged is repaired, not scavenged");

    let source = twins.plain.store.reader().chunk_source(number).expect("whole").expect("there");
    assert_eq!(source.scavenged_at(), None);
    let mut repair = twins.lean.store.begin_repair(number).expect("damaged");
    repair.put(0, &source.read(0, usize::MAX).expect("reads")).expect("puts");
    let repaired = repair.finish().expect("the same chunk, with more in it");
    twins.lean.store.finish_repair(repaired);
    twins.compare();
    assert!(twins.scavenge().events > 0);
    twins.compare();
}

#[test]
fn a_scavenge_goes_on_across_an_install() {
    let mut twins = thinned();
    twins.checkpoint();
    let mut scavenge = twins.lean.store.begin_scavenge().expect("there are chunks");
    let before = rewritten(&mut scavenge);
    for round in 0..60 {
        let events = twins.events(1);
        let append = Append::to(stream("order-4"), exactly(10 + round), events);
        let mut builder = command::Builder::new(Timestamp(twins.at));
        builder.push(&command::encode_append(&append));
        let entry = Entry {
            log_id: LogId::new(1, twins.log.len() as u64),
            payload: Payload::Command(builder.finish()),
        };
        twins.plain.apply(&entry);
        twins.log.push(entry);
    }
    seal_all(&mut twins.plain.store).expect("seals");
    let export = twins.plain.store.export().expect("exports").expect("a checkpoint");
    assert!(Some(export.log_id()) > twins.lean.store.applied());
    let installed = fetch(&export, &twins.lean.store).expect("fetches");
    twins.lean.store.finish_install(installed).expect("installs");
    twins.lean.store.put_scavenged(before);
    replay(&mut twins.lean.store, &twins.log).expect("applies");
    twins.compare();
    loop {
        match scavenge.step().expect("steps") {
            ScavengeStep::Done => break,
            ScavengeStep::Kept(_) => {}
            ScavengeStep::Rewritten(scavenged) => {
                assert_eq!(scavenged.checkpoint(), export.log_id().index, "the newest one counts");
                twins.lean.store.put_scavenged(scavenged);
            }
        }
    }
    twins.compare();
    twins.lean.restart(Survival::Nothing, &twins.log);
    twins.compare_points();
    twins.compare();
    verify(&twins.lean.vfs, FilePath::new(DIRECTORY)).expect("whole");
}

#[test]
fn a_chunk_below_floors_that_are_not_known_here_is_neither_repaired_with_nor_opened() {
    let mut twins = thinned();
    let old = twins.plain.vfs.fork();
    twins.checkpoint();
    twins.scavenge();
    let damaged = |store: &Store| store.damaged().first().map(|(one, _)| one.number);
    let source = |number| {
        let source = twins.lean.store.reader().chunk_source(number);
        source.expect("whole").expect("there")
    };
    let number = (1..).find(|number| source(*number).scavenged_at().is_some()).expect("one");
    let checkpoint = twins.lean.store.checkpointed().expect("a checkpoint");
    assert_eq!(source(number).scavenged_at(), Some(checkpoint.index));
    let bytes = source(number).read(0, usize::MAX).expect("reads");
    let path = folder().join(format!("chunk-{number:010}"));

    // The checkpoint of the other store is an older one.
    let mut store = open(&old, &twins.plain.options).expect("opens");
    assert!(store.checkpointed() < Some(checkpoint));
    store.note_damage(&Fault::damaged(&path, 0, "a read found it"));
    let mut repair = store.begin_repair(number).expect("damaged");
    repair.put(0, &bytes).expect("puts");
    let refused = repair.finish().expect_err("too new");
    assert!(
        matches!(&refused, Fault::Foreign { why, .. } if why.contains("scavenged")),
        "{refused}"
    );

    drop(store);
    old.truncate(&path, 0).expect("there");
    let file = old.open(&path, quorate_store::vfs::Open::Write).expect("there");
    file.write_at(&bytes, 0).expect("written");
    let store = open(&old, &twins.plain.options).expect("opens");
    assert_eq!(damaged(&store), Some(number));
    let fault = store.damaged().remove(0).1;
    assert!(fault.to_string().contains("scavenged"), "{fault}");
    drop(store);
    let faults = verify(&old, FilePath::new(DIRECTORY)).expect_err("found");
    assert!(faults.iter().any(|fault| fault.to_string().contains("scavenged")), "{faults:?}");
}

#[test]
fn a_damaged_chunk_ends_its_step_and_the_others_are_scavenged_all_the_same() {
    let mut twins = thinned();
    twins.checkpoint();
    let path = folder().join("chunk-0000000002");
    let length = twins.lean.vfs.read(&path).expect("there").len() as u64;
    for byte in (40..length).step_by(7) {
        twins.lean.vfs.flip_bit(&path, byte, 3).expect("there");
    }
    let mut scavenge = twins.lean.store.begin_scavenge().expect("there are chunks");
    let (mut rewritten, mut found) = (0, Vec::new());
    loop {
        match scavenge.step() {
            Ok(ScavengeStep::Done) => break,
            Ok(ScavengeStep::Kept(_)) => {}
            Ok(ScavengeStep::Rewritten(scavenged)) => {
                rewritten += 1;
                twins.lean.store.put_scavenged(scavenged);
            }
            Err(fault) => {
                assert!(fault.is_damage());
                found.extend(twins.lean.store.note_damage(&fault));
            }
        }
    }
    assert_eq!(found, [2]);
    assert!(rewritten > 2);
}

/// Fills the whole retry window, which takes four million events and a while.
#[test]
fn stubs_leave_the_disk_outside_of_the_window_and_both_stores_have_forgotten_alike() {
    let mut twins = Twins::new(4 << 20);
    let appends: Vec<Append> = (0..200)
        .map(|round| Append::to(stream("order-1"), exactly(round * 10), twins.events(10)))
        .collect();
    for append in &appends {
        assert!(matches!(twins.append(append), Some(Verdict::Appended(_))));
    }
    let kept = Append::to(stream("order-2"), exactly(0), twins.events(3));
    let Some(Verdict::Appended(first)) = twins.append(&kept) else { panic!("it is new") };
    twins.change(Scope::Stream(stream("order-1")), ChangeKind::Delete);
    let fill = |twins: &mut Twins, positions: u64| {
        let end = twins.plain.store.position().0 + positions;
        while twins.plain.store.position().0 < end {
            let events = twins.events(10_000).into_iter().map(|event| Event {
                tags: Vec::new(),
                correlation_id: None,
                data: Bytes::new(),
                ..event
            });
            let append = Append::to(stream("fill-1"), Expectation::Any, events.collect());
            twins.send(&[command::encode_append(&append)]);
            twins.seal();
            twins.log.clear();
        }
    };
    let repeat = |twins: &mut Twins| {
        let requests: Vec<Bytes> = appends.iter().map(command::encode_append).collect();
        let verdicts = twins.send(&requests).into_iter().zip(&appends);
        verdicts.map(|(verdict, append)| twins.settle(append, verdict)).collect::<Vec<_>>()
    };
    fill(&mut twins, 200_000);
    let freed = twins.scavenge();
    assert_eq!(freed.events, 2000);
    assert!(repeat(&mut twins).iter().all(|one| matches!(one, Verdict::Repeated(_))));
    assert_eq!(twins.scavenge(), Freed::default(), "stubs stay in the window");

    fill(&mut twins, RETRY_WINDOW + 200_000);
    let freed = twins.scavenge();
    assert_eq!((freed.events, freed.chunks), (0, 1));
    assert!(freed.bytes > 2000, "{freed:?}");
    let forgotten = Verdict::Rejected(Rejection::Forgotten);
    assert!(repeat(&mut twins).iter().all(|one| *one == forgotten));
    let again = Some(Verdict::Repeated(first));
    assert_eq!(twins.append(&kept), again, "what is above the floor is compared for good");
    assert_eq!(twins.scavenge(), Freed::default());
}
