//! With any behaviour of consumers, clocks and leaders, every event is settled or parked, once, and in order.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Values;
use quorate_proto::GroupProgress;

use super::*;

const WINDOW: u32 = 6;
const ATTEMPTS_MAX: u32 = 3;

/// An action of the test.
#[derive(Clone, Debug)]
enum Step {
    Append {
        stream: u8,
    },
    Join {
        window: u32,
        tells_begun: bool,
    },
    Leave {
        which: usize,
        lost: bool,
    },
    HandOut,
    Begin {
        which: usize,
    },
    Settle {
        which: usize,
        fate: u8,
    },
    Pass {
        milliseconds: i64,
    },
    Propose,
    Decide {
        taken: bool,
    },
    /// The log refuses a batch for lack of room for parked events.
    Refuse,
    /// Another node takes over and continues from the log.
    TakeOver,
    Replay {
        which: usize,
    },
}

fn steps() -> impl Values<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_u8).prop_map(|stream| Step::Append { stream }),
        2 => (1..4_u32, any::<bool>())
            .prop_map(|(window, tells_begun)| Step::Join { window, tells_begun }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, lost)| Step::Leave { which, lost }),
        8 => Just(Step::HandOut),
        6 => any::<usize>().prop_map(|which| Step::Begin { which }),
        8 => (any::<usize>(), 0..6_u8).prop_map(|(which, fate)| Step::Settle { which, fate }),
        3 => (0..3_000_i64).prop_map(|milliseconds| Step::Pass { milliseconds }),
        4 => Just(Step::Propose),
        4 => any::<bool>().prop_map(|taken| Step::Decide { taken }),
        1 => Just(Step::Refuse),
        1 => Just(Step::TakeOver),
        1 => any::<usize>().prop_map(|which| Step::Replay { which }),
    ];
    prop::collection::vec(step, 0..200)
}

/// The state of the group in the log.
#[derive(Default)]
struct Log {
    floor: Position,
    settled: BTreeSet<Position>,
    failed: BTreeMap<Position, Failed>,
    parked: BTreeMap<Position, u32>,
    /// True if an event could not be parked and is tried more often than the settings allow.
    was_refused: bool,
}

impl Log {
    fn apply(&mut self, progress: &GroupProgress) {
        assert!(progress.floor >= self.floor, "the floor went down");
        self.floor = progress.floor;
        let mut listed = BTreeSet::new();
        for position in &progress.settled {
            assert!(listed.insert(*position), "listed twice");
            self.failed.remove(position);
            self.settled.insert(*position);
        }
        for failed in &progress.failed {
            assert!(listed.insert(failed.position), "listed twice");
            assert!(!self.settled.contains(&failed.position), "settled events stay so");
            let is_allowed = failed.attempts < ATTEMPTS_MAX || self.was_refused;
            assert!(is_allowed, "it is to be parked");
            self.failed.insert(failed.position, *failed);
        }
        for parked in &progress.parked {
            assert!(listed.insert(parked.position), "listed twice");
            self.failed.remove(&parked.position);
            self.parked.insert(parked.position, parked.attempts);
        }
        self.settled = self.settled.split_off(&self.floor.next());
        assert!(self.settled.len() <= WINDOW as usize, "more is settled above the floor");
    }
}

/// A group, its log, its events, and the deliveries to its consumers.
struct World {
    strategy: Strategy,
    now: Timestamp,
    log: Log,
    events: Vec<String>,
    /// The number of events that this owner has read.
    read: usize,
    group: Dispatcher<()>,
    consumers: Vec<ConsumerId>,
    /// The deliveries that consumers of this owner hold.
    held: Vec<(ConsumerId, u64, Position)>,
    proposed: Option<GroupProgress>,
    /// The events that a consumer reported as handled; after a change of leader, those of them that were durable.
    handled: BTreeSet<Position>,
    /// The events whose handling an owner confirmed.
    confirmed: BTreeSet<Position>,
    numbers: BTreeMap<(ConsumerId, u64), (Position, bool)>,
    /// The events that were parked and replayed: later events of their streams may have gone before them.
    replayed: BTreeSet<Position>,
}

impl World {
    fn new(strategy: Strategy) -> World {
        World {
            strategy,
            now: at(0),
            log: Log::default(),
            events: Vec::new(),
            read: 0,
            group: Dispatcher::new(settings_of(strategy), Known::default()),
            consumers: Vec::new(),
            held: Vec::new(),
            proposed: None,
            handled: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            numbers: BTreeMap::new(),
            replayed: BTreeSet::new(),
        }
    }

    fn stream(&self, position: Position) -> StreamName {
        let at = usize::try_from(position.0 - 1).expect("few");
        StreamName::new(&self.events[at]).expect("a name")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { stream } => self.events.push(format!("order-{stream}")),
            Step::Join { window, tells_begun } => {
                let joined = self.group.join(String::new(), window, tells_begun).expect("room");
                self.consumers.push(joined);
            }
            Step::Leave { which, lost } => self.leave(which, lost),
            Step::HandOut => self.hand_out(),
            Step::Begin { which } => self.begin(which),
            Step::Settle { which, fate } => self.settle(which, fate),
            Step::Pass { milliseconds } => self.pass(milliseconds),
            Step::Propose => self.propose(),
            Step::Decide { taken } => self.decide(taken),
            Step::Refuse => self.refuse(),
            Step::TakeOver => self.take_over(),
            Step::Replay { which } => self.replay(which),
        }
        self.feed();
        self.check();
    }

    fn feed(&mut self) {
        while self.group.has_room() && self.read < self.events.len() {
            self.read += 1;
            let number = self.read as u64;
            self.group.take(event(number, &self.events[self.read - 1]));
        }
        if self.read == self.events.len() {
            self.group.read_through(position(self.read as u64));
        }
    }

    fn leave(&mut self, which: usize, lost: bool) {
        if self.consumers.is_empty() {
            return;
        }
        let id = self.consumers.remove(which % self.consumers.len());
        self.held.retain(|(holder, _, _)| *holder != id);
        self.group.leave(id, if lost { Left::Lost } else { Left::Gracefully }, self.now);
    }

    fn hand_out(&mut self) {
        let Some(handed) = self.group.hand_out(self.now) else { return };
        let Handed { consumer, number, position, attempt, .. } = handed;
        assert!(attempt <= ATTEMPTS_MAX || self.log.was_refused);
        assert!(self.consumers.contains(&consumer));
        assert!(!self.held.iter().any(|(_, _, held)| *held == position), "handed out twice");
        assert!(!self.confirmed.contains(&position), "what is durable is handed out again");
        if self.strategy == Strategy::ByStream {
            let stream = self.stream(position);
            let busy = self.held.iter().any(|(_, _, held)| self.stream(*held) == stream);
            assert!(!busy, "a stream goes to one consumer at a time");
            let earlier = (1..position.0).map(Position).find(|earlier| {
                let is_behind = self.stream(*earlier) == stream && !self.is_done(*earlier);
                is_behind && !self.replayed.contains(earlier) && !self.log.was_refused
            });
            assert_eq!(earlier, None, "before {position} of its stream");
        }
        self.held.push((consumer, number, position));
        self.numbers.insert((consumer, number), (position, false));
    }

    fn begin(&mut self, which: usize) {
        if self.held.is_empty() {
            return;
        }
        let (id, number, _) = self.held[which % self.held.len()];
        let lapsed = self.group.begin(id, vec![number], self.now).expect("its own");
        assert_eq!(lapsed, [0; 0], "it held it");
    }

    /// Returns true if an event is settled or parked, as far as this owner knows.
    fn is_done(&self, position: Position) -> bool {
        self.handled.contains(&position)
            || self.log.parked.contains_key(&position)
            || self.group.changes.get(&position).is_some_and(|change| is_end(&change.kind))
            || self.proposed.as_ref().is_some_and(|proposed| {
                proposed.parked.iter().any(|parked| parked.position == position)
            })
    }

    fn settle(&mut self, which: usize, fate: u8) {
        if self.held.is_empty() {
            return;
        }
        let (id, number, position) = self.held.remove(which % self.held.len());
        let is_handled = matches!(fate, 0..3);
        let fate = match fate {
            0 | 1 => Fate::Acknowledged,
            2 => Fate::Skipped,
            3 => Fate::Parked("broken".to_owned()),
            4 => failed("no"),
            _ => Fate::Failed { reason: "later".to_owned(), delay_ms: Some(5) },
        };
        let lapsed = self.group.settle(id, settled(number, fate), self.now).expect("its own");
        assert_eq!(lapsed, [0; 0], "it held it");
        if is_handled {
            self.handled.insert(position);
            self.numbers.insert((id, number), (position, true));
        }
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now = Timestamp(self.now.0 + milliseconds * 1_000);
        self.group.tick(self.now);
        let held = std::mem::take(&mut self.held);
        self.held = held
            .into_iter()
            .filter(|(id, number, position)| {
                self.group.entries.get(position).is_some_and(|entry| match entry.state {
                    State::With { consumer, number: given, .. } => {
                        (consumer, given) == (*id, *number)
                    }
                    State::Waiting(_) | State::Retry { .. } => false,
                })
            })
            .collect();
    }

    fn propose(&mut self) {
        if let Some(progress) = self.group.propose(true) {
            assert!(self.proposed.is_none(), "one at a time");
            self.proposed = Some(progress);
        }
    }

    fn decide(&mut self, taken: bool) {
        let Some(progress) = self.proposed.take() else { return };
        if !taken {
            return self.group.put_back();
        }
        self.log.apply(&progress);
        for number in self.group.applied() {
            let (position, handled) = self.numbers[&number];
            if handled {
                self.confirmed.insert(position);
            }
        }
    }

    fn refuse(&mut self) {
        if self.proposed.take_if(|progress| !progress.parked.is_empty()).is_some() {
            self.group.refused(self.now);
            self.log.was_refused = true;
        }
    }

    /// Replaces the owner; the old owner's last batch may be in the log or not.
    fn take_over(&mut self) {
        if let Some(progress) = self.proposed.take().filter(|progress| progress.floor.0 % 2 == 0) {
            self.log.apply(&progress);
        }
        self.consumers.clear();
        self.held.clear();
        self.numbers.clear();
        let is_durable = |position: &Position| {
            !self.log.failed.contains_key(position)
                && !self.log.parked.contains_key(position)
                && (*position <= self.log.floor || self.log.settled.contains(position))
        };
        self.handled = self.handled.iter().copied().filter(is_durable).collect();
        self.read = usize::try_from(self.log.floor.0).expect("few");
        let failed = self.log.failed.values().map(|failed| {
            let stream =
                (self.strategy == Strategy::ByStream).then(|| self.stream(failed.position));
            (*failed, stream)
        });
        let parked_above = self.log.parked.keys().filter(|parked| **parked > self.log.floor);
        let known = Known {
            incarnation: LogIndex(1),
            floor: self.log.floor,
            settled: self.log.settled.clone(),
            failed: failed.collect(),
            parked_above: parked_above.copied().collect(),
            parked: self.log.parked.len(),
        };
        self.group = Dispatcher::new(settings_of(self.strategy), known);
        self.group.tick(self.now);
    }

    fn replay(&mut self, which: usize) {
        if self.log.parked.is_empty() || self.proposed.is_some() {
            return;
        }
        let at = which % self.log.parked.len();
        let position = *self.log.parked.keys().nth(at).expect("there are so many");
        self.log.parked.remove(&position);
        self.replayed.insert(position);
        let failed = Failed { position, attempts: 0, due: Timestamp(0) };
        self.log.failed.insert(position, failed);
        let stream = (self.strategy == Strategy::ByStream).then(|| self.stream(position));
        self.group.take_failed(vec![(failed, stream)]);
        self.group.set_parked(self.log.parked.len());
        self.group.tick(self.now);
    }

    fn check(&self) {
        let group = &self.group;
        assert!(group.in_flight() <= u64::from(WINDOW), "more than the window is outstanding");
        assert_eq!(group.in_flight(), self.held.len() as u64);
        for number in 1..=self.log.floor.0 {
            let position = Position(number);
            let known = self.handled.contains(&position)
                || self.log.failed.contains_key(&position)
                || self.log.parked.contains_key(&position);
            assert!(known, "the floor {} passed {position}", self.log.floor);
        }
        for (_, _, position) in &self.held {
            let is_safe = *position > self.log.floor || self.log.failed.contains_key(position);
            assert!(is_safe, "the floor passed what is with a consumer");
        }
    }

    /// Lets one good consumer handle everything that is left.
    fn finish(&mut self) {
        self.decide(true);
        while let Some(id) = self.consumers.pop() {
            self.held.retain(|(holder, _, _)| *holder != id);
            self.group.leave(id, Left::Gracefully, self.now);
        }
        self.step(Step::Join { window: 3, tells_begun: true });
        let last = position(self.events.len() as u64);
        for _ in 0..10 * (self.events.len() + 10) {
            self.step(Step::Propose);
            self.step(Step::Decide { taken: true });
            self.step(Step::HandOut);
            self.step(Step::Settle { which: 0, fate: 0 });
            self.step(Step::Pass { milliseconds: 10_000 });
        }
        // A floor that moved without outcomes is not proposed: so the owner's floor is checked, not the log's.
        assert_eq!(self.group.floor(), last, "not everything was settled");
        assert!(self.log.failed.is_empty() && self.group.entries.is_empty());
        assert!(self.group.holding.is_empty() && self.group.changes.is_empty());
        assert!(self.group.stream_queues.is_empty() && self.group.timers.is_empty());
        assert_eq!((self.group.waiting_bytes, self.group.parking), (0, 0));
        assert_eq!(self.group.parked, self.log.parked.len());
        for number in 1..=last.0 {
            let position = Position(number);
            let (handled, parked) =
                (self.handled.contains(&position), self.log.parked.contains_key(&position));
            assert!(handled || parked, "{position} was forgotten");
            let both = handled && parked;
            assert!(!both, "{position} is settled and parked");
        }
    }
}

fn is_end(kind: &Kind) -> bool {
    !matches!(kind, Kind::Failed { .. })
}

fn settings_of(strategy: Strategy) -> GroupSettings {
    GroupSettings {
        strategy,
        timeout_ms: 2_000,
        attempts_max: ATTEMPTS_MAX,
        retry_delay_ms: 500,
        window: WINDOW,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_settled_or_parked_whatever_happens(
        strategy in 0..3_usize,
        steps in steps(),
    ) {
        let mut world = World::new(Strategy::ALL[strategy]);
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}
