//! The bytes of an append's message, made of the words at once: the generated form would hold a copy of every text.

use bytes::Bytes;
use prost::Message;

use super::v1;
use crate::{Append, CorrelationId, Event, Expectation, Write};

/// Returns the bytes of the append as a [`v1::Append`].
pub fn append_bytes(append: &Append) -> Bytes {
    let mut out = Vec::with_capacity(append.size() + 16);
    for write in &append.writes {
        put_key(1, true, &mut out);
        put_varint(length_of_write(write) as u64, &mut out);
        put_write(write, &mut out);
    }
    let rest = Append {
        writes: Vec::new(),
        requirements: append.requirements.clone(),
        conditions: append.conditions.clone(),
    };
    // Fields of other numbers follow; a vector always has room.
    v1::Append::from(rest).encode_raw(&mut out);
    Bytes::from(out)
}

fn put_write(write: &Write, out: &mut Vec<u8>) {
    put_bytes(1, write.stream.as_str().as_bytes(), out);
    put_key(2, true, out);
    put_varint(length_of_expectation(write.expectation) as u64, out);
    match write.expectation {
        Expectation::Any => put_nothing(1, out),
        Expectation::None => put_nothing(2, out),
        Expectation::Exists => put_nothing(3, out),
        Expectation::Exactly(version) => {
            put_key(4, false, out);
            put_varint(version.0, out);
        }
    }
    for event in &write.events {
        put_key(3, true, out);
        put_varint(length_of_event(event) as u64, out);
        put_event(event, out);
    }
}

fn put_event(event: &Event, out: &mut Vec<u8>) {
    put_bytes(1, event.id.as_bytes(), out);
    put_bytes(2, event.kind.as_str().as_bytes(), out);
    put_bytes(3, &event.data, out);
    put_bytes(4, &event.metadata, out);
    for tag in &event.tags {
        put_bytes(5, tag.as_str().as_bytes(), out);
    }
    put_bytes(6, event.content_type.as_bytes(), out);
    if event.schema != 0 {
        put_key(7, false, out);
        put_varint(u64::from(event.schema), out);
    }
    put_bytes(8, correlation_of(event).as_bytes(), out);
    put_bytes(9, event.causation_id.as_bytes(), out);
    if let Some(time) = event.occurred_at {
        put_key(10, false, out);
        put_varint(time.0.cast_unsigned(), out);
    }
}

fn length_of_write(write: &Write) -> usize {
    let events: usize =
        write.events.iter().map(|event| length_of_field(length_of_event(event))).sum();
    length_of_bytes(write.stream.as_str().as_bytes())
        + length_of_field(length_of_expectation(write.expectation))
        + events
}

fn length_of_expectation(expectation: Expectation) -> usize {
    match expectation {
        Expectation::Exactly(version) => 1 + length_of_varint(version.0),
        Expectation::Any | Expectation::None | Expectation::Exists => 2,
    }
}

fn length_of_event(event: &Event) -> usize {
    let schema = if event.schema == 0 { 0 } else { 1 + length_of_varint(u64::from(event.schema)) };
    let occurred_at =
        event.occurred_at.map_or(0, |time| 1 + length_of_varint(time.0.cast_unsigned()));
    let tags = event.tags.iter().map(|tag| tag.as_str().as_bytes());
    let singles = [
        event.id.as_bytes(),
        event.kind.as_str().as_bytes(),
        &event.data,
        &event.metadata,
        event.content_type.as_bytes(),
        correlation_of(event).as_bytes(),
        event.causation_id.as_bytes(),
    ];
    let bytes: usize = singles.into_iter().chain(tags).map(length_of_bytes).sum();
    schema + occurred_at + bytes
}

fn correlation_of(event: &Event) -> &str {
    event.correlation_id.as_ref().map_or("", CorrelationId::as_str)
}

/// Puts the key of a field, whose number is below 16.
fn put_key(number: u8, has_length: bool, out: &mut Vec<u8>) {
    out.push(number << 3 | if has_length { 2 } else { 0 });
}

fn put_nothing(number: u8, out: &mut Vec<u8>) {
    put_key(number, true, out);
    out.push(0);
}

/// Puts a field of bytes, unless it is empty: that is the same as not there.
fn put_bytes(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        put_key(number, true, out);
        put_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn length_of_bytes(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { length_of_field(bytes.len()) }
}

/// Returns the length of a field with its key, whose number is below 16, and its length.
fn length_of_field(length: usize) -> usize {
    1 + length_of_varint(length as u64) + length
}

fn length_of_varint(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Condition, EventId, EventType, Position, Query, Requirement, StreamName, Tag, Timestamp,
        Version,
    };

    fn event(number: u8, data: usize) -> Event {
        let id = EventId::from_bytes([number; 16]).expect("an id");
        Event::new(id, EventType::new("Paid").expect("a type"), vec![number; data])
    }

    fn full() -> Event {
        let mut event = event(9, 0);
        event.metadata = vec![1; 200].into();
        event.tags = vec![Tag::new("a:1").expect("a tag"), Tag::new("ü").expect("a tag")];
        event.content_type = "text/plain".to_owned();
        event.schema = 300;
        event.correlation_id = CorrelationId::new("c").ok();
        event.causation_id = "d".repeat(128);
        event.occurred_at = Some(Timestamp(-1));
        event
    }

    #[test]
    fn the_bytes_are_those_of_the_generated_code() {
        let stream = |name| StreamName::new(name).expect("a name");
        let write = |name, expectation, events| Write { stream: stream(name), expectation, events };
        let writes = vec![
            write("a/b-1", Expectation::Exactly(Version(u64::MAX)), vec![full(), event(1, 127)]),
            write("b-2", Expectation::Exactly(Version(0)), vec![event(2, 128), event(3, 20_000)]),
            write("b-3", Expectation::Any, vec![event(4, 0)]),
            write("b-4", Expectation::None, vec![event(5, 1)]),
            write("b-5", Expectation::Exists, Vec::new()),
        ];
        let requirement = Requirement { stream: stream("b-6"), expectation: Expectation::Exists };
        let condition = Condition { query: Query::everything(), after: Position(7) };
        let all = Append { writes, requirements: vec![requirement], conditions: vec![condition] };
        for append in [all, Append::default()] {
            assert_eq!(append_bytes(&append), v1::Append::from(append).encode_to_vec());
        }
    }

    #[test]
    fn lengths_of_numbers_are_what_is_put() {
        for bit in 0..64 {
            for number in [1 << bit, (1 << bit) - 1, u64::MAX >> bit] {
                let mut out = Vec::new();
                put_varint(number, &mut out);
                assert_eq!(out.len(), length_of_varint(number), "{number}");
            }
        }
    }
}
