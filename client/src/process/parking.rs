//! The events in the stream `NAME$parked` of a process manager: the triggers that it parked, and what became of them.
//!
//! The process managers of `quorate-app` write them, and [`ProcessManagerRef`](crate::ProcessManagerRef) reads them; a
//! process manager that is written without that library, or in another language, may do the same:
//!
//! | type | data | written by |
//! |---|---|---|
//! | `TriggerParked` | `instance`, `cause`, `reason` | the manager, in the transaction that settles the trigger |
//! | `ReplayRequested` | `instance` | whoever wants the trigger to be replayed |
//! | `ReplayFailed` | `reason` | the manager; it answers all requests before it, and the trigger stays parked |
//! | `TriggerReplayed` | | the manager, in the transaction of the reaction |
//! | `TriggerDropped` | | whoever gives the trigger up |
//!
//! All events about one trigger have the tag `parked:ID`, where `ID` is the id of its `TriggerParked`. The trigger is
//! parked as long as that event can be read, and neither a `TriggerReplayed` nor a `TriggerDropped` follows it. The two
//! are appended on condition that none of them was there before, so that one trigger is not both replayed and dropped.

use std::collections::HashMap;
use std::fmt;

use quorate_proto::{EventId, Position, RecordedEvent, Tag, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::Event;
use crate::query::Query;

/// The type of the request to replay a parked trigger.
pub const REPLAY_REQUESTED: &str = "ReplayRequested";
/// The types of all events about parked triggers.
const TYPES: [&str; 5] =
    ["TriggerParked", REPLAY_REQUESTED, "ReplayFailed", "TriggerReplayed", "TriggerDropped"];
/// The types of the events after which a trigger is not parked any more.
const ENDS: [&str; 2] = ["TriggerReplayed", "TriggerDropped"];
/// The beginning of the tag that names a parked trigger.
const TAG: &str = "parked:";

/// An event about a parked trigger, by its type; the fields are the event's data, as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum ParkingEvent {
    /// Nothing could follow from a trigger, and the manager went on without a reaction to it.
    TriggerParked {
        /// The instance that the trigger concerns.
        instance: String,
        /// The event or the due time.
        cause: TriggerCause,
        /// The reason why nothing could follow.
        reason: String,
    },
    /// The trigger is to be replayed.
    ReplayRequested {
        /// The instance that the trigger concerns.
        instance: String,
    },
    /// The trigger was replayed, and nothing could follow again.
    ReplayFailed {
        /// The reason why nothing could follow.
        reason: String,
    },
    /// The manager has reacted to the trigger.
    TriggerReplayed {},
    /// The trigger was given up.
    TriggerDropped {},
}

/// The event or the due time that a trigger was.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerCause {
    /// An event that the manager's query finds.
    Event {
        /// The position of the event.
        position: u64,
        /// The id of the event.
        id: String,
        /// The stream of the event.
        stream: String,
        /// The type of the event.
        #[serde(rename = "type")]
        kind: String,
    },
    /// A scheduled time that had come.
    Due {
        /// The name under which it was scheduled.
        key: String,
        /// The scheduled time; in microseconds since the Unix epoch as JSON.
        #[serde(rename = "at_us", with = "microseconds")]
        at: Timestamp,
        /// The version of the record that scheduled it.
        since: u64,
        /// The value that was scheduled with it.
        payload: Box<RawValue>,
    },
}

/// Reads and writes a time as microseconds since the Unix epoch.
mod microseconds {
    use quorate_proto::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp)
    }
}

impl fmt::Display for TriggerCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TriggerCause::Event { position, stream, kind, .. } => {
                write!(f, "`{kind}` in `{stream}` at position {position}")
            }
            TriggerCause::Due { key, at, .. } => write!(f, "due time `{key}` of {at}"),
        }
    }
}

impl ParkingEvent {
    /// Returns the event about a trigger as it is appended to the stream of [`stream_of`], with a new id. A
    /// `TriggerParked` must get the id of its trigger.
    pub fn about(&self, trigger: EventId) -> Event {
        let event = Event::typed(self).expect("it is a variant, and texts can be written as JSON");
        event.tag(tag_of(trigger))
    }

    /// Returns what an event says, and the trigger that it is about; `None` if it is no event about a parked trigger.
    pub fn of(event: &RecordedEvent) -> Option<(EventId, ParkingEvent)> {
        let kind = event.kind.as_str();
        let tags = event.tags.iter().map(Tag::as_str);
        let trigger = tags.filter_map(|tag| tag.strip_prefix(TAG)).next()?;
        if !TYPES.contains(&kind) {
            return None;
        }
        let data = match &event.data[..] {
            [] => "{}",
            data => std::str::from_utf8(data).ok()?,
        };
        let read = serde_json::from_str(&format!("{{\"{kind}\":{data}}}")).ok()?;
        Some((EventId::parse(trigger).ok()?, read))
    }
}

/// Returns the name of the stream of the triggers that a process manager parked.
pub fn stream_of(manager: &str) -> String {
    format!("{manager}$parked")
}

/// Returns the query for everything about one trigger of a manager.
pub fn about(manager: &str, trigger: EventId) -> Query {
    Query::stream(stream_of(manager)).tags([tag_of(trigger)])
}

/// Returns the query for the events that answer requests to replay one trigger of a manager, or drop it.
pub fn answers(manager: &str, trigger: EventId) -> Query {
    about(manager, trigger).types(ENDS).types(["ReplayFailed"])
}

/// Returns the query for the events after which triggers of a manager are not parked any more.
pub(crate) fn ends(manager: &str) -> Query {
    Query::stream(stream_of(manager)).types(ENDS)
}

fn tag_of(trigger: EventId) -> String {
    format!("{TAG}{trigger}")
}

/// A trigger of a process manager that is parked: there is no reaction to it until it is replayed.
#[derive(Clone, Debug)]
pub struct ParkedTrigger {
    /// The position at which it was parked: the trigger is selected by it.
    pub position: Position,
    /// The id of the event that it was parked.
    pub id: EventId,
    /// The instance that the trigger concerns.
    pub instance: String,
    /// The event or the due time.
    pub cause: TriggerCause,
    /// The reason why nothing could follow, as of the last replay, if there was one.
    pub reason: String,
    /// The time at which it was parked.
    pub parked_at: Timestamp,
    /// The position of the first request to replay it that the manager has not answered yet.
    pub requested: Option<Position>,
}

/// The parked triggers, as far as the events in their stream were taken in.
#[derive(Clone, Debug, Default)]
pub struct ParkedTriggers(HashMap<EventId, ParkedTrigger>);

impl ParkedTriggers {
    /// Takes in the next event of the stream. An event that is not about a trigger that is parked changes nothing.
    pub fn take_in(&mut self, event: &RecordedEvent) {
        let Some((trigger, read)) = ParkingEvent::of(event) else { return };
        let known = self.0.get_mut(&trigger);
        match (read, known) {
            (ParkingEvent::TriggerParked { instance, cause, reason }, None)
                if event.id == trigger =>
            {
                let (position, parked_at) = (event.position, event.recorded_at);
                let (id, requested) = (trigger, None);
                let parked =
                    ParkedTrigger { position, id, instance, cause, reason, parked_at, requested };
                self.0.insert(trigger, parked);
            }
            (ParkingEvent::ReplayRequested { .. }, Some(known)) => {
                known.requested.get_or_insert(event.position);
            }
            (ParkingEvent::ReplayFailed { reason }, Some(known)) => {
                known.reason = reason;
                known.requested = None;
            }
            (ParkingEvent::TriggerReplayed {} | ParkingEvent::TriggerDropped {}, Some(_)) => {
                self.0.remove(&trigger);
            }
            _ => {}
        }
    }

    /// Returns the triggers that are parked, by position.
    pub fn into_list(self) -> Vec<ParkedTrigger> {
        let mut list: Vec<ParkedTrigger> = self.0.into_values().collect();
        list.sort_by_key(|parked| parked.position);
        list
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::StreamName;

    use super::*;

    fn id(number: u8) -> EventId {
        EventId::from_bytes([number; 16]).expect("an id")
    }

    /// Returns the list after these events, each about the trigger of that number; of the others, what is shown.
    fn list(events: &[(u8, ParkingEvent)]) -> Vec<(u64, String, Option<u64>)> {
        let stream = StreamName::new(stream_of("shop")).expect("a name");
        let mut parked = ParkedTriggers::default();
        for (position, (trigger, event)) in (1..).zip(events) {
            let mut made = event.about(id(*trigger));
            if matches!(event, ParkingEvent::TriggerParked { .. }) {
                made = made.id(id(*trigger));
            }
            parked.take_in(&made.recorded(position, stream.clone(), position, Timestamp(7)));
        }
        let show = |parked: ParkedTrigger| {
            (parked.position.0, parked.reason, parked.requested.map(|position| position.0))
        };
        parked.into_list().into_iter().map(show).collect()
    }

    fn trigger_parked() -> ParkingEvent {
        let payload = RawValue::from_string("[1.50]".to_owned()).expect("JSON");
        let (key, at, since) = ("payment".to_owned(), Timestamp(i64::MAX), 3);
        let cause = TriggerCause::Due { key, at, since, payload };
        ParkingEvent::TriggerParked { instance: "7".to_owned(), cause, reason: "no".to_owned() }
    }

    fn replay_requested() -> ParkingEvent {
        ParkingEvent::ReplayRequested { instance: "7".to_owned() }
    }

    fn replay_failed() -> ParkingEvent {
        ParkingEvent::ReplayFailed { reason: "still no".to_owned() }
    }

    #[test]
    fn a_trigger_is_parked_until_it_is_replayed_or_dropped() {
        let mut events = vec![
            (1, trigger_parked()),
            (2, trigger_parked()),
            (2, replay_requested()),
            (2, replay_requested()),
        ];
        let no = || "no".to_owned();
        assert_eq!(list(&events), [(1, no(), None), (2, no(), Some(3))]);
        events.push((2, replay_failed()));
        assert_eq!(list(&events), [(1, no(), None), (2, "still no".to_owned(), None)]);
        events.push((1, ParkingEvent::TriggerReplayed {}));
        events.push((2, ParkingEvent::TriggerDropped {}));
        assert_eq!(list(&events), []);
    }

    #[test]
    fn what_is_about_a_trigger_that_cannot_be_read_any_more_changes_nothing() {
        let events = [
            (1, replay_requested()),
            (1, replay_failed()),
            (1, ParkingEvent::TriggerDropped {}),
            (2, trigger_parked()),
        ];
        assert_eq!(list(&events), [(4, "no".to_owned(), None)]);
    }

    #[test]
    fn the_events_have_the_form_that_other_programs_rely_on() {
        let made = trigger_parked().about(id(1));
        assert_eq!(
            String::from_utf8_lossy(made.data()),
            "{\"instance\":\"7\",\"cause\":{\"due\":{\"key\":\"payment\",\"at_us\":9223372036854775807,\
             \"since\":3,\"payload\":[1.50]}},\"reason\":\"no\"}"
        );
        let (position, id, stream) = (9, "x".to_owned(), "order-7".to_owned());
        let cause = TriggerCause::Event { position, id, stream, kind: "Paid".to_owned() };
        assert_eq!(cause.to_string(), "`Paid` in `order-7` at position 9");
        assert_eq!(
            serde_json::to_string(&cause).expect("JSON"),
            "{\"event\":{\"position\":9,\"id\":\"x\",\"stream\":\"order-7\",\"type\":\"Paid\"}}"
        );
    }

    #[test]
    fn an_event_of_another_form_is_passed_over() {
        let stream = StreamName::new("shop$parked").expect("a name");
        for (kind, data) in [
            ("TriggerParked", "{}"),
            ("TriggerParked", "no JSON"),
            ("ReplayFailed", "{\"reason\":\"\"},\"TriggerDropped\":{}"),
            ("Stray", "{}"),
        ] {
            let event = Event::new(kind, data).expect("an event").tag(tag_of(id(1)));
            let event = event.recorded(1, stream.clone(), 1, Timestamp(0));
            assert!(ParkingEvent::of(&event).is_none(), "{kind} {data}");
        }
    }
}
