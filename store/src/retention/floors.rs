//! The floors of streams as of a point, for one reader.

use std::collections::HashMap;
use std::sync::Arc;

use lru::LruCache;
use quorate_proto::{Category, Path, Position, Scope, StreamName, Timestamp, Version};

use super::earlier::record_at;
use super::rules::{Chain, Rules};
use crate::fault::Fault;
use crate::format::StoredEvent;
use crate::format::retention::{Limits, Record};
use crate::point::Point;
use crate::view::View;

/// The bytes that may remember which events of streams are hidden; the streams asked for last are kept.
const STREAMS_BYTES_MAX: usize = 32 * 1024;
/// The bytes that a stream takes there, about, beside its name and its counts.
const STREAM_BYTES: usize = 224;
/// The number of times for which the position where they begin is remembered.
const TIMES_MAX: usize = 256;

/// The floors of streams as of a point. A floor costs nothing while there are no records, and a look into
/// memory for a stream without a record that counts.
///
/// It holds on to no view, so that a reader who stalls keeps no tail in memory: each call gets the view to
/// read, which may become another one of the same log. Where a change after the point is no longer in any tail of that
/// view, floors that are exact make the record anew from the changes before; for the others the change counts.
#[derive(Debug)]
pub(crate) struct Floors {
    point: Point,
    is_exact: bool,
    /// True if there were records at the first call.
    has_records: Option<bool>,
    /// Made for the first stream: most appends are judged without.
    streams: Option<LruCache<StreamName, StreamRules>>,
    /// The bytes that `streams` take.
    bytes: usize,
    /// The positions where times begin.
    times: HashMap<Timestamp, Position>,
}

/// The rules and the floor of a stream, as far as they are known.
#[derive(Debug)]
struct StreamRules {
    rules: Rules,
    floor: Option<Version>,
}

impl StreamRules {
    fn bytes(&self, stream: &StreamName) -> usize {
        STREAM_BYTES + stream.as_str().len() + size_of_val(self.rules.counts.as_slice())
    }
}

impl Floors {
    /// Returns floors by the records that were there at `point`.
    pub(crate) fn at(point: Point) -> Floors {
        let (has_records, streams, times) = (None, None, HashMap::new());
        Floors { point, is_exact: false, has_records, streams, bytes: 0, times }
    }

    /// Returns floors that are exact also in views whose catalog is newer than the point. Where events around it were
    /// scavenged since then, a floor may be higher, by events that are no longer there.
    pub(crate) fn exactly_at(point: Point) -> Floors {
        Floors { is_exact: true, ..Floors::at(point) }
    }

    /// Returns the first version of a stream that is not hidden; may be one more than its last.
    pub(crate) fn floor(&mut self, view: &View, stream: &StreamName) -> Result<Version, Fault> {
        let Some(known) = self.known(view, stream)? else { return Ok(Version(1)) };
        if let Some(floor) = known.floor {
            return Ok(floor);
        }
        let rules = known.rules.clone();
        let floor = self.look_up(view, stream, &rules)?;
        if let Some(known) = self.known(view, stream)? {
            known.floor = Some(floor);
        }
        Ok(floor)
    }

    /// Returns true if an event is below the floor of its stream.
    pub(crate) fn is_hidden(&mut self, view: &View, event: &StoredEvent) -> Result<bool, Fault> {
        let Some(known) = self.known(view, &event.stream)? else { return Ok(false) };
        let StreamRules { rules, floor } = known;
        if let Some(floor) = floor {
            return Ok(event.version < *floor);
        }
        if event.version < rules.first
            || event.position < rules.position
            || rules.time.is_some_and(|time| event.recorded_at < time)
        {
            return Ok(true);
        }
        // Limits that ended before the event was written do not count for it.
        let counts = rules.counts.iter().filter(|(until, _)| *until >= event.position);
        let counts: Vec<_> = counts.copied().collect();
        if counts.is_empty() {
            return Ok(false);
        }
        if !view.tails().any(|tail| tail.first() <= event.position) {
            return Ok(event.version < self.floor(view, &event.stream)?);
        }
        // Events behind an event of a tail are in a tail too: apply reads no chunk for a condition.
        for (until, count) in counts {
            let newest = view.version_at(&event.stream, until)?;
            if event.version.0.saturating_add(count) <= newest.0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the rules and the floor of a stream; `None` if none of its events is hidden.
    fn known(
        &mut self,
        view: &View,
        stream: &StreamName,
    ) -> Result<Option<&mut StreamRules>, Fault> {
        if !*self.has_records.get_or_insert_with(|| view.has_records()) || stream.is_system() {
            return Ok(None);
        }
        if !self.streams.as_ref().is_some_and(|streams| streams.contains(stream)) {
            let Point { position, recorded_at, .. } = self.point;
            let record = if self.is_exact { record_at } else { View::record };
            let rules = chain(view, stream, position, record)?.rules(position, recorded_at);
            self.remember(stream, rules);
        }
        Ok(self.streams.as_mut().and_then(|streams| streams.get_mut(stream)))
    }

    fn remember(&mut self, stream: &StreamName, mut rules: Rules) {
        rules.counts.shrink_to_fit();
        let known = StreamRules { rules, floor: None };
        self.bytes += known.bytes(stream);
        // A bounded cache would reserve room for all streams at once.
        let streams = self.streams.get_or_insert_with(LruCache::unbounded);
        streams.put(stream.clone(), known);
        // A single stream may take more, until the reader rests.
        while self.bytes > STREAMS_BYTES_MAX && streams.len() > 1 {
            let Some((stream, known)) = streams.pop_lru() else { break };
            self.bytes -= known.bytes(&stream);
        }
    }

    /// Forgets the streams if they take more than may be remembered while nobody reads on.
    pub(crate) fn shrink(&mut self) {
        if self.bytes > STREAMS_BYTES_MAX {
            self.streams = None;
            self.bytes = 0;
        }
    }

    /// Computes the floor from the positions of the stream's events.
    fn look_up(
        &mut self,
        view: &View,
        stream: &StreamName,
        rules: &Rules,
    ) -> Result<Version, Fault> {
        let mut begin = rules.position;
        if let Some(time) = rules.time {
            begin = begin.max(self.begin_of(view, time)?);
        }
        let mut floor = rules.first;
        if begin > Position(1) {
            let before = Position(begin.0 - 1).min(self.point.position);
            floor = floor.max(view.version_at(stream, before)?.next());
        }
        for (until, count) in &rules.counts {
            let version = view.version_at(stream, *until)?;
            floor = floor.max(Version((version.0 + 1).saturating_sub(*count)));
        }
        Ok(floor)
    }

    fn begin_of(&mut self, view: &View, time: Timestamp) -> Result<Position, Fault> {
        if let Some(position) = self.times.get(&time) {
            return Ok(*position);
        }
        let position = view.begin_of(time)?;
        if self.times.len() >= TIMES_MAX {
            self.times.clear();
        }
        self.times.insert(time, position);
        Ok(position)
    }
}

/// Returns the limits that a stream is under, as of a position that is not below the last chunk's end.
pub(crate) fn limits(view: &View, stream: &StreamName, as_of: Position) -> Result<Limits, Fault> {
    if stream.is_system() || !view.has_records() {
        return Ok(Limits::default());
    }
    Ok(chain(view, stream, as_of, View::record)?.in_force(as_of))
}

/// Returns the records that count for a stream, as `record` finds them.
fn chain(
    view: &View,
    stream: &StreamName,
    as_of: Position,
    record: impl Fn(&View, &Scope, Position) -> Result<Option<Arc<Record>>, Fault>,
) -> Result<Chain, Fault> {
    let own = record(view, &Scope::Stream(stream.clone()), as_of)?;
    let category = Category::new(stream.category()).expect("part of a valid name");
    let mut above = Vec::new();
    above.extend(record(view, &Scope::Category(category), as_of)?);
    let mut paths: Vec<&str> = stream.paths().collect();
    paths.reverse();
    for path in paths {
        let path = Path::new(path).expect("part of a valid name");
        above.extend(record(view, &Scope::Path(path), as_of)?);
    }
    Ok(Chain { own, above })
}
