//! Appends and their answers on the wire.

use super::v1;
use super::v1::expectation::Demand;
use crate::limits::{APPEND_EVENTS_MAX, APPEND_STREAMS_MAX};
use crate::{
    Append, Appended, Event, Expectation, Invalid, Position, Requirement, StreamName, Timestamp,
    Version, Write,
};

impl From<Expectation> for v1::Expectation {
    fn from(expectation: Expectation) -> v1::Expectation {
        let demand = match expectation {
            Expectation::Any => Demand::Any(v1::Empty {}),
            Expectation::None => Demand::None(v1::Empty {}),
            Expectation::Exists => Demand::Exists(v1::Empty {}),
            Expectation::Exactly(version) => Demand::Exactly(version.0),
        };
        v1::Expectation { demand: Some(demand) }
    }
}

impl TryFrom<Option<v1::Expectation>> for Expectation {
    type Error = Invalid;

    fn try_from(expectation: Option<v1::Expectation>) -> Result<Expectation, Invalid> {
        match expectation.and_then(|expectation| expectation.demand) {
            Some(Demand::Any(_)) => Ok(Expectation::Any),
            Some(Demand::None(_)) => Ok(Expectation::None),
            Some(Demand::Exists(_)) => Ok(Expectation::Exists),
            Some(Demand::Exactly(version)) => Ok(Expectation::Exactly(Version(version))),
            None => Err(Invalid::new("expectation", "is missing; there is no default")),
        }
    }
}

impl From<Append> for v1::Append {
    fn from(append: Append) -> v1::Append {
        let write = |write: Write| v1::Write {
            stream: write.stream.as_str().to_owned(),
            expectation: Some(write.expectation.into()),
            events: write.events.into_iter().map(v1::NewEvent::from).collect(),
        };
        let requirement = |requirement: Requirement| v1::Requirement {
            stream: requirement.stream.as_str().to_owned(),
            expectation: Some(requirement.expectation.into()),
        };
        v1::Append {
            writes: append.writes.into_iter().map(write).collect(),
            requirements: append.requirements.into_iter().map(requirement).collect(),
        }
    }
}

impl TryFrom<Option<v1::Append>> for Append {
    type Error = Invalid;

    /// The result passed [`Append::check`].
    fn try_from(append: Option<v1::Append>) -> Result<Append, Invalid> {
        let append = append.ok_or_else(|| Invalid::new("append", "is missing"))?;
        let streams = append.writes.len() + append.requirements.len();
        if streams > APPEND_STREAMS_MAX {
            let why = format!("name {streams} streams; at most {APPEND_STREAMS_MAX} are allowed");
            return Err(Invalid::too_large("writes", why, APPEND_STREAMS_MAX as u64));
        }
        let events: usize = append.writes.iter().map(|write| write.events.len()).sum();
        if events > APPEND_EVENTS_MAX {
            let why = format!("are {events}; at most {APPEND_EVENTS_MAX} are allowed");
            return Err(Invalid::too_large("events", why, APPEND_EVENTS_MAX as u64));
        }
        let writes = append.writes.into_iter().map(write_of).collect::<Result<_, _>>()?;
        let requirements = append
            .requirements
            .into_iter()
            .map(|requirement| {
                Ok(Requirement {
                    stream: StreamName::new(requirement.stream)?,
                    expectation: requirement.expectation.try_into()?,
                })
            })
            .collect::<Result<_, Invalid>>()?;
        let append = Append { writes, requirements };
        append.check()?;
        Ok(append)
    }
}

fn write_of(write: v1::Write) -> Result<Write, Invalid> {
    Ok(Write {
        stream: StreamName::new(write.stream)?,
        expectation: write.expectation.try_into()?,
        events: write.events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?,
    })
}

impl From<Appended> for v1::AppendResponse {
    /// Without the leader's address.
    fn from(appended: Appended) -> v1::AppendResponse {
        v1::AppendResponse {
            versions: appended.versions.into_iter().map(u64::from).collect(),
            first_position: appended.first_position.0,
            last_position: appended.last_position.0,
            recorded_at: appended.recorded_at.0,
            leader: String::new(),
        }
    }
}

impl From<v1::AppendResponse> for Appended {
    fn from(appended: v1::AppendResponse) -> Appended {
        Appended {
            versions: appended.versions.into_iter().map(Version).collect(),
            first_position: Position(appended.first_position),
            last_position: Position(appended.last_position),
            recorded_at: Timestamp(appended.recorded_at),
        }
    }
}
