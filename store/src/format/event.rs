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

/// Decodes the whole event; `data` and `metadata` are slices of `body`.
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

/// Checks that a body decodes, without making anything of it: every event that is read is checked.
pub(crate) fn check(body: &[u8]) -> Result<(), Malformed> {
    let mut parts = Parts(body);
    let flags = parts.head()?;
    EventType::check(parts.text()?).map_err(Malformed::invalid)?;
    if flags & OCCURRED_AT != 0 {
        parts.take(8)?;
    }
    for flag in [CONTENT_TYPE, CORRELATION, CAUSATION] {
        let text = if flags & flag == 0 { continue } else { parts.text()? };
        if flag == CORRELATION {
            CorrelationId::new(text).map_err(Malformed::invalid)?;
        }
    }
    if flags & TAGS != 0 {
        parts.tags()?;
    }
    if flags & METADATA != 0 {
        let length = parts.take(4)?.first_chunk().copied().map(u32::from_le_bytes);
        parts.take(length.map_or(usize::MAX, |length| length as usize))?;
    }
    Ok(())
}

/// Returns the keys that find the event, beside its stream's: type, correlation id and tags, in this order.
pub(crate) fn labels(body: &[u8]) -> Result<Vec<Key>, Malformed> {
    let mut parts = Parts(body);
    let flags = parts.head()?;
    let kind = EventType::new(parts.text()?).map_err(Malformed::invalid)?;
    let mut labels = vec![Key::Type(kind)];
    if flags & OCCURRED_AT != 0 {
        parts.take(8)?;
    }
    for flag in [CONTENT_TYPE, CORRELATION, CAUSATION] {
        let text = if flags & flag == 0 { continue } else { parts.text()? };
        if flag == CORRELATION {
            let id = CorrelationId::new(text).map_err(Malformed::invalid)?;
            labels.push(Key::Correlation(id));
        }
    }
    if flags & TAGS != 0 {
        labels.extend(parts.tags()?.into_iter().map(Key::Tag));
    }
    Ok(labels)
}

/// Decodes only the type.
pub(crate) fn kind(body: &[u8]) -> Result<EventType, Malformed> {
    let mut parts = Parts(body);
    parts.head()?;
    EventType::new(parts.text()?).map_err(Malformed::invalid)
}

/// A cursor over a body, borrowed from it.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let parts = self.0.split_at_checked(length);
        let (part, rest) = parts.ok_or_else(|| Malformed::new("ends too early"))?;
        self.0 = rest;
        Ok(part)
    }

    /// Takes the flags and the schema, and returns the flags.
    fn head(&mut self) -> Result<u8, Malformed> {
        let flags = self.byte()?;
        if flags & !KNOWN != 0 {
            return Err(Malformed::new(format!("an event has the unknown flags {flags:#x}")));
        }
        self.take(4)?;
        Ok(flags)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|byte| byte.first().copied().unwrap_or_default())
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.byte()?;
        let text = std::str::from_utf8(self.take(usize::from(length))?);
        text.map_err(|_| Malformed::new("a text is not UTF-8"))
    }

    fn tags(&mut self) -> Result<Vec<Tag>, Malformed> {
        let count = self.byte()?;
        let mut tags = Vec::new();
        for _ in 0..count {
            let tag = Tag::new(self.text()?).map_err(Malformed::invalid)?;
            if tags.contains(&tag) {
                return Err(twice(&tag));
            }
            tags.push(tag);
        }
        Ok(tags)
    }
}

fn take_type(input: &mut Input) -> Result<EventType, Malformed> {
    EventType::new(input.short_text()?).map_err(Malformed::invalid)
}

fn twice(tag: &Tag) -> Malformed {
    Malformed::new(format!("an event has the tag `{tag}` twice"))
}

/// Takes the tags. An event is in the index once for each tag, so no tag may be there twice.
fn take_tags(input: &mut Input) -> Result<Vec<String>, Malformed> {
    let count = input.u8()?;
    let mut tags: Vec<String> = Vec::new();
    for _ in 0..count {
        let tag = Tag::new(input.short_text()?).map_err(Malformed::invalid)?;
        if tags.iter().any(|known| known == tag.as_str()) {
            return Err(twice(&tag));
        }
        tags.push(tag.as_str().to_owned());
    }
    Ok(tags)
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
                let correlation = CorrelationId::new(decoded.correlation_id).ok();
                expected.extend(correlation.map(Key::Correlation));
                expected.extend(decoded.tags.iter().map(|tag| Key::Tag(Tag::new(tag).expect("a tag"))));
                prop_assert_eq!(labels.expect("labels"), expected);
            }
        }
    }
}
