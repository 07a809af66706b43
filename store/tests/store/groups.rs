//! Random requests to consumer groups among appends, seals, restarts and installs: the store, another store
//! that seals at other times, and the model must agree.

use proptest::prelude::*;
use quorate_proto::{
    Expectation, Failed, GroupDefinition, GroupName, GroupOutcome, GroupProgress, GroupRequest,
    GroupSettings, LogId, LogIndex, Parked, Position, Query, RequestId, Selection, Term, Timestamp,
};
use quorate_store::vfs::{MemVfs, Survival};
use quorate_store::{Entry, Payload, Store, Verdict, command};

use crate::group_model::{Asked, At, GroupsModel};
use crate::install::fetch;
use crate::support::{World, append, open, options, replay, seal_all};

const GROUPS: [&str; 3] = ["billing", "mail", "b"];

#[derive(Clone, Debug)]
enum Op {
    Command(i64, Vec<Wanted>),
    RunSeal,
    FinishSeal,
    Restart(u64),
    /// Another node takes over the checkpoint, and applies the later entries.
    Install,
}

/// One request of a command.
#[derive(Clone, Debug)]
enum Wanted {
    Events(u64),
    Create(usize, u64),
    Configure(usize, u32),
    Delete(usize),
    Reset(usize, Index),
    Replay(usize, Option<Vec<Index>>),
    Drop(usize, Option<Vec<Index>>),
    Progress(usize, WantedProgress),
}

type Index = prop::sample::Index;

/// Progress whose positions are chosen when it is sent.
#[derive(Clone, Debug)]
struct WantedProgress {
    floor: Index,
    settled: Vec<Index>,
    failed: Vec<(Index, u32)>,
    parked: Vec<(Index, String)>,
    /// True if the incarnation, or the term, is not the current one.
    is_old: (bool, bool),
}

fn any_progress() -> impl Strategy<Value = WantedProgress> {
    let settled = prop::collection::vec(any::<Index>(), 0..6);
    let failed = prop::collection::vec((any::<Index>(), 1..5_u32), 0..4);
    let parked = prop::collection::vec((any::<Index>(), "[a-z]{0,40}"), 0..4);
    let is_old = (prop::bool::weighted(0.05), prop::bool::weighted(0.05));
    (any::<Index>(), settled, failed, parked, is_old).prop_map(
        |(floor, settled, failed, parked, is_old)| WantedProgress {
            floor,
            settled,
            failed,
            parked,
            is_old,
        },
    )
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let which = || 0..GROUPS.len();
    let selection = || proptest::option::of(prop::collection::vec(any::<Index>(), 0..6));
    prop_oneof![
        4 => (1..4_u64).prop_map(Wanted::Events),
        3 => (which(), 0..2_u64).prop_map(|(at, after)| Wanted::Create(at, after)),
        1 => (which(), 1..3_u32).prop_map(|(at, attempts)| Wanted::Configure(at, attempts)),
        1 => which().prop_map(Wanted::Delete),
        1 => (which(), any::<Index>()).prop_map(|(at, after)| Wanted::Reset(at, after)),
        2 => (which(), selection()).prop_map(|(at, these)| Wanted::Replay(at, these)),
        2 => (which(), selection()).prop_map(|(at, these)| Wanted::Drop(at, these)),
        12 => (which(), any_progress()).prop_map(|(at, progress)| Wanted::Progress(at, progress)),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..1000_i64, prop::collection::vec(any_wanted(), 1..5))
            .prop_map(|(at, wanted)| Op::Command(at, wanted)),
        3 => Just(Op::RunSeal),
        3 => Just(Op::FinishSeal),
        2 => any::<u64>().prop_map(Op::Restart),
        1 => Just(Op::Install),
    ]
}

/// A store with its model, and a store of the same log that seals at once.
struct Pair {
    world: World,
    other: Store,
    model: GroupsModel,
    last: u64,
    time: Timestamp,
}

impl Pair {
    fn new(chunk_bytes: u64) -> Pair {
        let world = World::new(chunk_bytes);
        let other = open(&MemVfs::new(), &world.options).expect("a new store");
        let (model, time) = (GroupsModel::default(), Timestamp::default());
        Pair { world, other, model, last: 0, time }
    }

    /// Returns a position, now and then one without an event.
    fn position(&self, index: &Index) -> Position {
        let count = usize::try_from(self.last).expect("a few");
        Position(if index.index(60) == 0 { self.last + 1 } else { index.index(count + 1) as u64 })
    }

    fn selection(&self, these: &Option<Vec<Index>>) -> Selection {
        these.as_ref().map_or(Selection::All, |these| {
            Selection::Positions(these.iter().map(|index| self.position(index)).collect())
        })
    }

    fn make(&self, wanted: &Wanted) -> Asked {
        let (which, request) = match wanted {
            Wanted::Create(which, after) => (which, GroupRequest::Create(definition(*after))),
            Wanted::Configure(which, attempts_max) => {
                let settings =
                    GroupSettings { attempts_max: *attempts_max, ..GroupSettings::default() };
                (which, GroupRequest::Configure(settings))
            }
            Wanted::Events(_) => unreachable!("events are appended"),
            Wanted::Delete(which) => (which, GroupRequest::Delete),
            Wanted::Reset(which, after) => (which, GroupRequest::Reset(self.position(after))),
            Wanted::Replay(which, these) => (which, GroupRequest::Replay(self.selection(these))),
            Wanted::Drop(which, these) => (which, GroupRequest::Drop(self.selection(these))),
            Wanted::Progress(which, progress) => {
                (which, GroupRequest::Progress(self.progress(&group(*which), progress)))
            }
        };
        let is_old = matches!(wanted, Wanted::Progress(_, progress) if progress.is_old.1);
        // Few requests have an id, and some of those the id of an earlier request.
        let has_id = !matches!(wanted, Wanted::Progress(..)) && self.last % 8 == 5;
        let id = has_id.then(|| RequestId(u128::from(self.last).to_be_bytes()));
        Asked { name: group(*which), term: Term(if is_old { 0 } else { 1 }), id, request }
    }

    fn progress(&self, name: &GroupName, wanted: &WantedProgress) -> GroupProgress {
        let at = |index: &Index| self.position(index).max(Position(1));
        let failed = |(index, attempts): &(Index, u32)| {
            let due = Timestamp(i64::from(*attempts));
            Failed { position: at(index), attempts: *attempts, due }
        };
        let parked = |(index, reason): &(Index, String)| {
            let (position, reason) = (at(index), reason.clone());
            Parked { position, attempts: 9, reason, parked_at: Timestamp(-7) }
        };
        let incarnation = self.model.incarnation(name);
        GroupProgress {
            incarnation: LogIndex(incarnation.0 + u64::from(wanted.is_old.0)),
            floor: self.position(&wanted.floor),
            settled: wanted.settled.iter().map(at).collect(),
            failed: wanted.failed.iter().map(failed).collect(),
            parked: wanted.parked.iter().map(parked).collect(),
        }
    }

    fn command(&mut self, stamp: i64, wanted: &[Wanted]) -> Result<(), TestCaseError> {
        let mut builder = command::Builder::new(Timestamp(stamp));
        let mut expected = Vec::new();
        self.time = self.time.max(Timestamp(stamp));
        let log_id = LogId::new(1, self.world.log.len() as u64);
        for one in wanted {
            if let Wanted::Events(count) = one {
                let numbers: Vec<u64> = (self.last..self.last + count).collect();
                let events = append("order-1", Expectation::Any, &numbers);
                builder.push(&command::encode_append(&events));
                self.last += count;
                expected.push(None);
                continue;
            }
            let asked = self.make(one);
            builder.push(&asked.encode());
            let at = At { log_id, last: Position(self.last), time: self.time };
            expected.push(Some(self.model.ask(&asked, at)));
        }
        let verdicts = self.world.apply(Payload::Command(builder.finish()));
        let outcomes: Vec<Option<GroupOutcome>> = verdicts.iter().map(outcome).collect();
        prop_assert_eq!(outcomes, expected, "{:?}", wanted);
        let entry = self.world.log.last().expect("just applied").clone();
        prop_assert_eq!(self.other.apply(entry).expect("applies"), verdicts);
        prop_assert_eq!(self.other.digest(), self.world.store.digest());
        seal_all(&mut self.other).expect("seals");
        Ok(())
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Command(stamp, wanted) => self.command(*stamp, wanted)?,
            Op::RunSeal => drop(self.world.run_seal()),
            Op::FinishSeal => drop(self.world.finish_seal()),
            Op::Restart(seed) => {
                self.world.restart(Survival::Seeded(*seed));
                prop_assert_eq!(self.world.store.digest(), self.other.digest());
            }
            Op::Install => self.install(),
        }
        self.model.check(&self.world.reader());
        self.model.check(&self.other.reader());
        Ok(())
    }

    fn install(&self) {
        let Some(export) = self.world.store.export().expect("exports") else { return };
        let vfs = MemVfs::new();
        let mut target = open(&vfs, &self.world.options).expect("a new store");
        // The target begins with an entry of its own, which the install replaces.
        let first = self.world.log.first().expect("a checkpoint has entries").clone();
        if export.log_id().index > LogIndex(0) {
            target.apply(first).expect("applies");
        }
        let installed = fetch(&export, &target).expect("fetches");
        target.finish_install(installed).expect("installs");
        replay(&mut target, &self.world.log).expect("applies the rest");
        self.model.check(&target.reader());
        drop(target);
        vfs.restart(Survival::Nothing);
        let mut target = open(&vfs, &self.world.options).expect("opens again");
        replay(&mut target, &self.world.log).expect("applies the rest");
        self.model.check(&target.reader());
    }
}

fn outcome(verdict: &Verdict) -> Option<GroupOutcome> {
    match verdict {
        Verdict::Group(outcome) => Some(*outcome),
        _ => None,
    }
}

fn group(which: usize) -> GroupName {
    GroupName::new(GROUPS[which]).expect("a name")
}

fn definition(after: u64) -> GroupDefinition {
    let (query, settings) = (Query::everything(), GroupSettings::default());
    GroupDefinition { query, after: Position(after), settings }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn groups_are_what_the_log_says_whenever_it_is_sealed_restarted_or_installed(
        ops in prop::collection::vec(any_op(), 1..60), chunk_bytes in 300..2000_u64
    ) {
        let mut pair = Pair::new(chunk_bytes);
        for op in &ops {
            pair.run(op)?;
        }
    }
}

/// Entries between a boundary and its seal are not part of the checkpoint: they are applied again.
#[test]
fn a_checkpoint_holds_the_groups_as_they_were_at_its_boundary() {
    let vfs = MemVfs::new();
    let mut store = open(&vfs, &options(400)).expect("a new store");
    let mut model = GroupsModel::default();
    let mut at_boundary = None;
    let mut log = Vec::new();
    let mut ask = |store: &mut Store, model: &mut GroupsModel, request| {
        let log_id = LogId::new(1, log.len() as u64);
        let asked = Asked { name: group(0), term: Term(1), id: None, request };
        let mut builder = command::Builder::new(Timestamp(5));
        builder.push(&asked.encode());
        let entry = Entry { log_id, payload: Payload::Command(builder.finish()) };
        log.push(entry.clone());
        store.apply(entry).expect("applies");
        model.ask(&asked, At { log_id, last: Position(0), time: Timestamp(5) });
    };
    ask(&mut store, &mut model, GroupRequest::Create(definition(0)));
    for after in 1..40 {
        ask(&mut store, &mut model, GroupRequest::Reset(Position(after)));
        if store.seal_due() && at_boundary.is_none() {
            at_boundary = Some(model.clone());
        }
        if store.must_wait() {
            break;
        }
    }
    assert!(store.must_wait(), "two boundaries were crossed, and none was sealed");
    let sealed = store.begin_seal().expect("is due").run().expect("seals");
    drop((sealed, store));
    vfs.restart(Survival::Nothing);
    let mut store = open(&vfs, &options(400)).expect("opens again");
    at_boundary.expect("crossed").check(&store.reader());
    replay(&mut store, &log).expect("applies the rest");
    model.check(&store.reader());
}
