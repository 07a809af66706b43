//! A consumer group in memory that goes by stream, retries and parks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_client::{Event, Problem, RecordedEvent, StreamName, Timestamp};
use tokio::time::Instant;

use crate::sink::deliveries::Deliveries;
use crate::sink::error::SinkError;

/// The delay of a failed event by default.
pub(crate) const DELAY: Duration = Duration::from_millis(5);

/// The outcomes of a group's events.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) parked: BTreeMap<u64, String>,
    pub(crate) delays: Vec<Option<Duration>>,
    pub(crate) is_closed: bool,
}

/// A group that ends when everything is settled.
pub(crate) struct Group {
    waiting: BTreeMap<u64, (RecordedEvent, Instant)>,
    busy: BTreeSet<String>,
    attempts_max: u32,
    attempts: BTreeMap<u64, u32>,
    settled: Arc<Mutex<Settled>>,
}

impl Group {
    pub(crate) fn of(
        events: Vec<RecordedEvent>,
        attempts_max: u32,
    ) -> (Group, Arc<Mutex<Settled>>) {
        let settled = Arc::new(Mutex::new(Settled::default()));
        let now = Instant::now();
        let waiting = events.into_iter().map(|event| (event.position.0, (event, now))).collect();
        let (busy, attempts) = (BTreeSet::new(), BTreeMap::new());
        (Group { waiting, busy, attempts_max, attempts, settled: settled.clone() }, settled)
    }

    /// Returns the first waiting event of each stream, and the time at which it may be tried.
    fn candidates(&self) -> impl Iterator<Item = (u64, Instant)> + '_ {
        let mut seen = self.busy.clone();
        self.waiting.iter().filter_map(move |(position, (event, due))| {
            seen.insert(event.stream.to_string()).then_some((*position, *due))
        })
    }
}

impl Deliveries for Group {
    type Delivery = RecordedEvent;

    async fn next(&mut self) -> Result<Option<RecordedEvent>, Problem> {
        loop {
            if self.waiting.is_empty() && self.busy.is_empty() {
                return Ok(None);
            }
            let Some((position, due)) = self.candidates().min_by_key(|(_, due)| *due) else {
                return std::future::pending().await;
            };
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
                continue;
            }
            let (event, _) = self.waiting.remove(&position).expect("it waits");
            self.busy.insert(event.stream.to_string());
            *self.attempts.entry(position).or_default() += 1;
            return Ok(Some(event));
        }
    }

    fn event(delivery: &RecordedEvent) -> &RecordedEvent {
        delivery
    }

    fn has_lapsed(_: &RecordedEvent) -> bool {
        false
    }

    fn settle(&mut self, event: &RecordedEvent, outcome: Result<(), SinkError>) {
        assert!(self.busy.remove(event.stream.as_str()), "it was with nobody");
        let mut settled = self.settled.lock().expect("no panic");
        match outcome {
            Ok(()) => settled.acknowledged.push(event.position.0),
            Err(SinkError::Retry { reason, after }) => {
                settled.delays.push(after);
                if self.attempts[&event.position.0] >= self.attempts_max {
                    settled.parked.insert(event.position.0, reason);
                } else {
                    let due = Instant::now() + after.map_or(DELAY, |after| after.min(DELAY));
                    self.waiting.insert(event.position.0, (event.clone(), due));
                }
            }
            Err(SinkError::Poison { reason }) => {
                settled.parked.insert(event.position.0, reason);
            }
        }
    }

    async fn close(self) -> Result<(), Problem> {
        self.settled.lock().expect("no panic").is_closed = true;
        Ok(())
    }
}

/// Returns events of some streams in turn: position 1, 2, 3 …
pub(crate) fn events(count: u64, streams: u64) -> Vec<RecordedEvent> {
    (1..=count)
        .map(|position| {
            let stream = StreamName::new(format!("order-{}", position % streams)).expect("a name");
            let event = Event::json("Paid", &position).expect("an event").tag("red");
            let version = (position - 1) / streams + 1;
            event.recorded(position, stream, version, Timestamp(1_767_225_600_000_000))
        })
        .collect()
}
