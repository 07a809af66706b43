//! The bytes of an append's message, made of the words at once: the generated form would hold a copy of every text.

use bytes::Bytes;
use prost::Message;

use super::fields::{Sink, Size};
use super::v1;
use crate::{Append, CorrelationId, Event, Expectation, Write};

/// Returns the bytes of the append as a [`v1::Append`].
pub fn append_bytes(append: &Append) -> Bytes {
    let mut out = Vec::with_capacity(append.size() + 16);
    for write in &append.writes {
        out.put_head(1, size_of_write(write));
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
    out.put_bytes(1, write.stream.as_str().as_bytes());
    out.put_head(2, size_of(|size| put_expectation(write.expectation, size)));
    put_expectation(write.expectation, out);
    for event in &write.events {
        out.put_head(3, size_of(|size| put_event(event, size)));
        put_event(event, out);
    }
}

fn size_of_write(write: &Write) -> Size {
    size_of(|size| {
        size.put_bytes(1, write.stream.as_str().as_bytes());
        size.put_head(2, size_of(|size| put_expectation(write.expectation, size)));
        for event in &write.events {
            size.put_head(3, size_of(|size| put_event(event, size)));
        }
    })
}

fn put_expectation<S: Sink>(expectation: Expectation, out: &mut S) {
    match expectation {
        Expectation::Any => out.put_head(1, Size::default()),
        Expectation::None => out.put_head(2, Size::default()),
        Expectation::Exists => out.put_head(3, Size::default()),
        Expectation::Exactly(version) => out.put_present(4, version.0),
    }
}

fn put_event<S: Sink>(event: &Event, out: &mut S) {
    out.put_bytes(1, event.id.as_bytes());
    out.put_bytes(2, event.kind.as_str().as_bytes());
    out.put_bytes(3, &event.data);
    out.put_bytes(4, &event.metadata);
    for tag in &event.tags {
        out.put_bytes(5, tag.as_str().as_bytes());
    }
    out.put_bytes(6, event.content_type.as_bytes());
    out.put_number(7, u64::from(event.schema));
    let correlation = event.correlation_id.as_ref().map_or("", CorrelationId::as_str);
    out.put_bytes(8, correlation.as_bytes());
    out.put_bytes(9, event.causation_id.as_bytes());
    if let Some(time) = event.occurred_at {
        out.put_present(10, time.0.cast_unsigned());
    }
}

fn size_of(put: impl FnOnce(&mut Size)) -> Size {
    let mut size = Size::default();
    put(&mut size);
    size
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
}
