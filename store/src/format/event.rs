//! The body of an event: the same bytes in a command, in the tail and in a chunk.
//!
//! ```text
//! flags          1   which of the optional fields below are there
//! schema         4
//! type           1 + n
//! occurred_at    8   if flag 1; microseconds since the Unix epoch, signed
//! content_type   1 + n   if flag 2
//! correlation    1 + n   if flag 4
//! causation      1 + n   if flag 8
//! tags           1, then 1 + n each   if flag 16
//! metadata       4 + n   if flag 32
//! data           the rest
//! ```
//!
//! The length of the body and the event's id are kept outside, by whatever holds the body.

use bytes::Bytes;
use quorate_proto::{
    CorrelationId, Event, EventId, EventRef, EventType, Position, RecordedEventRef, Tag, Timestamp,
    Version,
};

use super::bytes::text;
use super::{Input, Malformed, Output};
use crate::format::Key;

const OCCURRED_AT: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const CORRELATION: u8 = 4;
const CAUSATION: u8 = 8;
const TAGS: u8 = 16;
const METADATA: u8 = 32;
const KNOWN: u8 = 63;

/// Puts the body of an event that passed [`Event::check`].
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn encode(event: &Event, out: &mut Vec<u8>) {
    encode_ref(&EventRef::from(event), out);
}

/// Puts the body of an event that passed [`Event::check`].
pub(crate) fn encode_ref(event: &EventRef<'_>, out: &mut Vec<u8>) {
    out.put_u8(flags(event));
    out.put_u32(event.schema);
    out.put_short(event.kind.as_bytes());
    if let Some(time) = event.occurred_at {
        out.put_i64(time.0);
    }
    for text in [event.content_type, event.correlation_id, event.causation_id] {
        if !text.is_empty() {
            out.put_short(text.as_bytes());
        }
    }
    if !event.tags.is_empty() {
        out.put_u8(u8::try_from(event.tags.len()).expect("checked against the limits before"));
        for tag in &event.tags {
            out.put_short(tag.as_bytes());
        }
    }
    if !event.metadata.is_empty() {
        out.put_long(event.metadata);
    }
    out.put(event.data);
}

fn flags(event: &EventRef<'_>) -> u8 {
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    flag(event.occurred_at.is_some(), OCCURRED_AT)
        | flag(!event.content_type.is_empty(), CONTENT_TYPE)
        | flag(!event.correlation_id.is_empty(), CORRELATION)
        | flag(!event.causation_id.is_empty(), CAUSATION)
        | flag(!event.tags.is_empty(), TAGS)
        | flag(!event.metadata.is_empty(), METADATA)
}

/// A body taken apart.
struct Body<'a> {
    schema: u32,
    occurred_at: Option<Timestamp>,
    content_type: &'a str,
    causation: &'a str,
    labels: Labels<'a>,
    metadata: &'a [u8],
    data: &'a [u8],
}

/// The names that find an event, beside those of its stream: parts of its body, which are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    kind: &'a str,
    correlation: Option<&'a str>,
    tags: Tags<'a>,
}

/// The tags of an event, encoded. An event is in the index once for each tag, so no tag is there twice.
#[derive(Clone, Copy, Debug, Default)]
struct Tags<'a> {
    count: u8,
    encoded: &'a [u8],
}

impl<'a> Labels<'a> {
    /// Returns the number of the labels that find the event in a stream: a stream of the system has types alone.
    pub(crate) fn count_for(&self, stream: &str) -> u64 {
        let others = u64::from(self.correlation.is_some()) + u64::from(self.tags.count);
        1 + if stream.starts_with('$') { 0 } else { others }
    }

    /// Returns true if the type is the system's.
    pub(crate) fn is_system(&self) -> bool {
        self.kind.starts_with('$')
    }

    /// Returns the kind of each label's key, and its name: first the type, then the correlation id, then the tags.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &'a str)> + use<'a> {
        let correlation = self.correlation.map(|id| (Key::CORRELATION_KIND, id));
        let tags = self.tags.iter().map(|tag| (Key::TAG_KIND, tag));
        std::iter::once((Key::TYPE_KIND, self.kind)).chain(correlation).chain(tags)
    }
}

impl<'a> Tags<'a> {
    fn take(input: &mut Input<&'a [u8]>) -> Result<Tags<'a>, Malformed> {
        let count = input.u8()?;
        let all = input.clone().rest();
        for number in 0..count {
            let tag = take_text(input)?;
            Tag::check(tag).map_err(Malformed::invalid)?;
            let earlier = Tags { count: number, encoded: all };
            if earlier.names().any(|name| name == tag.as_bytes()) {
                return Err(Malformed::new(format!("an event has the tag `{tag}` twice")));
            }
        }
        Ok(Tags { count, encoded: all })
    }

    fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut input = Input::new(self.encoded);
        (0..self.count).map_while(move |_| input.short_bytes().ok())
    }

    fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.names().map(|name| text(name).expect("checked when they were taken"))
    }
}

/// Decodes the whole event; `data` and `metadata` are slices of `body`.
pub(crate) fn decode(id: EventId, body: &Bytes) -> Result<Event, Malformed> {
    let Body { schema, occurred_at, content_type, causation, labels, metadata, data } =
        parse(body)?;
    let correlation = labels.correlation.map(CorrelationId::new).transpose();
    let tags = labels.tags.iter().map(Tag::new).collect::<Result<_, _>>();
    Ok(Event {
        id,
        kind: EventType::new(labels.kind).map_err(Malformed::invalid)?,
        data: body.slice_ref(data),
        metadata: body.slice_ref(metadata),
        tags: tags.map_err(Malformed::invalid)?,
        content_type: content_type.to_owned(),
        schema,
        correlation_id: correlation.map_err(Malformed::invalid)?,
        causation_id: causation.to_owned(),
        occurred_at,
    })
}

/// Returns the event with its fields as they stand in the body, which was checked before; the place is the caller's.
pub(crate) fn borrow<'a>(
    body: &'a [u8],
    id: EventId,
    stream: &'a str,
    (position, version, recorded_at): (Position, Version, Timestamp),
) -> Result<RecordedEventRef<'a>, Malformed> {
    let mut input = Input::new(body);
    let (flags, schema, kind) = take_head(&mut input)?;
    let has = |flag: u8| flags & flag != 0;
    let occurred_at = if has(OCCURRED_AT) { Some(Timestamp(input.i64()?)) } else { None };
    let content_type = if has(CONTENT_TYPE) { take_text(&mut input)? } else { "" };
    let correlation_id = if has(CORRELATION) { take_text(&mut input)? } else { "" };
    let causation_id = if has(CAUSATION) { take_text(&mut input)? } else { "" };
    let count = if has(TAGS) { input.u8()? } else { 0 };
    let tags = (0..count).map(|_| take_text(&mut input)).collect::<Result<_, _>>()?;
    let metadata = if has(METADATA) { input.long_bytes()? } else { &[] };
    let event = EventRef {
        id,
        kind,
        data: input.rest(),
        metadata,
        tags,
        content_type,
        schema,
        correlation_id,
        causation_id,
        occurred_at,
    };
    Ok(RecordedEventRef { position, stream, version, recorded_at, event })
}

/// Checks that a body decodes: every event that is read is checked.
pub(crate) fn check(body: &[u8]) -> Result<(), Malformed> {
    parse(body).map(|_| ())
}

/// Returns the labels of a body, after a check that all of it decodes.
pub(crate) fn labels(body: &[u8]) -> Result<Labels<'_>, Malformed> {
    parse(body).map(|body| body.labels)
}

/// Decodes only the type.
pub(crate) fn kind(body: &[u8]) -> Result<EventType, Malformed> {
    let (_, _, kind) = take_head(&mut Input::new(body))?;
    EventType::new(kind).map_err(Malformed::invalid)
}

fn parse(body: &[u8]) -> Result<Body<'_>, Malformed> {
    let mut input = Input::new(body);
    let (flags, schema, kind) = take_head(&mut input)?;
    EventType::check(kind).map_err(Malformed::invalid)?;
    let has = |flag: u8| flags & flag != 0;
    let occurred_at = if has(OCCURRED_AT) { Some(Timestamp(input.i64()?)) } else { None };
    let content_type = if has(CONTENT_TYPE) { take_text(&mut input)? } else { "" };
    let correlation = if has(CORRELATION) { Some(take_correlation(&mut input)?) } else { None };
    let causation = if has(CAUSATION) { take_text(&mut input)? } else { "" };
    let tags = if has(TAGS) { Tags::take(&mut input)? } else { Tags::default() };
    let metadata = if has(METADATA) { input.long_bytes()? } else { &[] };
    let labels = Labels { kind, correlation, tags };
    let data = input.rest();
    Ok(Body { schema, occurred_at, content_type, causation, labels, metadata, data })
}

/// Takes the flags, the schema and the type.
fn take_head<'a>(input: &mut Input<&'a [u8]>) -> Result<(u8, u32, &'a str), Malformed> {
    let flags = input.u8()?;
    if flags & !KNOWN != 0 {
        return Err(Malformed::new(format!("an event has the unknown flags {flags:#x}")));
    }
    Ok((flags, input.u32()?, take_text(input)?))
}

fn take_text<'a>(input: &mut Input<&'a [u8]>) -> Result<&'a str, Malformed> {
    text(input.short_bytes()?)
}

fn take_correlation<'a>(input: &mut Input<&'a [u8]>) -> Result<&'a str, Malformed> {
    let id = take_text(input)?;
    CorrelationId::check(id).map_err(Malformed::invalid)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> Event {
        let id = EventId::from_bytes([7; 16]).expect("an id");
        Event::new(id, EventType::new("OrderPaid").expect("a type"), Bytes::from_static(b"{}"))
    }

    fn full() -> Event {
        Event {
            metadata: Bytes::from_static(b"meta"),
            tags: ["customer:7", "eu"].map(|tag| Tag::new(tag).expect("a tag")).into(),
            content_type: "application/json".into(),
            schema: 3,
            correlation_id: CorrelationId::new("cmd-91").ok(),
            causation_id: "evt-1".into(),
            occurred_at: Some(Timestamp(-5)),
            ..event()
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for event in [event(), full()] {
            let mut body = Vec::new();
            encode(&event, &mut body);
            let body = Bytes::from(body);
            assert_eq!(decode(event.id, &body).expect("a body"), event);
            assert_eq!(kind(&body).expect("a type"), event.kind);
        }
    }

    #[test]
    fn a_body_cut_anywhere_before_its_data_is_malformed() {
        let mut body = Vec::new();
        encode(&full(), &mut body);
        let envelope = body.len() - full().data.len();
        for length in 0..envelope {
            let cut = Bytes::copy_from_slice(body.get(..length).expect("shorter"));
            assert!(decode(event().id, &cut).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn a_body_passes_the_check_exactly_if_it_decodes(
            at in any::<prop::sample::Index>(), byte: u8, length in any::<prop::sample::Index>()
        ) {
            let mut body = Vec::new();
            encode(&full(), &mut body);
            let at = at.index(body.len());
            body[at] = byte;
            body.truncate(length.index(body.len() + 1).max(at));
            let decoded = decode(event().id, &Bytes::from(body.clone()));
            prop_assert_eq!(check(&body).is_ok(), decoded.is_ok());
            let labels = labels(&body);
            prop_assert!(labels.is_ok() || decoded.is_err());
            if let Ok(decoded) = decoded {
                let mut expected = vec![Key::Type(decoded.kind)];
                expected.extend(decoded.correlation_id.map(Key::Correlation));
                expected.extend(decoded.tags.into_iter().map(Key::Tag));
                let labels = labels.expect("labels");
                prop_assert_eq!(labels.count_for("order-1"), expected.len() as u64);
                let keys = labels.iter().map(|(kind, name)| Key::of_kind(kind, name).expect("a key"));
                prop_assert_eq!(keys.collect::<Vec<_>>(), expected);
            }
        }
    }
}
