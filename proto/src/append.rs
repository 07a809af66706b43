//! Appends: their events, their demands on streams and on the log, and their answer.

use std::collections::HashSet;
use std::fmt;

use crate::invalid::Invalid;
use crate::limits::{APPEND_BYTES_MAX, APPEND_EVENTS_MAX, APPEND_STREAMS_MAX, CONDITIONS_MAX};
use crate::{Event, EventId, Position, Query, StreamName, Timestamp, Version};

/// A demand of an append on a stream. There is no default: the caller always names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expectation {
    /// The stream may be at any version.
    Any,
    /// The stream has no event yet, or none since it was deleted.
    None,
    /// The stream has at least one event since it was deleted, if it ever was.
    Exists,
    /// The stream is at this version, that of the last event that a decision was based on; 0 before the first event.
    Exactly(Version),
}

impl Expectation {
    /// Demands exactly this version.
    pub fn version(version: impl Into<Version>) -> Expectation {
        Expectation::Exactly(version.into())
    }

    /// Returns true if a stream at `actual` meets the demand.
    pub fn is_met_at(self, actual: Version) -> bool {
        match self {
            Expectation::Any => true,
            Expectation::None => actual == Version::ZERO,
            Expectation::Exists => actual > Version::ZERO,
            Expectation::Exactly(version) => actual == version,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::Any => f.write_str("any"),
            Expectation::None => f.write_str("none"),
            Expectation::Exists => f.write_str("exists"),
            Expectation::Exactly(version) => write!(f, "{version}"),
        }
    }
}

/// Events for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The stream that the events go to.
    pub stream: StreamName,
    /// The demand on the stream before the append.
    pub expectation: Expectation,
    /// The events, at least one.
    pub events: Vec<Event>,
}

/// A demand on a stream that is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The stream.
    pub stream: StreamName,
    /// The demand on the stream.
    pub expectation: Expectation,
}

/// A demand on the log: no event after `after` matches `query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The query that no event may match.
    pub query: Query,
    /// The last position that the writer knows; events up to it do not count. 0 = the writer knows nothing.
    pub after: Position,
}

/// An append: all its events at consecutive positions, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    /// The writes: one stream is the common case, several are a transaction. The streams are distinct.
    pub writes: Vec<Write>,
    /// The demands on streams that are not written.
    pub requirements: Vec<Requirement>,
    /// The demands on the log.
    pub conditions: Vec<Condition>,
}

impl Append {
    /// Makes an append to one stream.
    pub fn to(stream: StreamName, expectation: Expectation, events: Vec<Event>) -> Append {
        let write = Write { stream, expectation, events };
        Append { writes: vec![write], ..Append::default() }
    }

    /// Returns the bytes that the append counts towards [`APPEND_BYTES_MAX`].
    pub fn size(&self) -> usize {
        let writes = self.writes.iter().map(|write| {
            16 + write.stream.as_str().len() + write.events.iter().map(Event::size).sum::<usize>()
        });
        let requirements = self.requirements.iter().map(|one| 16 + one.stream.as_str().len());
        let conditions = self.conditions.iter().map(|one| 16 + one.query.size());
        writes.chain(requirements).chain(conditions).sum()
    }

    /// Returns the number of events in the append.
    pub fn event_count(&self) -> usize {
        self.writes.iter().map(|write| write.events.len()).sum()
    }

    /// Checks everything that can be checked without the log. An append that passes is a user's: it writes to
    /// no stream of the system ([`crate::Change::to_append`] does).
    pub fn check(&self) -> Result<(), Invalid> {
        for write in &self.writes {
            check_user_stream(&write.stream)?;
        }
        for event in self.writes.iter().flat_map(|write| &write.events) {
            event.check()?;
        }
        self.check_limits()?;
        self.check_shape()
    }

    /// Checks the rules that also hold for the system's own appends, whatever the limits are: there is a
    /// write, each write has an event, and no stream and no id is named twice.
    pub fn check_shape(&self) -> Result<(), Invalid> {
        if self.writes.is_empty() {
            return Err(Invalid::new("writes", "are empty"));
        }
        if let Some(write) = self.writes.iter().find(|write| write.events.is_empty()) {
            let why = format!("of `{}` are empty", write.stream);
            return Err(Invalid::new("events", why));
        }
        self.check_streams()?;
        self.check_ids()
    }

    fn check_streams(&self) -> Result<(), Invalid> {
        if self.writes.len() + self.requirements.len() == 1 {
            return Ok(());
        }
        let mut streams = HashSet::new();
        for write in &self.writes {
            if !streams.insert(&write.stream) {
                let why = format!("name `{}` twice", write.stream);
                return Err(Invalid::new("writes", why));
            }
        }
        for requirement in &self.requirements {
            if !streams.insert(&requirement.stream) {
                let why = format!("name `{}`, which is named already", requirement.stream);
                return Err(Invalid::new("requirements", why));
            }
        }
        Ok(())
    }

    fn check_ids(&self) -> Result<(), Invalid> {
        if self.event_count() == 1 {
            return Ok(());
        }
        let events = self.writes.iter().flat_map(|write| &write.events);
        let mut ids: Vec<EventId> = events.map(|event| event.id).collect();
        ids.sort_unstable();
        let twice = ids.iter().zip(ids.iter().skip(1)).find(|(id, next)| id == next);
        match twice {
            Some((id, _)) => Err(Invalid::new("id", format!("{id} is there twice"))),
            None => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), Invalid> {
        let streams = self.writes.len() + self.requirements.len();
        if streams > APPEND_STREAMS_MAX {
            let why = format!("name {streams} streams; at most {APPEND_STREAMS_MAX} are allowed");
            return Err(Invalid::too_large("writes", why, APPEND_STREAMS_MAX as u64));
        }
        let events = self.event_count();
        if events > APPEND_EVENTS_MAX {
            let why = format!("are {events}; at most {APPEND_EVENTS_MAX} are allowed");
            return Err(Invalid::too_large("events", why, APPEND_EVENTS_MAX as u64));
        }
        if self.conditions.len() > CONDITIONS_MAX {
            let why =
                format!("are {}; at most {CONDITIONS_MAX} are allowed", self.conditions.len());
            return Err(Invalid::too_large("conditions", why, CONDITIONS_MAX as u64));
        }
        for condition in &self.conditions {
            condition.query.check()?;
        }
        let size = self.size();
        if size > APPEND_BYTES_MAX {
            let why = format!("have {size} bytes; at most {APPEND_BYTES_MAX} are allowed");
            return Err(Invalid::too_large("events", why, APPEND_BYTES_MAX as u64));
        }
        Ok(())
    }
}

/// The answer to an append that is in the log for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The version of the last event of each write, in the order of the writes.
    pub versions: Vec<Version>,
    /// The position of the first event; the others follow without a gap, in the order of the writes.
    pub first_position: Position,
    /// The position of the last event.
    pub last_position: Position,
    /// The time at which the leader stamped the events.
    pub recorded_at: Timestamp,
}

fn check_user_stream(stream: &StreamName) -> Result<(), Invalid> {
    if stream.is_system() {
        let why = format!("`{stream}` begins with `$`, which is kept for the system");
        return Err(Invalid::new("stream", why));
    }
    Ok(())
}
