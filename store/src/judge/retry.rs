//! "Was this appended?" The events of one append stand at consecutive positions, so their ids are compared.
//!
//! The window is asked first, whatever the append expects: an id that it knows is never written again. An
//! append that the window does not know is compared at the version that its `exactly N` or failing `none`
//! names. Nothing is appended then, whatever the comparison finds, so apply leaves it out: the events may stand
//! in any of many chunks on the disk. The node that answers the client makes the comparison, beside apply.
//!
//! An event before the window and below its stream's floor may have been removed, here or elsewhere. Such an
//! event is *forgotten*: nobody compares it, not even a node that still has it.

use std::sync::RwLock;

use quorate_proto::{Appended, EventId, Expectation, Position, StreamName, Version};

use super::demand::{Demand, name_of};
use crate::defect::{Defect, is_present};
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::Identity;
use crate::format::command::Aim;
use crate::point::Point;
use crate::retention::Floors;
use crate::verdict::Place;
use crate::view::{StreamHead, View, Window};

/// The part of the log that an append is judged by.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    view: &'a View,
    window: &'a RwLock<Window>,
    /// The last position that counts.
    as_of: Position,
    floors: Floors,
    /// The reads that were needed to find a version.
    pub(super) reads: ReadCounters,
}

/// The result of comparing an append with the log: is it a repetition?
#[derive(Debug)]
pub(crate) enum Found {
    New,
    Repeated(Appended),
    Reused(EventId),
    Forgotten,
}

/// The result of looking the ids of an append up in the window.
enum InWindow {
    /// The window knows none of the ids.
    None,
    /// The known ids stand where an append that began at this position put them; one of the ids is given.
    Began(Position, EventId),
    /// The window knows this id, and no append of all the ids can have put it where it stands.
    Apart(EventId),
}

impl<'a> Log<'a> {
    /// Returns the log up to a point.
    pub(crate) fn new(view: &'a View, window: &'a RwLock<Window>, point: Point) -> Log<'a> {
        let (as_of, floors) = (point.position, Floors::at(point));
        Log { view, window, as_of, floors, reads: ReadCounters::default() }
    }

    /// Returns the places of the events of an append of which the window knows no id, if it is a repetition: its
    /// expectations name them. Empty if the append is new. A function of the log alone, read without the disk.
    pub(crate) fn places(&self, demand: &Demand<'_>, heads: &[StreamHead]) -> Vec<Place> {
        // The window holds the whole log.
        if self.window_first() == Position(1) {
            return Vec::new();
        }
        let exact = |write: &Aim<'_>, _: &StreamHead| match write.expectation {
            // A request may name a version that no stream reaches.
            Expectation::Exactly(version) => Some(Version(version.0.saturating_add(1))),
            _ => None,
        };
        let by_version = places(demand, heads, exact);
        // If this had been appended, each of these streams would be above its N.
        if by_version.iter().any(|(place, head)| head.version < place.first) {
            return Vec::new();
        }
        let failing_none = |write: &Aim<'_>, head: &StreamHead| {
            let is_failing =
                write.expectation == Expectation::None && !head.meets(Expectation::None);
            is_failing.then(|| head.deleted.next())
        };
        let places = match by_version.is_empty() {
            true => places(demand, heads, failing_none),
            false => by_version,
        };
        let is_there = |(place, head): &(Place, StreamHead)| {
            let write = demand.writes().nth(place.write);
            let count = write.map_or(0, |write| write.events as u64);
            head.version.0 >= place.first.0.saturating_add(count.saturating_sub(1))
        };
        if !places.iter().all(is_there) {
            return Vec::new();
        }
        places.into_iter().map(|(place, _)| place).collect()
    }

    /// Returns true if memory alone shows that the window would know an append at these places, so it is new. Only
    /// saves reading: most conflicts are no repetitions, and their streams' newest events are in the window.
    pub(crate) fn is_new(&self, demand: &Demand<'_>, places: &[Place]) -> bool {
        places.iter().any(|place| {
            let write = demand.writes().nth(place.write);
            write.is_some_and(|write| self.is_in_window(write.stream, place.first))
        })
    }

    /// Looks the ids up among the newest positions, before all other checks. An append with an id that is
    /// found there is never new.
    pub(crate) fn find(&mut self, demand: &Demand<'_>) -> Result<Found, Fault> {
        let is_exact = |write: &Aim<'_>| matches!(write.expectation, Expectation::Exactly(_));
        if is_present(Defect::RetryByVersion) && demand.writes().any(is_exact) {
            return Ok(Found::New);
        }
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

    /// Returns true if one append began at `first` and had `count` events, as far as they are not forgotten.
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

    /// Compares the append with the log at its places: its events must stand there, at consecutive positions.
    /// This may read from many chunks.
    pub(crate) fn find_at(
        &mut self,
        demand: &Demand<'_>,
        places: &[Place],
    ) -> Result<Found, Fault> {
        for place in places {
            let Some(write) = demand.writes().nth(place.write) else { continue };
            let before: usize = demand.writes().take(place.write).map(|one| one.events).sum();
            let stream = &name_of(write.stream);
            for nth in 0..write.events as u64 {
                let version = place.first.plus(nth);
                if self.is_in_window(write.stream, version) {
                    return Ok(Found::New);
                }
                let Some(position) = self.place(stream, version)? else { continue };
                if position >= self.window_first() {
                    return Ok(Found::New);
                }
                return match position.0.checked_sub(before as u64 + nth) {
                    Some(first) if first > 0 => self.compare(demand, Position(first)),
                    _ => Ok(Found::New),
                };
            }
        }
        Ok(if places.is_empty() { Found::New } else { Found::Forgotten })
    }

    /// Returns the position of a version that its stream has reached; `None` if the version is forgotten.
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

    /// Returns true if memory alone shows that a version of a stream stands in the window.
    fn is_in_window(&self, stream: &str, version: Version) -> bool {
        let first = self.window_first();
        let mut tails = self.view.tails();
        first == Position(1)
            || self.view.tails().all(|tail| tail.first() >= first)
                && tails
                    .any(|tail| tail.first_version(stream).is_some_and(|oldest| oldest <= version))
    }

    /// Returns a repetition if exactly the append's events stand from `first` on.
    fn compare(&mut self, demand: &Demand<'_>, first: Position) -> Result<Found, Fault> {
        let count = demand.ids.len() as u64;
        let last = Position(first.0 + count - 1);
        if last > self.as_of {
            return Ok(Found::New);
        }
        let mut there = self.view.identities(first, count)?.into_iter().peekable();
        let mut versions = Vec::new();
        let mut ids = demand.ids.iter();
        let (mut recorded_at, mut is_forgotten) = (None, false);
        let mut position = first;
        for write in demand.writes() {
            let mut version = Version::ZERO;
            for id in ids.by_ref().take(write.events) {
                match there.next_if(|one| one.position == position) {
                    Some(one) if !self.is_forgotten(&one)? => {
                        if one.id != *id || one.stream.as_str() != write.stream {
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

    /// Returns true if the window knows none of the ids.
    pub(crate) fn knows_no_id(&self, demand: &Demand<'_>) -> bool {
        matches!(self.look_up(demand), InWindow::None)
    }

    fn look_up(&self, demand: &Demand<'_>) -> InWindow {
        let window = self.window.read().expect(NO_PANIC);
        let mut began: Option<(Position, EventId)> = None;
        for (place, id) in (0..).zip(&*demand.ids) {
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

/// Returns the writes whose first version `first` knows, as places, each with the head of its stream.
fn places(
    demand: &Demand<'_>,
    heads: &[StreamHead],
    first: impl Fn(&Aim<'_>, &StreamHead) -> Option<Version>,
) -> Vec<(Place, StreamHead)> {
    let writes = demand.writes().zip(heads).enumerate();
    let places = writes.filter_map(|(write, (one, head))| {
        let first = first(one, head)?;
        Some((Place { write, first }, *head))
    });
    places.collect()
}

const NO_PANIC: &str = "nobody panics while holding the lock";
