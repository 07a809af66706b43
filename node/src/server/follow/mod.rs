//! A reader that follows: it catches up from the store, then gets events as they are applied.
//!
//! ```text
//! apply → Live (reads it once, from memory) → the mailbox of each reader it matches → Follow → messages
//!                                                                 store::Scan ↗ (catching up)
//! ```
//!
//! The seam: a reader first takes its place with [`Live`], and then scans up to a point that is at least where
//! `Live` was at that moment; what came into the mailbox up to that point is passed over. A mailbox is bounded: a
//! reader that does not keep up loses it, and catches up from the store again, at its own speed.

mod answer;
mod live;
mod mailbox;
mod matching;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_proto::wire::LIFE_SIGN_EVERY;
use quorate_proto::{
    Bounds, Consistency, Position, Problem, Read, RecordedSnapshot, Source, Version,
};
use quorate_raft::host::Host;
use quorate_store::defect::{Defect, is_present};
use quorate_store::{Fault, Reader, Scan, StoredEvent};
use tokio::time::timeout;

use super::problem;

pub(crate) use answer::stream;
pub(crate) use live::Live;

use live::Place;
use mailbox::Delivery;
use matching::Filter;

/// The most pages that are looked at in one step: a scan that finds nothing must return now and then, to learn
/// that its reader has left, and to tell it that this node still looks.
const PAGES_PER_STEP_MAX: usize = 16;

/// The progress of a reader: everything that matches up to here was given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: Position,
    /// The version, if the source is a stream.
    pub(crate) version: Option<Version>,
}

/// The next message to a reader.
#[derive(Debug)]
pub(crate) enum Step {
    /// The first step: the point up to which the reader catches up first, and the requested snapshot.
    Point {
        cursor: Cursor,
        snapshot: Option<RecordedSnapshot>,
        /// The schema of a snapshot that the reader does not understand.
        passed_over: Option<u32>,
    },
    /// Never empty.
    Events(Vec<StoredEvent>),
    CaughtUp(Cursor),
    FellBehind(Cursor),
    Progress(Cursor),
    /// There is no news, and this node still looks or waits.
    StillHere,
    /// As many events as the read's limit allows were given out.
    End,
}

/// A reader that follows.
///
/// Invariants:
/// - events are given out in the order of the log, each once;
/// - `cursor` never goes back, and no matching event above it was given out;
/// - no cursor is sent before this node has reached the bound after which the reader resumes.
pub(crate) struct Follow<H: Host> {
    live: Arc<Live<H>>,
    reader: Reader,
    /// The rest of the read.
    read: Read,
    filter: Arc<Filter>,
    cursor: Cursor,
    phase: Phase,
    /// True if the reader was told that it has caught up, and not since then that it fell behind.
    is_caught_up: bool,
}

enum Phase {
    Beginning,
    /// A scan is under way; the place was taken before it began. The reader was told of a point already.
    CatchingUp {
        scan: Option<Box<Scan>>,
        place: Option<Place>,
    },
    Live(Place),
}

impl<H: Host> Follow<H> {
    /// Returns a reader of what `read` requests, on a node that has reached what its consistency demands.
    pub(crate) fn begin(live: Arc<Live<H>>, reader: Reader, read: Read) -> Follow<H> {
        let filter = Arc::new(Filter::of(&read));
        let cursor = Cursor::default();
        let phase = Phase::Beginning;
        Follow { live, reader, read, filter, cursor, phase, is_caught_up: false }
    }

    /// Returns the next step, and waits while there is none. A cancelled call leaves the reader of no use any more.
    pub(crate) async fn next(&mut self) -> Result<Step, Problem> {
        loop {
            if self.read.limit == Some(0) && !matches!(self.phase, Phase::Beginning) {
                return Ok(Step::End);
            }
            let step = match &mut self.phase {
                Phase::Beginning => Some(self.point().await?),
                Phase::CatchingUp { .. } => self.catch_up().await?,
                Phase::Live(_) => self.live().await?,
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Begins the first scan.
    async fn point(&mut self) -> Result<Step, Problem> {
        let scan = self.scan().await?;
        let cursor = Cursor { position: scan.as_of(), version: scan.version() };
        let (snapshot, passed_over) =
            (scan.snapshot().cloned(), scan.snapshot_schema_passed_over());
        if let Some(snapshot) = &snapshot {
            self.read.bounds.after = snapshot.snapshot.version.0;
        }
        self.read.with_snapshot = false;
        self.read.snapshot_schema_max = None;
        self.phase = Phase::CatchingUp { scan: Some(scan), place: None };
        Ok(Step::Point { cursor, snapshot, passed_over })
    }

    /// Goes on with the scan; at its end takes a place with [`Live`] and scans once more, or uses the place it has.
    async fn catch_up(&mut self) -> Result<Option<Step>, Problem> {
        let Phase::CatchingUp { scan, place } = &mut self.phase else { return Ok(None) };
        let (scan, place) = (scan.take(), place.take());
        let scan = match scan {
            Some(scan) => scan,
            None => self.scan().await?,
        };
        let (as_of, version) = (scan.as_of(), scan.version());
        let host = self.live.replica.host();
        let fetched = host.run(move || fetch(scan)).await;
        let Page { events, rest } = fetched.map_err(|fault| self.found(&fault))?;
        if rest.is_some() {
            self.phase = Phase::CatchingUp { scan: rest, place };
            return Ok(Some(self.give_out(events).unwrap_or(Step::StillHere)));
        }
        let step = self.give_out(events);
        self.pass(Cursor { position: as_of, version });
        self.phase = match place {
            Some(place) => Phase::Live(place),
            None if is_present(Defect::NoSecondLook) => {
                Phase::Live(self.live.join(&self.filter, self.is_strict()))
            }
            // The long scan is over; the next one is short, and the mailbox keeps the events that come meanwhile.
            None => {
                let place = self.live.join(&self.filter, self.is_strict());
                Phase::CatchingUp { scan: None, place: Some(place) }
            }
        };
        Ok(step)
    }

    /// Takes what came into the mailbox, or waits until something does, but not in silence for long.
    async fn live(&mut self) -> Result<Option<Step>, Problem> {
        let Phase::Live(place) = &self.phase else { return Ok(None) };
        if !self.is_caught_up && self.has_resumed() {
            self.is_caught_up = true;
            return Ok(Some(Step::CaughtUp(self.cursor)));
        }
        let Ok(delivery) = timeout(LIFE_SIGN_EVERY, place.mailbox.take(READ_MESSAGE_BYTES)).await
        else {
            return Ok(Some(Step::StillHere));
        };
        match delivery? {
            Delivery::Events { events, through } => {
                let cursor = self.cursor;
                let is_new = |event: &StoredEvent| event.position > cursor.position;
                let new = events.into_iter().filter(is_new).collect();
                let step = self.give_out(new);
                self.pass(through);
                Ok(step)
            }
            Delivery::Nothing { through } => {
                self.pass(through);
                let tells = self.is_caught_up && self.has_resumed();
                Ok(tells.then_some(Step::Progress(self.cursor)))
            }
            Delivery::Overrun => {
                self.phase = Phase::CatchingUp { scan: None, place: None };
                let was_caught_up = std::mem::take(&mut self.is_caught_up);
                Ok(was_caught_up.then_some(Step::FellBehind(self.cursor)))
            }
        }
    }

    /// Notes which of these events are given out, and returns them. None if no event is requested.
    fn give_out(&mut self, mut events: Vec<StoredEvent>) -> Option<Step> {
        events.retain(|event| self.is_asked_for(event));
        if let Some(limit) = &mut self.read.limit {
            events.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
            *limit -= events.len() as u64;
        }
        let last = events.last()?;
        let version = self.of_stream().then_some(last.version);
        self.pass(Cursor { position: last.position, version });
        Some(Step::Events(events))
    }

    /// Returns true if a matching event lies within the bounds.
    fn is_asked_for(&self, event: &StoredEvent) -> bool {
        let Bounds { after, from, .. } = self.read.bounds;
        let number = if self.of_stream() { event.version.0 } else { event.position.0 };
        number > after && from.is_none_or(|from| from <= event.recorded_at)
    }

    fn pass(&mut self, cursor: Cursor) {
        self.cursor.position = self.cursor.position.max(cursor.position);
        self.cursor.version = self.cursor.version.max(cursor.version);
    }

    /// Returns true if this node has reached the bound after which the reader resumes.
    fn has_resumed(&self) -> bool {
        let after = self.read.bounds.after;
        match self.cursor.version {
            Some(version) => version.0 >= after,
            None => self.cursor.position.0 >= after,
        }
    }

    /// Begins a scan of the rest of the read.
    async fn scan(&self) -> Result<Box<Scan>, Problem> {
        let mut read = self.read.clone();
        let passed = match self.cursor.version {
            Some(version) => version.0,
            None => self.cursor.position.0,
        };
        read.bounds.after = read.bounds.after.max(passed);
        let reader = self.reader.clone();
        let begun = self.live.replica.host().run(move || reader.scan(&read).map(Box::new)).await;
        begun.map_err(|fault| self.found(&fault))
    }

    fn found(&self, fault: &Fault) -> Problem {
        problem::of_found(&self.live.replica, fault)
    }

    fn of_stream(&self) -> bool {
        matches!(self.read.source, Source::Stream { .. })
    }

    /// Returns true if a node that lost touch with the majority must let the reader go.
    fn is_strict(&self) -> bool {
        self.read.consistency != Consistency::Local
    }
}

struct Page {
    events: Vec<StoredEvent>,
    /// None when this is the last page.
    rest: Option<Box<Scan>>,
}

/// Collects about one message of events.
fn fetch(mut scan: Box<Scan>) -> Result<Page, Fault> {
    let mut events = Vec::new();
    let mut bytes = 0;
    for _ in 0..PAGES_PER_STEP_MAX {
        let Some(page) = scan.next_page(READ_MESSAGE_BYTES - bytes)? else {
            return Ok(Page { events, rest: None });
        };
        bytes += page.iter().map(|event| event.size() + event.stream.as_str().len()).sum::<usize>();
        events.extend(page);
        if bytes >= READ_MESSAGE_BYTES {
            break;
        }
    }
    Ok(Page { events, rest: Some(scan) })
}
