//! The events in an instance's stream: the records of its reactions, and the ids that make each of them unique.

use std::collections::BTreeMap;

use quorate_client::{DecodeError, EventId, Query, RecordedEvent, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::context::Context;
use crate::process::manager::Cause;

/// The type of the record of a reaction.
pub(crate) const REACTED: &str = "ProcessReacted";
/// The type of the record of a trigger from which nothing could follow.
pub(crate) const PARKED: &str = "ProcessParked";
/// The tag of a record before or after which due times are outstanding. So the newest record of an instance
/// with due times has it, and all due times can be found again without reading the other records.
pub(crate) const DUE: &str = "process:due";

/// The namespace of the ids of reactions.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_0c8e_52a7_4b3f_9c41_8a30_d7e2_55b6);

/// The data of a record: everything that the next decision needs.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    /// The cause of the reaction.
    pub(crate) cause: RecordedCause,
    /// All events of the source up to this position are handled, for this instance.
    pub(crate) handled: u64,
    /// The state after the reaction.
    pub(crate) state: Box<RawValue>,
    /// The outstanding due times after the reaction.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) due: BTreeMap<String, Outstanding>,
    /// True if the instance has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) completed: bool,
    /// The reason why nothing follows from the trigger, if it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The cause of a reaction, for readers of the record.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordedCause {
    Event { position: u64, id: String, stream: String, r#type: String },
    Due { key: String, at: Moment },
}

/// A due time that has neither fired nor been cancelled.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Outstanding {
    pub(crate) at: Moment,
    /// The version of the record that scheduled it.
    pub(crate) since: u64,
    pub(crate) payload: Box<RawValue>,
}

/// A time, in RFC 3339 if that can express it, otherwise in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.is_writable() {
            true => serializer.collect_str(&self.0),
            false => serializer.serialize_i64(self.0.0),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Micros(i64),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Timestamp::parse(&text)
                .map(Moment)
                .map_err(|why| serde::de::Error::custom(format!("`{text}` {why}"))),
            Written::Micros(micros) => Ok(Moment(Timestamp(micros))),
        }
    }
}

impl RecordedCause {
    pub(crate) fn of(cause: &Cause) -> RecordedCause {
        match cause {
            Cause::Event(event) => RecordedCause::Event {
                position: event.position.0,
                id: event.id.to_string(),
                stream: event.stream.to_string(),
                r#type: event.kind.to_string(),
            },
            Cause::Due(due) => RecordedCause::Due { key: due.key.clone(), at: Moment(due.at) },
        }
    }
}

/// The state of an instance: its newest record.
///
/// Invariant: `version` is the stream's as far as it was seen; a reaction is appended at exactly this
/// version, so a reaction that was decided on an older state is not appended.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) version: u64,
    /// The position of the newest record, 0 if there is none.
    pub(crate) position: u64,
    /// The id of the newest record.
    pub(crate) id: Option<EventId>,
    /// The context of the newest record.
    pub(crate) context: Context,
    pub(crate) record: Option<Record>,
    /// True if a tombstone closed the stream: nothing can be recorded any more.
    pub(crate) is_closed: bool,
}

impl Known {
    /// Returns the state from the newest record, in a stream of that version.
    pub(crate) fn of(version: u64, newest: Option<&RecordedEvent>) -> Result<Known, DecodeError> {
        let Some(event) = newest else {
            return Ok(Known { version, ..Known::default() });
        };
        Ok(Known {
            version,
            position: event.position.0,
            id: Some(event.id),
            context: Context::of(event),
            record: Some(event.json()?),
            is_closed: false,
        })
    }

    pub(crate) fn handled(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.handled)
    }

    /// Returns true if the instance does not react any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closed || self.record.as_ref().is_some_and(|record| record.completed)
    }

    pub(crate) fn outstanding(&self) -> impl Iterator<Item = (&String, &Outstanding)> {
        self.record.iter().flat_map(|record| &record.due)
    }
}

/// Returns the query for a manager's records before or after which due times are outstanding.
pub(crate) fn with_due_times(manager: &str) -> Query {
    Query::category(manager).types([REACTED, PARKED]).tags([DUE])
}

/// Returns true if an event is the record of a reaction, or of a parked trigger.
pub(crate) fn is_record(event: &RecordedEvent) -> bool {
    matches!(event.kind.as_str(), REACTED | PARKED)
}

/// The ids of the events that follow from one trigger.
#[derive(Debug)]
pub(crate) struct Ids {
    /// The manager and the instance. No name contains a zero byte, except the key, which comes last.
    prefix: Vec<u8>,
    trigger: Vec<u8>,
}

impl Ids {
    /// Makes the ids for a trigger. For a due time they include the id of the newest record, which goes back to that
    /// of a source event: so no id is the same in another cluster, which may have the same names.
    pub(crate) fn of(manager: &str, instance: &str, cause: &Cause, known: &Known) -> Ids {
        let trigger = match cause {
            Cause::Event(event) => format!("event\0{}\0{}", event.position, event.id),
            Cause::Due(due) => {
                let newest = known.id.map(|id| id.to_string()).unwrap_or_default();
                format!("due\0{newest}\0{}\0{}", due.since, due.key)
            }
        };
        Ids { prefix: format!("{manager}\0{instance}\0").into(), trigger: trigger.into() }
    }

    /// Makes the ids for the replay of a parked trigger, by the id of the event that it was parked.
    pub(crate) fn of_replay(manager: &str, instance: &str, parked: EventId) -> Ids {
        let prefix = format!("{manager}\0{instance}\0").into();
        Ids { prefix, trigger: format!("replay\0{parked}").into() }
    }

    /// Returns the id of the event that the trigger was parked.
    pub(crate) fn parked(&self) -> EventId {
        self.derived(b"parked")
    }

    /// Returns the id of the event that the trigger was replayed.
    pub(crate) fn replayed(&self) -> EventId {
        self.derived(b"replayed")
    }

    /// Returns the id of the event that the replay failed that was requested so.
    pub(crate) fn failed(&self, request: EventId) -> EventId {
        self.derived(format!("failed\0{request}").as_bytes())
    }

    /// Returns the id of the event at that place among the appended ones: the same in each decision.
    pub(crate) fn appended(&self, ordinal: usize) -> EventId {
        self.derived(format!("appended\0{ordinal}").as_bytes())
    }

    /// Returns the id of the record, which depends on its content: if two processes decide differently, for example
    /// with different versions of the handler, the second must not take the first one's record for its own.
    pub(crate) fn record(&self, content: &[u8]) -> EventId {
        self.derived(&[b"record\0", content].concat())
    }

    fn derived(&self, what: &[u8]) -> EventId {
        let name = [&self.prefix[..], &self.trigger, b"\0", what].concat();
        EventId::new(Uuid::new_v5(&NAMESPACE, &name))
            .expect("a version 5 UUID names its version and so is never nil")
    }
}
