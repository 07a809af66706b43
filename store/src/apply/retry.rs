//! "Was this appended?": events of one append stand at consecutive positions, so it is a comparison of ids.
//!
//! The window is asked first, whatever the append expects: an id that it knows is never written again. What the
//! window does not know is compared at the version that `exactly N` or a failing `none` names.
//!
//! What is old enough to be outside the window and below its stream's floor may have been removed, here or
//! elsewhere. It is *forgotten*: nobody compares it, not even a node that still has it.

use std::sync::RwLock;

use quorate_proto::{Appended, EventId, Expectation, Position, StreamName, Version, Write};

use super::Demand;
use crate::cache::ReadCounters;
use crate::defect::{Defect, is_present};
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
    /// What was looked into to find a version.
    pub(super) reads: ReadCounters,
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
    /// It knows none of them.
    None,
    /// An append of them that holds those it knows, of which one is named, began here.
    Began(Position, EventId),
    /// It knows this one, and another or none can have stood where an append of them would have put it.
    Apart(EventId),
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
        let (as_of, floors) = (point.position, Floors::at(point));
        Log { view, window, as_of, floors, reads: ReadCounters::default() }
    }

    /// The check before all others.
    pub(crate) fn find(&mut self, demand: &Demand<'_>, heads: &[Head]) -> Result<Found, Fault> {
        let writes = &demand.append.writes;
        let has_version =
            writes.iter().any(|write| matches!(write.expectation, Expectation::Exactly(_)));
        if has_version && is_present(Defect::RetryByVersion) {
            return self.find_by_versions(demand, heads);
        }
        match self.find_by_ids(demand)? {
            Found::New => self.find_by_versions(demand, heads),
            found => Ok(found),
        }
    }

    /// The window knows none of the ids: what is older is compared where the expectations tell its place.
    fn find_by_versions(&mut self, demand: &Demand<'_>, heads: &[Head]) -> Result<Found, Fault> {
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
        let failing_none = |write: &Write, head: &Head| {
            let is_failing =
                write.expectation == Expectation::None && !head.meets(Expectation::None);
            is_failing.then(|| head.deleted.next())
        };
        self.compare_at(demand, &anchors(demand, heads, failing_none))
    }

    /// The ids are looked up among the newest positions. Nothing that holds one of those is new.
    fn find_by_ids(&mut self, demand: &Demand<'_>) -> Result<Found, Fault> {
        let (first, id) = match self.look_up(demand) {
            InWindow::None => return Ok(Found::New),
            InWindow::Apart(id) => return Ok(Found::Reused(id)),
            InWindow::Began(first, id) => (first, id),
        };
        let found = self.compare(demand, first)?;
        if matches!(found, Found::New) || !self.is_one_append(first, demand.ids.len() as u64)? {
            return Ok(Found::Reused(id));
        }
        Ok(found)
    }

    /// Whether one append began at `first` and ended so many events later, as far as that is not forgotten.
    fn is_one_append(&mut self, first: Position, count: u64) -> Result<bool, Fault> {
        let end = first.plus(count);
        for event in self.view.identities(first, count + 1)? {
            let is_edge = event.position == first || event.position == end;
            let is_known = event.position <= self.as_of && !self.is_forgotten(&event)?;
            if is_known && event.begins != is_edge {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the writes of the anchors stand where those say, and all other events where they should around
    /// them. Without an anchor the append is new.
    fn compare_at(&mut self, demand: &Demand<'_>, anchors: &[Anchor<'_>]) -> Result<Found, Fault> {
        let end = |anchor: &Anchor<'_>| anchor.first.plus(anchor.write.events.len() as u64 - 1);
        if anchors.iter().any(|anchor| anchor.last < end(anchor)) {
            return Ok(Found::New);
        }
        for anchor in anchors {
            for nth in 0..anchor.write.events.len() as u64 {
                let (stream, version) = (&anchor.write.stream, anchor.first.plus(nth));
                if self.is_in_window(stream, version) {
                    return Ok(Found::New);
                }
                let Some(position) = self.place(stream, version)? else { continue };
                if position >= self.window_first() {
                    return Ok(Found::New);
                }
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
        let position = self.view.position_of(stream, version, &mut self.reads)?;
        let is_new = position.is_some_and(|position| position >= self.window_first());
        if is_new || version >= self.floors.floor(self.view, stream)? {
            let why = || format!("version {version} of `{stream}` is nowhere");
            let missing = || Fault::damaged(&self.view.directory, 0, why());
            return position.ok_or_else(missing).map(Some);
        }
        Ok(None)
    }

    /// Whether a version of a stream stands in the window for sure, by what is in memory. Only saves reading: most
    /// conflicts are no repetitions, and their streams' newest events are in the window, which knows no id of theirs.
    fn is_in_window(&self, stream: &StreamName, version: Version) -> bool {
        let first = self.window_first();
        let mut tails = self.view.tails();
        first == Position(1)
            || self.view.tails().all(|tail| tail.first() >= first)
                && tails
                    .any(|tail| tail.first_version(stream).is_some_and(|oldest| oldest <= version))
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

    fn look_up(&self, demand: &Demand<'_>) -> InWindow {
        let window = self.window.read().expect(NO_PANIC);
        let mut began: Option<(Position, EventId)> = None;
        for (place, id) in (0..).zip(&demand.ids) {
            let position = window.find(*id).filter(|position| *position <= self.as_of);
            let Some(position) = position else { continue };
            let first = position.0.checked_sub(place).filter(|first| *first > 0).map(Position);
            match (began, first) {
                (None, Some(first)) => began = Some((first, *id)),
                (Some((known, _)), Some(first)) if known == first => {}
                (known, _) => return InWindow::Apart(known.map_or(*id, |(_, id)| id)),
            }
        }
        began.map_or(InWindow::None, |(first, id)| InWindow::Began(first, id))
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
