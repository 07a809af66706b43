//! "Was this appended?": events of one append stand at consecutive positions, so it is a comparison of ids.
//!
//! What is old enough to be outside the window and below its stream's floor may have been removed, here or
//! elsewhere. It is *forgotten*: nobody compares it, not even a node that still has it.

use std::sync::RwLock;

use quorate_proto::{Appended, EventId, Expectation, Position, StreamName, Version, Write};

use super::Demand;
use crate::event::Identity;
use crate::fault::Fault;
use crate::life::{Floors, Head};
use crate::read::Point;
use crate::view::View;
use crate::window::Window;

/// The log as far as an append is judged by it.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    view: &'a View,
    window: &'a RwLock<Window>,
    /// Nothing after this position counts.
    as_of: Position,
    floors: Floors,
}

/// Whether an append is a repetition.
#[derive(Debug)]
pub(crate) enum Found {
    New,
    Repeated(Appended),
    Reused(EventId),
    Forgotten,
}

/// What the window says about the ids of an append.
enum InWindow {
    None,
    /// All, at consecutive positions from this one on, in order.
    InARow(Position),
    /// This one is there, but not as part of these ids in a row.
    Some(EventId),
}

/// Where the events of a write must stand in its stream, if they are there.
struct Anchor<'a> {
    write: &'a Write,
    /// The stream's version now.
    last: Version,
    /// The version of the first of them.
    first: Version,
    /// How many events of the append stand before them.
    before: u64,
}

impl<'a> Log<'a> {
    /// The log up to a point.
    pub(crate) fn new(view: &'a View, window: &'a RwLock<Window>, point: Point) -> Log<'a> {
        Log { view, window, as_of: point.position, floors: Floors::at(point) }
    }

    /// The check before all others.
    pub(crate) fn find(&mut self, demand: &Demand<'_>, heads: &[Head]) -> Result<Found, Fault> {
        let exact = |write: &Write, _: &Head| match write.expectation {
            // A version that no stream reaches may be asked for.
            Expectation::Exactly(version) => Some(Version(version.0.saturating_add(1))),
            _ => None,
        };
        let by_version = anchors(demand, heads, exact);
        if !by_version.is_empty() {
            // Had this been appended, each of these streams would be above its N.
            let is_new = by_version.iter().any(|anchor| anchor.last < anchor.first);
            return if is_new { Ok(Found::New) } else { self.compare_at(demand, &by_version) };
        }
        match self.find_by_ids(demand)? {
            Found::New => {}
            found => return Ok(found),
        }
        let failing_none = |write: &Write, head: &Head| {
            let is_failing =
                write.expectation == Expectation::None && !head.meets(Expectation::None);
            is_failing.then(|| head.deleted.next())
        };
        self.compare_at(demand, &anchors(demand, heads, failing_none))
    }

    /// No version to compare from: the ids are looked up among the newest positions.
    fn find_by_ids(&mut self, demand: &Demand<'_>) -> Result<Found, Fault> {
        match self.look_up(&demand.ids) {
            InWindow::None => Ok(Found::New),
            InWindow::Some(id) => Ok(Found::Reused(id)),
            InWindow::InARow(first) => match (self.compare(demand, first)?, demand.ids.first()) {
                (Found::New, Some(id)) => Ok(Found::Reused(*id)),
                (found, _) => Ok(found),
            },
        }
    }

    /// Whether the writes of the anchors stand where those say, and all other events where they should around
    /// them. Without an anchor the append is new.
    fn compare_at(&mut self, demand: &Demand<'_>, anchors: &[Anchor<'_>]) -> Result<Found, Fault> {
        let end = |anchor: &Anchor<'_>| anchor.first.plus(anchor.write.events.len() as u64 - 1);
        if anchors.iter().any(|anchor| anchor.last < end(anchor)) {
            return Ok(Found::New);
        }
        for anchor in anchors {
            let events = (0..).zip(&anchor.write.events);
            for (nth, event) in events {
                let (stream, version) = (&anchor.write.stream, anchor.first.plus(nth));
                if !self.may_stand_at(event.id, stream, version) {
                    return Ok(Found::New);
                }
                let Some(position) = self.place(stream, version)? else { continue };
                return match position.0.checked_sub(anchor.before + nth) {
                    Some(first) if first > 0 => self.compare(demand, Position(first)),
                    _ => Ok(Found::New),
                };
            }
        }
        Ok(if anchors.is_empty() { Found::New } else { Found::Forgotten })
    }

    /// Where a version of a stream, which it has reached, stands; `None` if that is forgotten.
    fn place(&mut self, stream: &StreamName, version: Version) -> Result<Option<Position>, Fault> {
        let position = self.view.position_of(stream, version)?;
        let is_new = position.is_some_and(|position| position >= self.window_first());
        if is_new || version >= self.floors.floor(self.view, stream)? {
            let why = || format!("version {version} of `{stream}` is nowhere");
            let missing = || Fault::damaged(&self.view.directory, 0, why());
            return position.ok_or_else(missing).map(Some);
        }
        Ok(None)
    }

    /// Whether an id may be that of this version of a stream, by what is in memory. Only saves reading: most
    /// conflicts are no repetitions, and their streams' newest events are in the window.
    fn may_stand_at(&self, id: EventId, stream: &StreamName, version: Version) -> bool {
        let window = self.window.read().expect(NO_PANIC);
        let is_in_tail = self
            .view
            .tails()
            .any(|tail| tail.first_version(stream).is_some_and(|first| first <= version));
        let is_in_window = window.first() == Position(1)
            || is_in_tail && self.view.tails().all(|tail| tail.first() >= window.first());
        !is_in_window || window.find(id).is_some()
    }

    /// Whether exactly the append's events stand from `first` on.
    fn compare(&mut self, demand: &Demand<'_>, first: Position) -> Result<Found, Fault> {
        let count = demand.ids.len() as u64;
        let last = Position(first.0 + count - 1);
        if last > self.as_of {
            return Ok(Found::New);
        }
        let mut there = self.view.identities(first, count)?.into_iter().peekable();
        let mut versions = Vec::with_capacity(demand.append.writes.len());
        let (mut recorded_at, mut is_forgotten) = (None, false);
        let mut position = first;
        for write in &demand.append.writes {
            let mut version = Version::ZERO;
            for event in &write.events {
                match there.next_if(|one| one.position == position) {
                    Some(one) if !self.is_forgotten(&one)? => {
                        if one.id != event.id || one.stream != write.stream {
                            return Ok(Found::New);
                        }
                        version = one.version;
                        recorded_at = recorded_at.or(Some(one.recorded_at));
                    }
                    _ => is_forgotten = true,
                }
                position = position.next();
            }
            versions.push(version);
        }
        if is_forgotten {
            return Ok(Found::Forgotten);
        }
        let (first_position, last_position) = (first, last);
        let recorded_at = recorded_at.unwrap_or_default();
        Ok(Found::Repeated(Appended { versions, first_position, last_position, recorded_at }))
    }

    fn is_forgotten(&mut self, event: &Identity) -> Result<bool, Fault> {
        if event.position >= self.window_first() {
            return Ok(false);
        }
        Ok(event.version < self.floors.floor(self.view, &event.stream)?)
    }

    fn window_first(&self) -> Position {
        self.window.read().expect(NO_PANIC).first()
    }

    fn look_up(&self, ids: &[EventId]) -> InWindow {
        let window = self.window.read().expect(NO_PANIC);
        let find = |id: &EventId| window.find(*id).filter(|position| *position <= self.as_of);
        let positions: Vec<Option<Position>> = ids.iter().map(find).collect();
        let known = ids.iter().zip(&positions).find(|(_, position)| position.is_some());
        let Some((id, _)) = known else { return InWindow::None };
        let Some(Some(first)) = positions.first().copied() else { return InWindow::Some(*id) };
        let in_a_row = (first.0..).map(|position| Some(Position(position)));
        if in_a_row.zip(&positions).all(|(expected, position)| expected == *position) {
            return InWindow::InARow(first);
        }
        InWindow::Some(*id)
    }
}

/// The writes of which it is known where their events begin in their stream, by `first`.
fn anchors<'a>(
    demand: &Demand<'a>,
    heads: &[Head],
    first: impl Fn(&Write, &Head) -> Option<Version>,
) -> Vec<Anchor<'a>> {
    let mut end = 0;
    let writes = demand.append.writes.iter().zip(heads).filter_map(|(write, head)| {
        let before = end;
        end += write.events.len() as u64;
        let (first, last) = (first(write, head)?, head.version);
        Some(Anchor { write, last, first, before })
    });
    writes.collect()
}

const NO_PANIC: &str = "nobody panics while holding the lock";
