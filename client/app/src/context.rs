//! The context of a command: the activity it belongs to, its cause, and on whose behalf it is carried out.

use quorate_client::{Event, EventError, RecordedEvent};
use serde_json::{Map, Value};

/// The context of a command, which its events carry, and the events that follow from them.
///
/// The correlation and causation ids are the event's own; the user and the tenant lie in its metadata, as JSON.
///
/// ```
/// use quorate_app::decider::Context;
/// let context = Context::new().correlation_id("req-7").created_by("ann").tenant("acme");
/// assert_eq!(context.created_by, "ann");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The id of the larger activity; empty = not set.
    pub correlation_id: String,
    /// The id of the cause; empty = not set.
    pub causation_id: String,
    /// The user on whose behalf it happens; empty = not set.
    pub created_by: String,
    /// The tenant: the path in which the streams lie; empty = not set.
    pub tenant: String,
}

/// The fields of the context in an event's metadata.
const CREATED_BY: &str = "created_by";
const TENANT: &str = "tenant";

impl Context {
    /// Makes an empty context.
    pub fn new() -> Context {
        Context::default()
    }

    /// Returns the context of what follows from an event: the same activity, user and tenant, and the event as the
    /// cause.
    ///
    /// ```
    /// use quorate_app::decider::Context;
    /// use quorate_client::{Event, StreamName, Timestamp};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let paid = Event::new("OrderPaid", "{}")?.correlation("req-7").metadata(r#"{"created_by":"ann"}"#);
    /// let paid = paid.recorded(1, StreamName::new("order-42")?, 1, Timestamp(0));
    /// let context = Context::following(&paid);
    /// assert_eq!((&*context.correlation_id, &*context.created_by), ("req-7", "ann"));
    /// assert_eq!(context.causation_id, paid.id.to_string());
    /// # Ok(()) }
    /// ```
    pub fn following(event: &RecordedEvent) -> Context {
        Context { causation_id: event.id.to_string(), ..Context::of(event) }
    }

    /// Returns the context that an event was written in.
    pub fn of(event: &RecordedEvent) -> Context {
        let noted: Map<String, Value> = serde_json::from_slice(&event.metadata).unwrap_or_default();
        let text = |field| noted.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let correlation_id = event.correlation_id.as_ref().map(ToString::to_string);
        Context {
            correlation_id: correlation_id.unwrap_or_default(),
            causation_id: event.causation_id.clone(),
            created_by: text(CREATED_BY),
            tenant: text(TENANT),
        }
    }

    /// Sets the id of the larger activity.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Context {
        self.correlation_id = id.into();
        self
    }

    /// Sets the id of the cause.
    #[must_use]
    pub fn causation_id(mut self, id: impl Into<String>) -> Context {
        self.causation_id = id.into();
        self
    }

    /// Sets the user on whose behalf it happens.
    #[must_use]
    pub fn created_by(mut self, user: impl Into<String>) -> Context {
        self.created_by = user.into();
        self
    }

    /// Sets the tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Context {
        self.tenant = tenant.into();
        self
    }

    /// Returns the context with the command as the activity and the cause, unless there are others.
    pub(crate) fn or_by_command(mut self, command_id: &str) -> Context {
        for own in [&mut self.correlation_id, &mut self.causation_id] {
            if own.is_empty() {
                *own = command_id.to_owned();
            }
        }
        self
    }

    /// Returns the event with this context. What it has already is its own: its ids, and the fields of its metadata, to
    /// which nothing is added if it is no JSON object.
    pub(crate) fn stamp(&self, event: Event) -> Result<Event, EventError> {
        let mut event = event;
        if event.correlation_id().is_empty() {
            event = event.correlation(&self.correlation_id);
        }
        if event.causation_id().is_empty() {
            event = event.causation(&self.causation_id);
        }
        let noted = [(CREATED_BY, &self.created_by), (TENANT, &self.tenant)];
        let mut noted = noted.into_iter().filter(|(_, text)| !text.is_empty()).peekable();
        let own = event.own_metadata();
        let mut metadata: Map<String, Value> = match serde_json::from_slice(own) {
            Ok(own) => own,
            Err(_) if own.is_empty() => Map::new(),
            Err(_) => return Ok(event),
        };
        if noted.peek().is_none() {
            return Ok(event);
        }
        for (field, text) in noted {
            metadata.entry(field).or_insert_with(|| text.as_str().into());
        }
        event.metadata_json(&metadata)
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{StreamName, Timestamp};

    use super::*;

    fn recorded(event: Event) -> RecordedEvent {
        event.recorded(1, StreamName::new("order-1").expect("a name"), 1, Timestamp(0))
    }

    #[test]
    fn an_event_gets_what_it_does_not_have() {
        let context = Context::new().correlation_id("req").causation_id("cmd");
        let context = context.created_by("ann").tenant("acme");
        let event = || Event::new("Paid", "{}").expect("an event");
        let stamped = |event| recorded(context.stamp(event).expect("an event"));
        assert_eq!(Context::of(&stamped(event())), context);
        let own = stamped(event().correlation("own").metadata(r#"{"created_by":"bob","more":1}"#));
        let expected = context.clone().correlation_id("own").created_by("bob");
        assert_eq!(
            (Context::of(&own), own.metadata_json().ok()),
            (
                expected,
                Some(serde_json::json!({ "created_by": "bob", "more": 1, "tenant": "acme" })),
            )
        );
        let bytes = stamped(event().metadata([0xff].to_vec()));
        assert_eq!((&bytes.metadata[..], &*bytes.causation_id), (&[0xff][..], "cmd"));
        let nothing = recorded(Context::new().stamp(event()).expect("an event"));
        assert!(nothing.metadata.is_empty() && nothing.correlation_id.is_none());
    }
}
