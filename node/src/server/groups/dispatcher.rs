//! Who gets which event of a group next, and what became of the events: the whole of it, without tasks and clocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use quorate_proto::limits::GROUP_CONSUMERS_MAX;
use quorate_proto::{
    Failed, Fate, GroupSettings, Invalid, LogIndex, Position, Settlement, Strategy, StreamName,
    Timestamp,
};
use quorate_store::defect::{Defect, is_present};

mod batch;
mod begun;
mod consumers;
mod retry;
mod stream_queues;
#[cfg(test)]
mod tests;

use batch::{Batch, Change, Kind};

pub(crate) use consumers::{Consumer, ConsumerId};
use consumers::{Consumers, Seen};
use stream_queues::StreamQueue;

/// Bytes of events that wait in memory for a consumer; beyond, no more are taken in.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What an event counts beside its own bytes.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// An event as the dispatcher takes it in; `body` is what it hands out again.
pub(crate) struct Taken<E> {
    pub(crate) position: Position,
    pub(crate) stream: StreamName,
    pub(crate) bytes: usize,
    pub(crate) body: E,
}

/// An event that is given to a consumer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handed<E> {
    pub(crate) consumer: ConsumerId,
    pub(crate) number: u64,
    pub(crate) position: Position,
    pub(crate) attempt: u32,
    /// None where it is to be read again.
    pub(crate) body: Option<E>,
}

/// What the log knows of a group when its owner begins.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) incarnation: LogIndex,
    pub(crate) floor: Position,
    /// Settled above the floor.
    pub(crate) settled: BTreeSet<Position>,
    /// With its stream, where the strategy asks for it.
    pub(crate) failed: Vec<(Failed, Option<StreamName>)>,
    /// Parked above the floor, and how many there are at all.
    pub(crate) parked_above: BTreeSet<Position>,
    pub(crate) parked: usize,
}

/// How a consumer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// In order: what it held does not count as an attempt.
    Gracefully,
    /// Nobody knows what became of what it held.
    Lost,
}

/// An event that was taken in and is not settled.
struct Entry<E> {
    /// How often it was tried.
    attempts: u32,
    stream: Option<StreamName>,
    state: State<E>,
    /// Who had it and did not begin it in time: it goes to somebody else who has room.
    left_by: Option<ConsumerId>,
}

enum State<E> {
    /// Waits for a consumer, or behind the one of its stream.
    Waiting(Option<Body<E>>),
    /// A consumer has it until then.
    With {
        consumer: ConsumerId,
        number: u64,
        until: Timestamp,
        /// Since when it is worked on; none while nobody has begun.
        begun: Option<Timestamp>,
    },
    /// It failed, and is to be tried again then.
    Retry { due: Timestamp },
}

struct Body<E> {
    event: E,
    bytes: usize,
}

/// The state of one group, on the leader, for one term.
///
/// Invariants:
/// - every event that was taken in is in `entries` until it is settled or parked, and then in a change until that
///   is durable;
/// - `holding` has every position that was taken in and of which no proposal spoke yet: the floor stays below
///   all of them;
/// - with [`Strategy::ByStream`] at most one entry of a stream is ready, with a consumer or to be tried again:
///   the one that `stream_queues` names; the others wait, in order;
/// - `holding`, `above` and the batch in flight together grow no further than the group's window: so does what
///   the log keeps of what is settled above the floor;
/// - a consumer holds no more than its window.
pub(crate) struct Dispatcher<E> {
    settings: GroupSettings,
    incarnation: LogIndex,
    consumers: Consumers,
    entries: BTreeMap<Position, Entry<E>>,
    /// What can be handed out now, the lowest first.
    ready: BTreeSet<Position>,
    waiting_bytes: usize,
    stream_queues: HashMap<StreamName, StreamQueue>,
    /// Message timeouts and retries, by time.
    timers: BTreeSet<(Timestamp, Position)>,
    /// What is to be tried again at some time.
    retrying: BTreeSet<Position>,
    /// Everything that matches up to here was taken in.
    read: Position,
    holding: BTreeSet<Position>,
    /// Settled above the proposed floor.
    above: BTreeSet<Position>,
    /// What was known above the floor already and must not be taken in again.
    skipped: BTreeSet<Position>,
    /// Failed as the log has it, with what is proposed.
    recorded: BTreeSet<Position>,
    /// How many are parked as the log has it, with what is proposed; and how many are to be proposed.
    parked: usize,
    parking: usize,
    /// Nothing is parked before this: there was no room for it in the log.
    parks_from: Timestamp,
    /// What is to be proposed.
    changes: BTreeMap<Position, Change>,
    in_flight: Option<Batch>,
    proposed_floor: Position,
}

impl<E> Dispatcher<E> {
    pub(crate) fn new(settings: GroupSettings, known: Known) -> Dispatcher<E> {
        let Known { incarnation, floor, settled, failed, parked_above, parked } = known;
        let mut dispatcher = Dispatcher {
            settings,
            incarnation,
            consumers: Consumers::default(),
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting_bytes: 0,
            stream_queues: HashMap::new(),
            timers: BTreeSet::new(),
            retrying: BTreeSet::new(),
            read: floor,
            holding: BTreeSet::new(),
            skipped: settled.union(&parked_above).copied().collect(),
            above: settled,
            recorded: BTreeSet::new(),
            parked,
            parking: 0,
            parks_from: Timestamp(i64::MIN),
            changes: BTreeMap::new(),
            in_flight: None,
            proposed_floor: floor,
        };
        dispatcher.take_failed(failed);
        dispatcher
    }

    /// Whether more events of the query can be taken in.
    pub(crate) fn has_room(&self) -> bool {
        let taken = self.holding.len()
            + self.above.len()
            + self.in_flight.as_ref().map_or(0, Batch::held_count);
        taken < self.settings.window as usize && self.waiting_bytes < WAITING_BYTES_MAX
    }

    /// Takes in the next event that the query finds. What is settled, failed or parked already is passed over.
    pub(crate) fn take(&mut self, taken: Taken<E>) {
        let Taken { position, stream, bytes, body } = taken;
        if position <= self.read {
            return;
        }
        self.read = position;
        if self.skipped.remove(&position) || self.entries.contains_key(&position) {
            return;
        }
        let bytes = bytes + EVENT_OVERHEAD_BYTES;
        self.holding.insert(position);
        let stream = (self.settings.strategy == Strategy::ByStream).then_some(stream);
        let is_ready = self.line_up(position, stream.clone());
        // What waits for others of its stream leaves memory to what could go on, and is read again in its turn.
        let is_kept = is_ready || self.waiting_bytes + bytes <= WAITING_BYTES_MAX / 2;
        let kept = is_kept.then_some(Body { event: body, bytes });
        self.waiting_bytes += kept.as_ref().map_or(0, |kept| kept.bytes);
        let state = State::Waiting(kept);
        self.entries.insert(position, Entry { attempts: 0, stream, state, left_by: None });
    }

    /// Everything that matches up to here was taken in.
    pub(crate) fn read_through(&mut self, position: Position) {
        self.read = self.read.max(position);
    }

    /// Takes in what failed as the log has it: what the owner found when it began, or what somebody replayed.
    pub(crate) fn take_failed(&mut self, failed: Vec<(Failed, Option<StreamName>)>) {
        for (Failed { position, attempts, due }, stream) in failed {
            let is_known = self.entries.contains_key(&position)
                || self.changes.contains_key(&position)
                || self.in_flight.as_ref().is_some_and(|batch| batch.speaks_of(position));
            if is_known {
                continue;
            }
            self.recorded.insert(position);
            if position > self.read {
                self.skipped.insert(position);
            }
            let state = State::Waiting(None);
            let entry = Entry { attempts, stream: stream.clone(), state, left_by: None };
            self.entries.insert(position, entry);
            // One that is behind another of its stream is tried when it is its turn.
            if self.line_up(position, stream) {
                self.retry_at(position, due);
            }
        }
    }

    /// Whether an event that failed is taken in already.
    pub(crate) fn knows(&self, position: Position) -> bool {
        self.entries.contains_key(&position)
    }

    /// How many are parked, as the log has it now.
    pub(crate) fn set_parked(&mut self, parked: usize) {
        self.parked = parked;
    }

    /// Goes on under other settings; the strategy stays. A timeout counts for what is handed out, begun or extended
    /// from now on; what is with a consumer keeps the time that it has.
    pub(crate) fn configure(&mut self, settings: GroupSettings) {
        self.settings = GroupSettings { strategy: self.settings.strategy, ..settings };
    }

    pub(crate) fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Which life of the group it is.
    pub(crate) fn incarnation(&self) -> LogIndex {
        self.incarnation
    }

    /// Lets a consumer in. One that does not tell when it begins has begun what it is given.
    pub(crate) fn join(
        &mut self,
        name: String,
        window: u32,
        tells_begun: bool,
    ) -> Result<ConsumerId, Invalid> {
        if self.consumers.count() >= GROUP_CONSUMERS_MAX {
            let why = format!("are {GROUP_CONSUMERS_MAX} already; no more are allowed");
            return Err(Invalid::limit("consumers", why, GROUP_CONSUMERS_MAX as u64));
        }
        Ok(self.consumers.join(name, window, tells_begun))
    }

    /// Whether a consumer takes events at the moment.
    pub(crate) fn set_open(&mut self, id: ConsumerId, is_open: bool) {
        self.consumers.set_open(id, is_open);
    }

    /// What a consumer made of its events. Returns the numbers that came too late.
    ///
    /// # Errors
    /// It never held one of them; those before it count.
    pub(crate) fn settle(
        &mut self,
        id: ConsumerId,
        settlements: Vec<Settlement>,
        now: Timestamp,
    ) -> Result<Vec<u64>, Invalid> {
        let mut lapsed = Vec::new();
        for Settlement { number, fate } in settlements {
            match self.consumers.release(id, number, true) {
                Seen::Held(position) => self.settle_one(position, fate, (id, number), now),
                Seen::Before => lapsed.push(number),
                Seen::Never => return Err(never_given(number)),
            }
        }
        Ok(lapsed)
    }

    fn settle_one(
        &mut self,
        position: Position,
        fate: Fate,
        confirm: (ConsumerId, u64),
        now: Timestamp,
    ) {
        match fate {
            Fate::Acknowledged | Fate::Skipped => {
                self.end(position, Kind::Settled, Some(confirm));
            }
            Fate::Failed { reason, delay_ms } => {
                self.attempt_failed(position, reason, delay_ms, Some(confirm), now);
            }
            Fate::Parked(reason) => {
                if let Some(entry) = self.entries.get_mut(&position) {
                    entry.attempts = entry.attempts.saturating_add(1);
                }
                self.park(position, reason, Some(confirm), now);
            }
        }
    }

    /// An event that is to be handed out is not there any more: there is nothing to do with it.
    pub(crate) fn gone(&mut self, handed: &Handed<E>) {
        if let Seen::Held(position) = self.consumers.release(handed.consumer, handed.number, false)
        {
            self.end(position, Kind::Settled, None);
        }
    }

    /// Takes back what was with a consumer for too long, and lets go on what waited for its time. Returns what was
    /// taken back from whom.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Vec<(ConsumerId, u64)> {
        let mut lapsed = Vec::new();
        while let Some((due, position)) =
            self.timers.first().copied().filter(|(due, _)| *due <= now)
        {
            let Some(entry) = self.entries.get_mut(&position) else {
                self.timers.remove(&(due, position));
                continue;
            };
            match entry.state {
                State::With { consumer, number, begun: Some(since), .. } => {
                    self.consumers.release(consumer, number, false);
                    lapsed.push((consumer, number));
                    let seconds = (due.0 - since.0) as f64 / 1_000_000.0;
                    let reason = format!("timed out after {seconds} s");
                    self.attempt_failed(position, reason, Some(0), None, now);
                }
                State::With { consumer, number, begun: None, .. } => {
                    if self.leave_unbegun(position, consumer, number, now) {
                        lapsed.push((consumer, number));
                    }
                }
                State::Retry { .. } => {
                    self.timers.remove(&(due, position));
                    self.retrying.remove(&position);
                    entry.state = State::Waiting(None);
                    self.ready.insert(position);
                }
                State::Waiting(_) => {
                    self.timers.remove(&(due, position));
                }
            }
        }
        lapsed
    }

    /// When [`Dispatcher::tick`] has something to do next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Gives the next event to a consumer; none while there is no event, or nobody has room.
    pub(crate) fn hand_out(&mut self, now: Timestamp) -> Option<Handed<E>> {
        let position = *self.ready.first()?;
        if self.in_flight() >= u64::from(self.settings.window) || self.is_held_up(position) {
            return None;
        }
        let entry = self.entries.get_mut(&position)?;
        let (strategy, stream) = (self.settings.strategy, entry.stream.as_ref());
        let other = self.consumers.choose(strategy, stream, entry.left_by);
        let id = other.or_else(|| self.consumers.choose(strategy, stream, None))?;
        let number = self.consumers.give(id, position);
        let until = later(now, self.settings.timeout_ms);
        let begun = (!self.consumers.tells_begun(id)).then_some(now);
        let with = State::With { consumer: id, number, until, begun };
        let was = std::mem::replace(&mut entry.state, with);
        let attempt = entry.attempts.saturating_add(1);
        self.ready.remove(&position);
        self.timers.insert((until, position));
        let body = match was {
            State::Waiting(Some(Body { event, bytes })) => {
                self.waiting_bytes -= bytes;
                Some(event)
            }
            _ => None,
        };
        Some(Handed { consumer: id, number, position, attempt, body })
    }

    /// Whether order demands that something before it is tried again first.
    fn is_held_up(&self, position: Position) -> bool {
        let before = self.retrying.first().is_some_and(|first| *first < position);
        self.settings.strategy == Strategy::Single && before
    }

    /// How many events are with consumers.
    pub(crate) fn in_flight(&self) -> u64 {
        self.consumers.in_flight()
    }

    pub(crate) fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Everything that matches up to here is settled, but for what failed or is parked.
    pub(crate) fn floor(&self) -> Position {
        if is_present(Defect::FloorAhead) {
            return self.read;
        }
        let below = |first: &Position| Position(first.0.saturating_sub(1));
        self.holding.first().map_or(self.read, below).max(self.proposed_floor)
    }

    /// An event that a consumer held waits again, as if it had not been given to anybody.
    fn give_back(&mut self, position: Position) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        if let State::With { until, .. } = entry.state {
            self.timers.remove(&(until, position));
            entry.state = State::Waiting(None);
            self.ready.insert(position);
        }
    }

    /// Takes an event out; returns what is known of it.
    fn remove(&mut self, position: Position) -> Option<Entry<E>> {
        let entry = self.entries.remove(&position)?;
        match &entry.state {
            State::Waiting(body) => {
                self.ready.remove(&position);
                self.waiting_bytes -= body.as_ref().map_or(0, |body| body.bytes);
            }
            State::With { until, .. } => {
                self.timers.remove(&(*until, position));
            }
            State::Retry { due } => {
                self.timers.remove(&(*due, position));
                self.retrying.remove(&position);
            }
        }
        Some(entry)
    }

    /// An event is settled or parked: what its stream has next goes on.
    fn end(&mut self, position: Position, kind: Kind, confirm: Option<(ConsumerId, u64)>) {
        let Some(entry) = self.remove(position) else { return };
        self.leave_queue(position, entry.stream);
        self.note(position, kind, confirm);
    }

    fn note(&mut self, position: Position, kind: Kind, confirm: Option<(ConsumerId, u64)>) {
        let change = self.changes.entry(position).or_insert_with(|| Change::new(kind.clone()));
        change.kind = kind;
        change.confirm.extend(confirm);
    }
}

fn never_given(number: u64) -> Invalid {
    Invalid::new("number", format!("is {number}, which this consumer was never given"))
}

fn later(now: Timestamp, milliseconds: u64) -> Timestamp {
    let micros = i64::try_from(milliseconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_add(micros))
}
