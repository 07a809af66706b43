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
//! The length of the whole is kept outside, by whatever holds the body, and so is the event's id.

use bytes::Bytes;
use quorate_proto::{CorrelationId, Event, EventId, EventType, Tag, Timestamp};

use super::{Input, Malformed, Output};
use crate::key::Key;

const OCCURRED_AT: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const CORRELATION: u8 = 4;
const CAUSATION: u8 = 8;
const TAGS: u8 = 16;
const METADATA: u8 = 32;
const KNOWN: u8 = 63;

/// Puts the body of an event that passed [`Event::check`].
pub(crate) fn encode(event: &Event, out: &mut Vec<u8>) {
    out.put_u8(flags(event));
    out.put_u32(event.schema);
    out.put_short(event.kind.as_str().as_bytes());
    if let Some(time) = event.occurred_at {
        out.put_i64(time.0);
    }
    for text in [&event.content_type, &event.correlation_id, &event.causation_id] {
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
        out.put_long(&event.metadata);
    }
    out.put(&event.data);
}

fn flags(event: &Event) -> u8 {
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    flag(event.occurred_at.is_some(), OCCURRED_AT)
        | flag(!event.content_type.is_empty(), CONTENT_TYPE)
        | flag(!event.correlation_id.is_empty(), CORRELATION)
        | flag(!event.causation_id.is_empty(), CAUSATION)
        | flag(!event.tags.is_empty(), TAGS)
        | flag(!event.metadata.is_empty(), METADATA)
}

/// The whole event; `data` and `metadata` are slices of `body`.
pub(crate) fn decode(id: EventId, body: &Bytes) -> Result<Event, Malformed> {
    let mut input = Input::new(body.clone());
    let flags = input.u8()?;
    if flags & !KNOWN != 0 {
        return Err(Malformed::new(format!("an event has the unknown flags {flags:#x}")));
    }
    let schema = input.u32()?;
    let kind = take_type(&mut input)?;
    let occurred_at = if flags & OCCURRED_AT == 0 { None } else { Some(Timestamp(input.i64()?)) };
    let mut text = |flag: u8| {
        if flags & flag == 0 { Ok(String::new()) } else { input.short_text() }
    };
    let content_type = text(CONTENT_TYPE)?;
    let correlation_id = text(CORRELATION)?;
    if flags & CORRELATION != 0 {
        CorrelationId::new(&correlation_id).map_err(Malformed::invalid)?;
    }
    let causation_id = text(CAUSATION)?;
    let tags = if flags & TAGS == 0 { Vec::new() } else { take_tags(&mut input)? };
    let metadata = if flags & METADATA == 0 { Bytes::new() } else { input.long_bytes()? };
    Ok(Event {
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
    })
}

/// What the event can be found by, beside its stream: type, correlation id and tags, in this order.
pub(crate) fn labels(body: &Bytes) -> Result<Vec<Key>, Malformed> {
    let mut input = Input::new(body.clone());
    let flags = input.u8()?;
    input.u32()?;
    let mut labels = vec![Key::Type(take_type(&mut input)?)];
    if flags & OCCURRED_AT != 0 {
        input.i64()?;
    }
    for flag in [CONTENT_TYPE, CORRELATION, CAUSATION] {
        let text = if flags & flag == 0 { continue } else { input.short_text()? };
        if flag == CORRELATION {
            let id = CorrelationId::new(text).map_err(Malformed::invalid)?;
            labels.push(Key::Correlation(id));
        }
    }
    if flags & TAGS != 0 {
        for tag in take_tags(&mut input)? {
            labels.push(Key::Tag(Tag::new(tag).map_err(Malformed::invalid)?));
        }
    }
    Ok(labels)
}

/// Only the type.
pub(crate) fn kind(body: &Bytes) -> Result<EventType, Malformed> {
    let mut input = Input::new(body.clone());
    input.take(1 + 4)?;
    take_type(&mut input)
}

fn take_type(input: &mut Input) -> Result<EventType, Malformed> {
    EventType::new(input.short_text()?).map_err(Malformed::invalid)
}

/// An event is in the index once for each of its tags, so none may be there twice.
fn take_tags(input: &mut Input) -> Result<Vec<String>, Malformed> {
    let count = input.u8()?;
    let mut tags: Vec<String> = Vec::new();
    for _ in 0..count {
        let tag = input.short_text()?;
        Tag::new(&tag).map_err(Malformed::invalid)?;
        if tags.contains(&tag) {
            return Err(Malformed::new(format!("an event has the tag `{tag}` twice")));
        }
        tags.push(tag);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let id = EventId::from_bytes([7; 16]).expect("an id");
        Event::new(id, EventType::new("OrderPaid").expect("a type"), Bytes::from_static(b"{}"))
    }

    fn full() -> Event {
        Event {
            metadata: Bytes::from_static(b"meta"),
            tags: vec!["customer:7".into(), "eu".into()],
            content_type: "application/json".into(),
            schema: 3,
            correlation_id: "cmd-91".into(),
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
}
