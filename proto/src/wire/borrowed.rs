//! Reads an append in place, out of the bytes of its message.
//!
//! Only the common form is read here, as encoders write it: each field once, none that is unknown, writes and nothing
//! else. Of every other message the generated code and the conversions of the words find out what it is, or what is
//! wrong with it.

use super::fields::{Fields, Value};
use crate::borrowed::{AppendRef, EventRef, WriteRef};
use crate::{EventId, Expectation, Timestamp, Version};

/// Returns the append in the bytes of a [`super::v1::Append`]; none if it is not of the common form, or breaks a rule.
pub fn read_append(message: &[u8]) -> Option<AppendRef<'_>> {
    let mut writes = Vec::new();
    each_field(message, |field| match field {
        (1, Value::Bytes(write)) => {
            writes.push(read_write(write)?);
            Some(())
        }
        _ => None,
    })?;
    AppendRef::new(writes)
}

fn read_write(message: &[u8]) -> Option<WriteRef<'_>> {
    let (mut stream, mut expectation, mut events) = (None, None, Vec::new());
    each_field(message, |field| match field {
        (1, Value::Bytes(name)) => once(&mut stream, text(name)?),
        (2, Value::Bytes(demand)) => once(&mut expectation, read_expectation(demand)?),
        (3, Value::Bytes(event)) => {
            events.push(read_event(event)?);
            Some(())
        }
        _ => None,
    })?;
    Some(WriteRef { stream: stream?, expectation: expectation?, events })
}

fn read_expectation(message: &[u8]) -> Option<Expectation> {
    let mut expectation = None;
    each_field(message, |field| {
        let demand = match field {
            (1, Value::Bytes([])) => Expectation::Any,
            (2, Value::Bytes([])) => Expectation::None,
            (3, Value::Bytes([])) => Expectation::Exists,
            (4, Value::Number(version)) => Expectation::Exactly(Version(version)),
            _ => return None,
        };
        once(&mut expectation, demand)
    })?;
    expectation
}

fn read_event(message: &[u8]) -> Option<EventRef<'_>> {
    let (mut id, mut kind, mut data, mut metadata) = (None, None, None, None);
    let (mut content_type, mut correlation, mut causation) = (None, None, None);
    let (mut schema, mut occurred_at, mut tags) = (None, None, Vec::new());
    each_field(message, |field| match field {
        (1, Value::Bytes(bytes)) => {
            once(&mut id, EventId::from_bytes(bytes.try_into().ok()?).ok()?)
        }
        (2, Value::Bytes(bytes)) => once(&mut kind, text(bytes)?),
        (3, Value::Bytes(bytes)) => once(&mut data, bytes),
        (4, Value::Bytes(bytes)) => once(&mut metadata, bytes),
        (5, Value::Bytes(bytes)) => {
            tags.push(text(bytes)?);
            Some(())
        }
        (6, Value::Bytes(bytes)) => once(&mut content_type, text(bytes)?),
        (7, Value::Number(number)) => once(&mut schema, u32::try_from(number).ok()?),
        (8, Value::Bytes(bytes)) => once(&mut correlation, text(bytes)?),
        (9, Value::Bytes(bytes)) => once(&mut causation, text(bytes)?),
        (10, Value::Number(number)) => once(&mut occurred_at, Timestamp(number.cast_signed())),
        _ => None,
    })?;
    Some(EventRef {
        id: id?,
        kind: kind?,
        data: data.unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
        tags,
        content_type: content_type.unwrap_or_default(),
        schema: schema.unwrap_or_default().max(1),
        correlation_id: correlation.unwrap_or_default(),
        causation_id: causation.unwrap_or_default(),
        occurred_at,
    })
}

/// Hands the fields of a message over, in their order; none if one is refused or does not decode.
fn each_field<'a>(
    message: &'a [u8],
    mut take: impl FnMut((u32, Value<'a>)) -> Option<()>,
) -> Option<()> {
    let mut fields = Fields::of(message);
    for field in &mut fields {
        take(field)?;
    }
    fields.end().ok()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::v1;
    use super::*;
    use crate::Append;
    use crate::limits::{EVENT_PAYLOAD_BYTES_MAX, TAGS_MAX};

    fn event(number: u8) -> v1::NewEvent {
        v1::NewEvent {
            id: vec![number; 16].into(),
            r#type: "Paid".into(),
            data: vec![number; 300].into(),
            ..v1::NewEvent::default()
        }
    }

    fn append() -> v1::Append {
        let full = v1::NewEvent {
            metadata: vec![9].into(),
            tags: vec!["flight:7".into(), "seat:ü".into()],
            content_type: "text/plain".into(),
            schema: 300,
            correlation_id: "c".into(),
            causation_id: "d".into(),
            occurred_at: Some(-1),
            ..event(1)
        };
        let write = |stream: &str, expectation: Expectation, events| v1::Write {
            stream: stream.into(),
            expectation: Some(expectation.into()),
            events,
        };
        v1::Append {
            writes: vec![
                write("a/account-1", Expectation::Exactly(Version(u64::MAX)), vec![full, event(2)]),
                write("account-2", Expectation::Any, vec![event(3)]),
                write("account-3", Expectation::None, vec![event(4)]),
                write("account-4", Expectation::Exists, vec![event(5)]),
            ],
            ..v1::Append::default()
        }
    }

    /// Compares with what the conversions make of the same message.
    fn assert_is_read(message: &v1::Append) {
        let bytes = message.encode_to_vec();
        let read = read_append(&bytes).expect("it is of the common form");
        let append = Append::try_from(Some(message.clone())).expect("an append");
        assert_eq!(read.size(), append.size());
        for (read, write) in read.writes().iter().zip(&append.writes) {
            assert_eq!((read.stream, read.expectation), (write.stream.as_str(), write.expectation));
            assert_eq!(read.events, write.events.iter().map(EventRef::from).collect::<Vec<_>>());
        }
        assert_eq!(read.writes().len(), append.writes.len());
    }

    #[test]
    fn an_append_is_read_as_its_conversion_reads_it() {
        assert_is_read(&append());
        let mut plain = append();
        plain.writes.truncate(1);
        plain.writes[0].events = vec![event(7)];
        assert_is_read(&plain);
    }

    type Spoil = fn(&mut v1::Append);

    #[test]
    fn what_the_conversion_refuses_is_not_read() {
        let cases: [Spoil; 22] = [
            |append| append.writes.clear(),
            |append| append.writes[0].stream = String::new(),
            |append| append.writes[0].stream = "a//account-1".into(),
            |append| append.writes[0].stream = "-1".into(),
            |append| append.writes[0].stream = "$account-1".into(),
            |append| append.writes[0].stream = "account-2".into(),
            |append| append.writes[0].expectation = None,
            |append| append.writes[0].expectation = Some(v1::Expectation::default()),
            |append| append.writes[0].events.clear(),
            |append| append.writes[0].events[0].id = vec![1; 15].into(),
            |append| append.writes[0].events[0].id = vec![0; 16].into(),
            |append| append.writes[0].events[0].id = vec![3; 16].into(),
            |append| append.writes[0].events[0].r#type = String::new(),
            |append| append.writes[0].events[0].r#type = "$deleted".into(),
            |append| append.writes[0].events[0].data = vec![0; EVENT_PAYLOAD_BYTES_MAX].into(),
            |append| append.writes[0].events[0].tags = vec!["a".into(), "a".into()],
            |append| append.writes[0].events[0].tags = vec![String::new()],
            |append| {
                let tags = (0..=TAGS_MAX).map(|number| number.to_string());
                append.writes[0].events[0].tags = tags.collect();
            },
            |append| append.writes[0].events[0].content_type = "\n".into(),
            |append| append.writes[0].events[0].correlation_id = "\n".into(),
            |append| append.writes[0].events[0].causation_id = "x".repeat(129),
            |append| append.writes[0].events[0].occurred_at = Some(i64::MAX),
        ];
        for (number, spoil) in cases.into_iter().enumerate() {
            let mut message = append();
            spoil(&mut message);
            assert_eq!(read_append(&message.encode_to_vec()), None, "case {number}");
            assert!(Append::try_from(Some(message)).is_err(), "case {number}");
        }
        let mut large = append();
        let part = vec![0; EVENT_PAYLOAD_BYTES_MAX / 2];
        large.writes[0].events =
            (10..20).map(|id| v1::NewEvent { data: part.clone().into(), ..event(id) }).collect();
        assert_eq!(read_append(&large.encode_to_vec()), None);
        assert!(Append::try_from(Some(large)).is_err());
    }

    #[test]
    fn other_forms_are_left_to_the_conversion() {
        let whole = append().encode_to_vec();
        let mut required = append();
        required.requirements = vec![v1::Requirement::default()];
        let mut conditional = append();
        conditional.conditions = vec![v1::Condition::default()];
        let unknown = [&whole[..], &[0x78, 1]].concat();
        for message in [required.encode_to_vec(), conditional.encode_to_vec(), unknown] {
            assert_eq!(read_append(&message), None);
        }
        let mut twice = append().writes[0].encode_to_vec();
        twice.extend(v1::Write { stream: "b-1".into(), ..v1::Write::default() }.encode_to_vec());
        assert_eq!(read_write(&twice), None);
        for length in 1..whole.len() {
            // A message that is cut at the end of a write is an append of fewer writes.
            if let Some(read) = read_append(&whole[..length]) {
                assert!(read.writes().len() < 4);
            }
        }
    }
}
