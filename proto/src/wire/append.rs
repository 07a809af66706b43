//! Appends and their answers on the wire.

use super::v1;
use super::v1::expectation::Demand;
use crate::limits::{APPEND_EVENTS_MAX, APPEND_STREAMS_MAX, CONDITIONS_MAX};
use crate::{
    Append, Appended, Condition, Event, Expectation, Invalid, Position, Query, Requirement,
    StreamName, Timestamp, Version, Write,
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
            conditions: append.conditions.into_iter().map(v1::Condition::from).collect(),
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
        if append.conditions.len() > CONDITIONS_MAX {
            let why =
                format!("are {}; at most {CONDITIONS_MAX} are allowed", append.conditions.len());
            return Err(Invalid::too_large("conditions", why, CONDITIONS_MAX as u64));
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
        let conditions = append.conditions.into_iter().map(Condition::try_from);
        let conditions = conditions.collect::<Result<_, _>>()?;
        let append = Append { writes, requirements, conditions };
        append.check()?;
        Ok(append)
    }
}

impl From<Condition> for v1::Condition {
    fn from(condition: Condition) -> v1::Condition {
        v1::Condition { query: Some(condition.query.into()), after: condition.after.0 }
    }
}

impl TryFrom<v1::Condition> for Condition {
    type Error = Invalid;

    fn try_from(condition: v1::Condition) -> Result<Condition, Invalid> {
        let query = condition.query.ok_or_else(|| Invalid::new("query", "is missing"))?;
        Ok(Condition { query: Query::try_from(query)?, after: Position(condition.after) })
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
    /// Leaves out the leader's address.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventId;
    use crate::limits::EVENT_PAYLOAD_BYTES_MAX;

    fn event(number: u8) -> Event {
        let id = EventId::from_bytes([number; 16]).expect("an id");
        Event::new(id, crate::EventType::new("Paid").expect("a type"), vec![number])
    }

    fn append() -> Append {
        let stream = |name| StreamName::new(name).expect("a name");
        Append {
            writes: vec![
                Write {
                    stream: stream("account-1"),
                    expectation: Expectation::Exactly(Version(9)),
                    events: vec![event(1), event(2)],
                },
                Write {
                    stream: stream("account-2"),
                    expectation: Expectation::Any,
                    events: vec![event(3)],
                },
            ],
            requirements: vec![Requirement {
                stream: stream("limits-7"),
                expectation: Expectation::None,
            }],
            conditions: vec![Condition { query: Query::everything(), after: Position(7) }],
        }
    }

    #[test]
    fn an_append_survives_its_way_over_the_wire() {
        assert_eq!(Append::try_from(Some(v1::Append::from(append()))), Ok(append()));
    }

    type Spoil = fn(&mut v1::Append);

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_field() {
        let cases: [(&str, Spoil); 10] = [
            ("writes", |append| append.writes.clear()),
            ("writes", |append| append.writes[1].stream = "account-1".into()),
            ("requirements", |append| append.requirements[0].stream = "account-1".into()),
            ("stream", |append| append.writes[0].stream = "$settings".into()),
            ("expectation", |append| append.writes[0].expectation = None),
            ("events", |append| append.writes[0].events.clear()),
            ("id", |append| append.writes[0].events[0].id = vec![1; 15].into()),
            ("id", |append| append.writes[0].events[0].id = vec![3; 16].into()),
            ("type", |append| append.writes[0].events[0].r#type = "$deleted".into()),
            ("data", |append| {
                append.writes[0].events[0].data = vec![0; EVENT_PAYLOAD_BYTES_MAX + 1].into();
            }),
        ];
        for (field, spoil) in cases {
            let mut wire = v1::Append::from(append());
            spoil(&mut wire);
            let refused = Append::try_from(Some(wire)).expect_err(field);
            assert_eq!(refused.field, field, "{refused}");
        }
    }

    #[test]
    fn limits_are_checked_before_anything_is_converted() {
        let mut wire = v1::Append::from(append());
        let broken = v1::NewEvent::default();
        wire.writes[0].events = vec![broken; APPEND_EVENTS_MAX + 1];
        let refused = Append::try_from(Some(wire)).expect_err("too many");
        assert_eq!((refused.field, refused.limit), ("events", APPEND_EVENTS_MAX as u64));
    }
}
