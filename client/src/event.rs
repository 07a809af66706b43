//! Events that an application makes.

use bytes::Bytes;
use quorate_proto::{
    self as proto, CorrelationId, EventId, EventType, Invalid, Position, RecordedEvent, StreamName,
    Tag, Timestamp, Version,
};
use serde::Serialize;
use uuid::Uuid;

use crate::variant::variant_of;

/// An event to append. Its id is made here and stays with it, so a repeated append is safe.
///
/// ```
/// use quorate_client::Event;
/// # fn main() -> Result<(), quorate_client::EventError> {
/// let paid = Event::json("OrderPaid", &serde_json::json!({ "total": 50 }))?
///     .tag("customer:7")
///     .correlation("cmd-91");
/// # let _ = paid; Ok(()) }
/// ```
/// A tag or an id that breaks a rule is reported when the event is appended, so that an event is made in one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(crate) event: proto::Event,
    /// The first rule that was broken.
    fault: Option<Invalid>,
}

impl Event {
    /// Makes an event of that type with any bytes as its data, and a new id (UUID version 7).
    ///
    /// ```
    /// # fn main() -> Result<(), quorate_client::Invalid> {
    /// let scanned = quorate_client::Event::new("PageScanned", vec![0x89, 0x50])?.content_type("image/png");
    /// # let _ = scanned; Ok(()) }
    /// ```
    pub fn new(kind: impl AsRef<str>, data: impl Into<Bytes>) -> Result<Event, Invalid> {
        Ok(proto::Event::new(new_id(), EventType::new(kind)?, data).into())
    }

    /// Makes an event of that type with a value as JSON, and a new id (UUID version 7).
    ///
    /// ```
    /// # fn main() -> Result<(), quorate_client::EventError> {
    /// let placed = quorate_client::Event::json("OrderPlaced", &serde_json::json!({ "total": 50 }))?;
    /// assert_eq!(placed.data(), br#"{"total":50}"#);
    /// # Ok(()) }
    /// ```
    pub fn json<T: Serialize + ?Sized>(
        kind: impl AsRef<str>,
        value: &T,
    ) -> Result<Event, EventError> {
        Ok(Event::new(kind, serde_json::to_vec(value)?)?)
    }

    /// Makes an event of an enum with one variant for each type: the variant names the type, and its fields are the
    /// data, as JSON. A variant without fields has `{}`, so that it may get fields later. `typed` of `quorate-app`
    /// reads such an event.
    ///
    /// ```
    /// use quorate_client::Event;
    ///
    /// #[derive(serde::Serialize)]
    /// enum OrderEvent {
    ///     OrderPlaced { total: u64 },
    ///     OrderClosed,
    /// }
    ///
    /// # fn main() -> Result<(), quorate_client::EventError> {
    /// let placed = Event::typed(&OrderEvent::OrderPlaced { total: 50 })?;
    /// assert_eq!((placed.kind().as_str(), placed.data()), ("OrderPlaced", &br#"{"total":50}"#[..]));
    /// assert_eq!(Event::typed(&OrderEvent::OrderClosed)?.data(), b"{}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The value is no enum, or an enum with a serde attribute for another form (`tag`, `untagged`).
    pub fn typed<E: Serialize + ?Sized>(event: &E) -> Result<Event, EventError> {
        let (kind, data) = variant_of(event)?.ok_or(EventError::NoVariant)?;
        Ok(Event::new(kind, data)?)
    }

    /// Sets the caller's own id: the same fact must always get the same id.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Event {
        self.event.id = id;
        self
    }

    /// Adds a tag; an event has at most 32, each of at most 128 bytes and only once.
    #[must_use]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Event {
        match Tag::new(tag) {
            Ok(tag) => self.event.tags.push(tag),
            Err(invalid) => self.note(Invalid { field: "tags", ..invalid }),
        }
        self
    }

    /// Sets the metadata, which is known around the event: any bytes, usually JSON.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Event {
        self.event.metadata = metadata.into();
        self
    }

    /// Sets the metadata, which is known around the event, as JSON.
    ///
    /// ```
    /// # fn main() -> Result<(), quorate_client::EventError> {
    /// let by = serde_json::json!({ "user": "ann" });
    /// let paid = quorate_client::Event::json("OrderPaid", &50)?.metadata_json(&by)?;
    /// # let _ = paid; Ok(()) }
    /// ```
    pub fn metadata_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Event, EventError> {
        Ok(self.metadata(serde_json::to_vec(value)?))
    }

    /// Sets the correlation id, which names the larger activity that the event belongs to; at most 128 bytes, empty =
    /// none.
    #[must_use]
    pub fn correlation(mut self, id: impl AsRef<str>) -> Event {
        match CorrelationId::new(id.as_ref()) {
            _ if id.as_ref().is_empty() => self.event.correlation_id = None,
            Ok(id) => self.event.correlation_id = Some(id),
            Err(invalid) => self.note(invalid),
        }
        self
    }

    /// Sets the causation id, which names the cause of the event; at most 128 bytes.
    #[must_use]
    pub fn causation(mut self, id: impl Into<String>) -> Event {
        self.event.causation_id = id.into();
        self
    }

    /// Sets the media type of the data; at most 128 bytes.
    #[must_use]
    pub fn content_type(mut self, media_type: impl Into<String>) -> Event {
        self.event.content_type = media_type.into();
        self
    }

    /// Sets the version of the shape of the data; 1 by default.
    #[must_use]
    pub fn schema(mut self, schema: u32) -> Event {
        self.event.schema = schema;
        self
    }

    /// Sets the time at which the event happened, by the writer's own clock.
    #[must_use]
    pub fn occurred_at(mut self, time: Timestamp) -> Event {
        self.event.occurred_at = Some(time);
        self
    }

    fn note(&mut self, invalid: Invalid) {
        self.fault.get_or_insert(invalid);
    }

    /// Returns the type of the event.
    pub fn kind(&self) -> &EventType {
        &self.event.kind
    }

    /// Returns the data: the fact itself.
    pub fn data(&self) -> &[u8] {
        &self.event.data
    }

    /// Returns the metadata, which is known around the event; empty = not set. It is set by [`Event::metadata`].
    pub fn own_metadata(&self) -> &[u8] {
        &self.event.metadata
    }

    /// Returns the correlation id, which names the larger activity that the event belongs to; empty = not set.
    pub fn correlation_id(&self) -> &str {
        self.event.correlation_id.as_ref().map_or("", CorrelationId::as_str)
    }

    /// Returns the causation id, which names the cause of the event; empty = not set.
    pub fn causation_id(&self) -> &str {
        &self.event.causation_id
    }

    /// Returns the event as the store would: for code that takes recorded events, without a store. Tags and ids that
    /// break a rule are left out.
    ///
    /// ```
    /// use quorate_client::{Event, StreamName, Timestamp};
    /// # fn main() -> Result<(), quorate_client::Invalid> {
    /// let placed = Event::new("OrderPlaced", "{}")?;
    /// let placed = placed.recorded(7, StreamName::new("order-42")?, 1, Timestamp(0));
    /// assert_eq!((placed.position.0, placed.version.0), (7, 1));
    /// # Ok(()) }
    /// ```
    pub fn recorded(
        self,
        position: impl Into<Position>,
        stream: StreamName,
        version: impl Into<Version>,
        recorded_at: Timestamp,
    ) -> RecordedEvent {
        let (position, version) = (position.into(), version.into());
        RecordedEvent { position, stream, version, recorded_at, event: self.event }
    }
}

impl From<proto::Event> for Event {
    fn from(event: proto::Event) -> Event {
        Event { event, fault: None }
    }
}

impl TryFrom<Event> for proto::Event {
    type Error = Invalid;

    fn try_from(Event { event, fault }: Event) -> Result<proto::Event, Invalid> {
        fault.map_or(Ok(event), Err)
    }
}

/// The reason why an event could not be made.
///
/// ```
/// use quorate_client::{Event, EventError};
/// assert!(matches!(Event::json("", &50), Err(EventError::Invalid(_))));
/// assert!(matches!(Event::typed("OrderPlaced"), Err(EventError::NoVariant)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The event's type breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The event's data or metadata cannot be written as JSON.
    #[error("the data cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The value is no variant of an enum that could name the event's type.
    #[error("the event is not written as a variant of an enum, which would name its type")]
    NoVariant,
}

/// Returns a new id. The ban on the clock and on randomness is for code that the simulation must repeat; an
/// application's ids are its own, and a caller that needs the same ids again sets them with [`Event::id`].
#[allow(clippy::disallowed_methods)]
pub(crate) fn new_id() -> EventId {
    EventId::new(Uuid::now_v7()).expect("a version 7 UUID names its version and so is never nil")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_gets_its_own_id_unless_it_is_given_one() {
        let first = Event::new("Made", "1").expect("an event");
        let second = Event::new("Made", "1").expect("an event");
        assert_ne!(first.event.id, second.event.id);
        assert_eq!(first.event.id.uuid().get_version_num(), 7);
        let third = second.id(first.event.id);
        assert_eq!(third, first);
    }

    #[test]
    fn what_cannot_be_read_names_its_event() {
        let event = Event::new("Paid", r#""x""#).expect("an event").metadata("[1]");
        let stream = StreamName::new("order-42").expect("a name");
        let event = event.recorded(17, stream, 3, Timestamp(0));
        let error = event.json::<u64>().expect_err("no JSON");
        assert_eq!(
            error.to_string(),
            "the data of `order-42` version 3 (position 17, type `Paid`) cannot be read: \
             invalid type: string \"x\", expected u64 at line 1 column 3"
        );
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(event.metadata_json::<Vec<u8>>().expect("JSON"), [1]);
        let error = event.metadata_json::<u8>().expect_err("no number").to_string();
        assert!(error.starts_with("the metadata of `order-42` version 3"), "{error}");
    }

    #[test]
    fn only_a_variant_of_an_enum_names_a_type() {
        #[derive(Serialize)]
        #[serde(tag = "type")]
        enum Tagged {
            Placed,
        }
        #[derive(Serialize)]
        enum Order {
            #[serde(rename = "OrderPaid")]
            Paid(u64),
            Moved(u8, u8),
        }
        let paid = Event::typed(&Order::Paid(1 << 60)).expect("an event");
        assert_eq!((paid.kind().as_str(), paid.data()), ("OrderPaid", &b"1152921504606846976"[..]));
        assert_eq!(Event::typed(&Order::Moved(1, 2)).expect("an event").data(), b"[1,2]");
        let one_field = std::collections::BTreeMap::from([("total", 5)]);
        for refused in
            [Event::typed(&Tagged::Placed), Event::typed(&one_field), Event::typed("Placed")]
        {
            assert!(matches!(refused, Err(EventError::NoVariant)), "{refused:?}");
        }
    }

    #[test]
    fn a_type_that_breaks_a_rule_is_refused() {
        assert!(matches!(Event::json("", &1), Err(EventError::Invalid(_))));
    }
}
