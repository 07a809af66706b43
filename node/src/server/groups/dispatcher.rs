//! The dispatcher of a group: chooses the consumer of each event and keeps the outcomes, without tasks and clocks.

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

/// The number of bytes of waiting events in memory at which no more events are taken in.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The number of bytes that an event counts beside its own.
const EVENT_OVERHEAD_BYTES: usize = 256;
/// The longest delay of a failed event, unless its consumer or the group's settings ask for more.
const DELAY_MS_MAX: u64 = 60_000;

/// An event as the dispatcher takes it in; `body` is handed out with it.
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
    /// None if the event must be read again.
    pub(crate) body: Option<E>,
}

/// The state of a group in the log when its owner begins.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) incarnation: LogIndex,
    pub(crate) floor: Position,
    /// The settled events above the floor.
    pub(crate) settled: BTreeSet<Position>,
    /// The failed events, each with its stream if the strategy needs it.
    pub(crate) failed: Vec<(Failed, Option<StreamName>)>,
    /// The parked events above the floor, and the number of all parked events.
    pub(crate) parked_above: BTreeSet<Position>,
    pub(crate) parked: usize,
}

/// The way in which a consumer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// In order: the events that it held are given back, and no attempt counts.
    Gracefully,
    /// Not in order: the outcome of the events that it held is unknown.
    Lost,
}

/// An event that was taken in and is not settled.
struct Entry<E> {
    /// The number of attempts that failed.
    attempts: u32,
    stream: Option<StreamName>,
    state: State<E>,
    /// The consumer that held the event and did not begin it in time: others that have room go first.
    left_by: Option<ConsumerId>,
}

enum State<E> {
    /// The event waits for a consumer, or for another event of its stream.
    Waiting(Option<Body<E>>),
    /// A consumer holds the event, until `until`.
    With {
        consumer: ConsumerId,
        number: u64,
        until: Timestamp,
        /// The time at which the consumer began the event; none before.
        begun: Option<Timestamp>,
    },
    /// The event failed, and is to be tried again at `due`.
    Retry { due: Timestamp },
}

struct Body<E> {
    event: E,
    bytes: usize,
}

/// The state of one group, on the leader, for one term.
///
/// Invariants:
/// - every event that was taken in is in `entries` until it is settled or parked, and then in a change until the
///   change is durable;
/// - `holding` has every position that was taken in and is in no proposal yet: the floor stays below all of
///   them;
/// - with [`Strategy::ByStream`] at most one entry of a stream is ready, with a consumer or to be tried again:
///   the one that `stream_queues` names; the others wait, in order;
/// - `holding`, `above` and the batch in flight together hold no more positions than the group's window, and
///   neither do the settled positions above the floor that the log keeps;
/// - a consumer holds no more than its window.
pub(crate) struct Dispatcher<E> {
    settings: GroupSettings,
    incarnation: LogIndex,
    consumers: Consumers,
    entries: BTreeMap<Position, Entry<E>>,
    /// The events that can be handed out now, by position.
    ready: BTreeSet<Position>,
    waiting_bytes: usize,
    stream_queues: HashMap<StreamName, StreamQueue>,
    /// Message timeouts and retries, by time.
    timers: BTreeSet<(Timestamp, Position)>,
    /// The failed events that wait until they are due.
    retrying: BTreeSet<Position>,
    /// Everything that matches up to this position was taken in.
    read: Position,
    holding: BTreeSet<Position>,
    /// The settled events above the proposed floor.
    above: BTreeSet<Position>,
    /// The events above the floor whose outcome the log has already: they must not be taken in when they are read.
    skipped: BTreeSet<Position>,
    /// The events that the log records as failed, including those of the batch in flight.
    recorded: BTreeSet<Position>,
    /// The number of parked events in the log and the batch in flight; and the number that are to be proposed.
    parked: usize,
    parking: usize,
    /// The time before which no event is parked, because the log had no room for it.
    parks_from: Timestamp,
    /// The changes that are to be proposed.
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

    /// Returns true if more events of the query can be taken in.
    pub(crate) fn has_room(&self) -> bool {
        let taken = self.holding.len()
            + self.above.len()
            + self.in_flight.as_ref().map_or(0, Batch::held_count);
        taken < self.settings.window as usize && self.waiting_bytes < WAITING_BYTES_MAX
    }

    /// Takes in the next event that the query finds. Events that are settled, failed or parked already are passed over.
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
        // An event that waits for another of its stream leaves half of the memory to others; it may be read again.
        let holds_body = is_ready || self.waiting_bytes + bytes <= WAITING_BYTES_MAX / 2;
        let body = holds_body.then_some(Body { event: body, bytes });
        self.waiting_bytes += body.as_ref().map_or(0, |body| body.bytes);
        let state = State::Waiting(body);
        self.entries.insert(position, Entry { attempts: 0, stream, state, left_by: None });
    }

    /// Records that everything that matches up to this position was taken in.
    pub(crate) fn read_through(&mut self, position: Position) {
        self.read = self.read.max(position);
    }

    /// Takes in events that the log records as failed: when the owner begins, or after a replay of parked events.
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
            // An event behind another of its stream is tried when its turn comes.
            if self.line_up(position, stream) {
                self.retry_at(position, due);
            }
        }
    }

    /// Returns true if the event was taken in already and is not settled or parked.
    pub(crate) fn knows(&self, position: Position) -> bool {
        self.entries.contains_key(&position)
    }

    /// Sets the number of parked events to the number in the log.
    pub(crate) fn set_parked(&mut self, parked: usize) {
        self.parked = parked;
    }

    /// Goes on under other settings; the strategy stays. A new timeout applies to events that are handed out, begun or
    /// extended from now on; an event that a consumer holds keeps its time.
    pub(crate) fn configure(&mut self, settings: GroupSettings) {
        self.settings = GroupSettings { strategy: self.settings.strategy, ..settings };
    }

    pub(crate) fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// Returns the group's incarnation: the log index of the entry that created the group or reset it last.
    pub(crate) fn incarnation(&self) -> LogIndex {
        self.incarnation
    }

    /// Lets a consumer in. If it does not report when it begins an event, an event begins when it is handed out.
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

    /// Records whether a consumer takes events at the moment.
    pub(crate) fn set_open(&mut self, id: ConsumerId, is_open: bool) {
        self.consumers.set_open(id, is_open);
    }

    /// Takes a consumer's outcomes of its events. Returns the numbers that came too late.
    ///
    /// # Errors
    /// The consumer never held one of the events; those before it count.
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

    /// Settles an event that was to be handed out and is not there any more.
    pub(crate) fn gone(&mut self, handed: &Handed<E>) {
        if let Seen::Held(position) = self.consumers.release(handed.consumer, handed.number, false)
        {
            self.end(position, Kind::Settled, None);
        }
    }

    /// Takes back the events that consumers held for too long, and makes failed events ready that are due. Returns the
    /// deliveries that were taken back, with their consumers.
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

    /// Returns the time at which [`Dispatcher::tick`] has something to do next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Gives the next event to a consumer; returns none while no event is ready, or no consumer has room.
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

    /// Returns true if the order requires that an earlier event is tried again before this one.
    fn is_held_up(&self, position: Position) -> bool {
        let before = self.retrying.first().is_some_and(|first| *first < position);
        self.settings.strategy == Strategy::Single && before
    }

    /// Returns the number of events that consumers hold.
    pub(crate) fn in_flight(&self) -> u64 {
        self.consumers.in_flight()
    }

    pub(crate) fn consumers(&self) -> &Consumers {
        &self.consumers
    }

    /// Returns the position up to which every event that matches is settled, has failed or is parked.
    pub(crate) fn floor(&self) -> Position {
        if is_present(Defect::FloorAhead) {
            return self.read;
        }
        let below = |first: &Position| Position(first.0.saturating_sub(1));
        self.holding.first().map_or(self.read, below).max(self.proposed_floor)
    }

    /// Makes an event that a consumer held ready again, as if it had not been handed out.
    fn give_back(&mut self, position: Position) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        if let State::With { until, .. } = entry.state {
            self.timers.remove(&(until, position));
            entry.state = State::Waiting(None);
            self.ready.insert(position);
        }
    }

    /// Removes an event; returns its entry.
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

    /// Ends an event that is settled or parked: the next event of its stream goes on.
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
