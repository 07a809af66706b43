//! Batches of events as bytes: written from borrowed events and read into events, without a message in between.
//!
//! A batch is an `EventBatch` of the `.proto` files. Most of what a node sends is events, so its batches are not made
//! of a message for each event: the fields go from where the store has them straight into the answer. Tests hold both
//! directions to what the generated code makes of the same bytes.

use bytes::Bytes;

use super::event::{correlation_of, id_of};
use super::fields::{Fields, Sink, Size, text};
use crate::{
    Event, EventType, Invalid, Position, RecordedEvent, RecordedEventRef, StreamName, Tag,
    Timestamp, Version,
};

/// Writes events one after the other into one batch.
#[derive(Debug, Default)]
pub struct BatchEncoder {
    bytes: Vec<u8>,
}

impl BatchEncoder {
    /// Returns an empty batch with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> BatchEncoder {
        BatchEncoder { bytes: Vec::with_capacity(bytes) }
    }

    /// Adds an event.
    pub fn push(&mut self, event: &RecordedEventRef<'_>) {
        let mut body = Size::default();
        put_body(event, &mut body);
        let mut whole = Size::default();
        put_event(event, body, &mut whole);
        let out = &mut self.bytes;
        out.put_head(1, whole);
        put_event(event, body, out);
        put_body(event, out);
    }

    /// Returns the number of bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns true if no event was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the batch.
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// Puts the fields of a `RecordedEvent` up to the head of its body; a size is given the body's too.
fn put_event<S: Sink>(event: &RecordedEventRef<'_>, body: Size, out: &mut S) {
    out.put_number(1, event.position.0);
    out.put_bytes(2, event.stream.as_bytes());
    out.put_number(3, event.version.0);
    out.put_number(4, event.recorded_at.0.cast_unsigned());
    out.put_head(5, body);
}

/// Puts the fields of a `NewEvent`.
fn put_body<S: Sink>(event: &RecordedEventRef<'_>, out: &mut S) {
    out.put_bytes(1, event.id.as_bytes());
    out.put_bytes(2, event.kind.as_bytes());
    out.put_bytes(3, event.data);
    out.put_bytes(4, event.metadata);
    for tag in &event.tags {
        out.put_bytes(5, tag.as_bytes());
    }
    out.put_bytes(6, event.content_type.as_bytes());
    out.put_number(7, u64::from(event.schema));
    out.put_bytes(8, event.correlation_id.as_bytes());
    out.put_bytes(9, event.causation_id.as_bytes());
    if let Some(time) = event.occurred_at {
        out.put_present(10, time.0.cast_unsigned());
    }
}

/// Reads batches, one after the other. Events that repeat a name share one copy of it.
#[derive(Debug, Default)]
pub struct BatchDecoder {
    streams: Names<StreamName>,
    types: Names<EventType>,
    tags: Names<Tag>,
}

impl BatchDecoder {
    /// Returns the events of a batch; `data` and `metadata` are slices of it.
    ///
    /// # Errors
    /// The bytes are no batch, or an event breaks a rule.
    pub fn decode(&mut self, batch: &Bytes) -> Result<Vec<RecordedEvent>, Invalid> {
        // The fields are counted first: one piece of memory of the right size is cheaper than to look at them twice.
        let mut events = Vec::with_capacity(Fields::of(batch).count());
        let mut fields = Fields::of(batch);
        for (tag, value) in &mut fields {
            if tag == 1 {
                events.push(self.event(batch, value.bytes()?)?);
            }
        }
        fields.end()?;
        Ok(events)
    }

    fn event(&mut self, batch: &Bytes, bytes: &[u8]) -> Result<RecordedEvent, Invalid> {
        let (mut position, mut version, mut recorded_at) = (0, 0, 0);
        let (mut stream, mut body): (&[u8], _) = (&[], None);
        let mut fields = Fields::of(bytes);
        for (tag, value) in &mut fields {
            match tag {
                1 => position = value.number()?,
                2 => stream = value.bytes()?,
                3 => version = value.number()?,
                4 => recorded_at = value.number()?.cast_signed(),
                5 => body = Some(value.bytes()?),
                _ => {}
            }
        }
        fields.end()?;
        let body = body.ok_or_else(|| Invalid::new("event", "is missing"))?;
        Ok(RecordedEvent {
            position: Position(position),
            stream: self.streams.name(stream, |name| StreamName::new(name))?,
            version: Version(version),
            recorded_at: Timestamp(recorded_at),
            event: self.body(batch, body)?,
        })
    }

    fn body(&mut self, batch: &Bytes, bytes: &[u8]) -> Result<Event, Invalid> {
        let none: &[u8] = &[];
        let (mut id, mut data, mut metadata, mut kind) = (none, none, none, none);
        let (mut content_type, mut correlation, mut causation) = ("", "", "");
        let (mut tags, mut schema, mut occurred_at) = (Vec::new(), 0, None);
        let mut fields = Fields::of(bytes);
        for (tag, value) in &mut fields {
            match tag {
                1 => id = value.bytes()?,
                2 => kind = value.bytes()?,
                3 => data = value.bytes()?,
                4 => metadata = value.bytes()?,
                5 => tags.push(self.tags.name(value.bytes()?, tag_of)?),
                6 => content_type = value.text()?,
                // As the generated code does, a number is taken by its lowest 32 bits.
                7 => schema = value.number()? as u32,
                8 => correlation = value.text()?,
                9 => causation = value.text()?,
                10 => occurred_at = Some(Timestamp(value.number()?.cast_signed())),
                _ => {}
            }
        }
        fields.end()?;
        Ok(Event {
            id: id_of(id)?,
            kind: self.types.name(kind, |name| EventType::new(name))?,
            data: slice_of(batch, data),
            metadata: slice_of(batch, metadata),
            tags,
            content_type: content_type.to_owned(),
            schema: schema.max(1),
            correlation_id: correlation_of(correlation)?,
            causation_id: causation.to_owned(),
            occurred_at,
        })
    }
}

fn tag_of(text: &str) -> Result<Tag, Invalid> {
    Tag::new(text).map_err(|invalid| Invalid { field: "tags", ..invalid })
}

/// Returns bytes of a batch as a slice of it; none keep nothing of it in memory.
fn slice_of(batch: &Bytes, bytes: &[u8]) -> Bytes {
    if bytes.is_empty() { Bytes::new() } else { batch.slice_ref(bytes) }
}

/// Names that were read lately, each at the place that follows from its text.
#[derive(Debug)]
struct Names<T>(Vec<Option<T>>);

impl<T> Default for Names<T> {
    fn default() -> Names<T> {
        Names(Vec::new())
    }
}

impl<T: AsRef<str> + Clone> Names<T> {
    /// The places; most names that are not at theirs were read so long ago that nothing is lost.
    const PLACES: usize = 256;

    /// Returns the name with these bytes: the one that is known, or a new one, which must be a text and obey the rules of
    /// names.
    #[inline]
    fn name(
        &mut self,
        bytes: &[u8],
        make: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let place = place(bytes) % Self::PLACES;
        match self.0.get(place) {
            Some(Some(name)) if name.as_ref().as_bytes() == bytes => Ok(name.clone()),
            _ => Ok(self.keep(place, make(text(bytes)?)?)),
        }
    }

    fn keep(&mut self, place: usize, name: T) -> T {
        if self.0.is_empty() {
            self.0.resize(Self::PLACES, None);
        }
        if let Some(known) = self.0.get_mut(place) {
            *known = Some(name.clone());
        }
        name
    }
}

/// Returns a number that names with different ends rarely share.
fn place(name: &[u8]) -> usize {
    let end = match name.last_chunk::<8>() {
        Some(end) => u64::from_le_bytes(*end),
        None => name.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    // The multiplier is the golden ratio's, which spreads what differs in few bits over the highest ones.
    (end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::wire::v1;
    use crate::{CorrelationId, EventId};

    prop_compose! {
        fn event()(
            (position, version, recorded_at) in (1..u64::MAX, 1..u64::MAX, any::<i64>()),
            (stream, kind) in ("[a-zé]{1,4}/[a-z]{1,9}-[0-9]{0,9}", "[A-Zß]{1,12}"),
            (data, metadata) in (prop::collection::vec(any::<u8>(), 0..400), prop::collection::vec(any::<u8>(), 0..40)),
            tags in prop::collection::btree_set("[a-z]{1,5}:[0-9]{1,5}", 0..4),
            (content_type, correlation, causation) in ("[a-z/]{0,20}", "[a-z]{0,20}", "[a-z]{0,20}"),
            (id, schema, occurred_at) in (1..u128::MAX, 1..u32::MAX, any::<Option<i64>>()),
        ) -> RecordedEvent {
            let id = EventId::from_bytes(id.to_be_bytes()).expect("an id");
            let mut event = Event::new(id, EventType::new(kind).expect("a type"), data);
            event.metadata = metadata.into();
            event.tags = tags.into_iter().map(|tag| Tag::new(tag).expect("a tag")).collect();
            event.content_type = content_type;
            event.schema = schema;
            event.correlation_id = CorrelationId::new(correlation).ok();
            event.causation_id = causation;
            event.occurred_at = occurred_at.map(Timestamp);
            RecordedEvent {
                position: Position(position),
                stream: StreamName::new(stream).expect("a name"),
                version: Version(version),
                recorded_at: Timestamp(recorded_at),
                event,
            }
        }
    }

    fn batch_of(events: &[RecordedEvent]) -> Bytes {
        let mut batch = BatchEncoder::default();
        events.iter().for_each(|event| batch.push(&RecordedEventRef::from(event)));
        batch.finish()
    }

    proptest! {
        #[test]
        fn a_batch_is_what_the_generated_code_makes_of_the_same_events(
            events in prop::collection::vec(event(), 0..5),
        ) {
            let batch = batch_of(&events);
            let message = v1::EventBatch { events: events.iter().cloned().map(Into::into).collect() };
            prop_assert_eq!(&batch, &message.encode_to_vec());
            let mut decoder = BatchDecoder::default();
            prop_assert_eq!(&decoder.decode(&batch).expect("a batch"), &events);
            prop_assert_eq!(&decoder.decode(&batch).expect("a batch"), &events, "names are known now");
            // A field of a later version, in front of an event.
            let mut later = vec![15 << 3, 7];
            later.extend_from_slice(&batch);
            prop_assert_eq!(&decoder.decode(&later.into()).expect("a batch"), &events);
        }

        #[test]
        fn what_is_damaged_is_refused_or_read_as_the_generated_code_reads_it(
            event in event(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut bytes = batch_of(&[event]).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let bytes = Bytes::from(bytes);
            if let Ok(events) = BatchDecoder::default().decode(&bytes) {
                let message = v1::EventBatch::decode(bytes);
                let message = message.expect("read here, so there too").events.into_iter();
                let expected: Result<Vec<_>, _> = message.map(RecordedEvent::try_from).collect();
                prop_assert_eq!(events, expected.expect("read here, so there too"));
            }
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let id = Bytes::from_static(&[1; 16]);
        let event = v1::NewEvent { id, r#type: "Made".into(), ..Default::default() };
        let recorded = v1::RecordedEvent {
            stream: "a-1".into(),
            event: Some(event.clone()),
            ..Default::default()
        };
        let with = |event| v1::RecordedEvent { event, ..recorded.clone() };
        for (wrong, field) in [
            (with(None), "event"),
            (v1::RecordedEvent { stream: String::new(), ..recorded.clone() }, "stream"),
            (with(Some(v1::NewEvent { id: Bytes::new(), ..event.clone() })), "id"),
            (with(Some(v1::NewEvent { r#type: String::new(), ..event.clone() })), "type"),
            (with(Some(v1::NewEvent { tags: vec![String::new()], ..event })), "tags"),
        ] {
            let batch = v1::EventBatch { events: vec![wrong] }.encode_to_vec();
            let refused = BatchDecoder::default().decode(&batch.into()).expect_err(field);
            assert_eq!(refused.field, field);
        }
    }

    #[test]
    fn names_at_one_place_do_not_stand_for_each_other() {
        let mut names = Names::default();
        let mut name =
            |text: &str| names.name(text.as_bytes(), |text| StreamName::new(text)).expect("a name");
        for number in (0..2_000).chain(0..2_000) {
            let text = format!("order-{number}");
            assert_eq!(name(&text).as_str(), text);
        }
        assert_eq!(name("one/order-00000001").as_str(), "one/order-00000001");
        assert_eq!(name("two/order-00000001").as_str(), "two/order-00000001");
    }
}
