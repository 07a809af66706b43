//! An append within a command.

use bytes::Bytes;
use quorate_proto::{
    Append, AppendRef, Change, Event, EventRef, Expectation, Position, Requirement, StreamName,
    Version, Write,
};

use super::condition;
use crate::format::{Input, Malformed, Output, event};

/// The offset of the flags in the bytes of an append's request: behind the kind.
pub(super) const FLAGS_AT: usize = 1;
/// The offset of "checked through" in the same bytes.
pub(super) const CHECKED_AT: usize = 2;

const SYSTEM: u8 = 1;
pub(super) const CONDITIONS: u8 = 2;
const KNOWN: u8 = SYSTEM | CONDITIONS;

const ANY: u8 = 0;
const NONE: u8 = 1;
const EXISTS: u8 = 2;
const EXACTLY: u8 = 3;

/// An append as apply takes it.
///
/// Invariants: it passes [`Append::check_shape`]; `bodies` are the bodies of its events, in order, as slices of the
/// command; it writes to a stream of the system exactly if there is a `change`, and is the append that this makes.
#[derive(Debug)]
pub(crate) struct ParsedAppend {
    pub(crate) append: Append,
    pub(crate) bodies: Vec<Bytes>,
    /// The position up to which no event violates one of the conditions.
    pub(crate) checked: Position,
    pub(crate) change: Option<Change>,
}

pub(super) fn encode(append: &Append, out: &mut Vec<u8>) {
    let is_system = append.writes.iter().any(|write| write.stream.is_system());
    let system = if is_system { SYSTEM } else { 0 };
    let conditions = if append.conditions.is_empty() { 0 } else { CONDITIONS };
    out.put_u8(system | conditions);
    if !append.conditions.is_empty() {
        out.put_u64(Position::ZERO.0);
        condition::encode(&append.conditions, out);
    }
    out.put_varint(append.writes.len() as u64);
    for write in &append.writes {
        put_stream(write.stream.as_str(), write.expectation, out);
        out.put_varint(write.events.len() as u64);
        for event in &write.events {
            put_event(&EventRef::from(event), out);
        }
    }
    out.put_varint(append.requirements.len() as u64);
    for requirement in &append.requirements {
        put_stream(requirement.stream.as_str(), requirement.expectation, out);
    }
}

/// Puts an append as [`encode`] puts the same one.
pub(super) fn encode_ref(append: &AppendRef<'_>, out: &mut Vec<u8>) {
    out.put_u8(0);
    out.put_varint(append.writes().len() as u64);
    for write in append.writes() {
        put_stream(write.stream, write.expectation, out);
        out.put_varint(write.events.len() as u64);
        for event in &write.events {
            put_event(event, out);
        }
    }
    out.put_varint(0);
}

pub(super) fn parse(mut input: Input) -> Result<ParsedAppend, Malformed> {
    let flags = input.u8()?;
    if flags & !KNOWN != 0 {
        return Err(Malformed::new(format!("an append has the unknown flags {flags:#x}")));
    }
    let mut append = Append::default();
    let mut checked = Position::ZERO;
    if flags & CONDITIONS != 0 {
        checked = Position(input.u64()?);
        append.conditions = condition::take(&mut input)?;
    }
    let mut bodies = Vec::new();
    let write_count = input.varint()?;
    append.writes.reserve(input.capacity(write_count));
    for _ in 0..write_count {
        append.writes.push(take_write(&mut input, &mut bodies)?);
    }
    let requirement_count = input.varint()?;
    append.requirements.reserve(input.capacity(requirement_count));
    for _ in 0..requirement_count {
        let (stream, expectation) = take_stream(&mut input)?;
        append.requirements.push(Requirement { stream, expectation });
    }
    input.end()?;
    append.check_shape().map_err(Malformed::invalid)?;
    let change = take_change(&append, flags & SYSTEM != 0)?;
    Ok(ParsedAppend { append, bodies, checked, change })
}

/// Returns the change that an append makes; without the flag it must write nothing of the system's.
fn take_change(append: &Append, is_system: bool) -> Result<Option<Change>, Malformed> {
    if is_system {
        let change = Change::of_append(append).map_err(Malformed::invalid)?;
        return change.map(Some).ok_or_else(|| Malformed::new("a change changes nothing"));
    }
    let is_users = |write: &Write| {
        !write.stream.is_system() && !write.events.iter().any(|event| event.kind.is_system())
    };
    if append.writes.iter().all(is_users) {
        return Ok(None);
    }
    Err(Malformed::new("an append writes what is the system's"))
}

fn take_write(input: &mut Input, bodies: &mut Vec<Bytes>) -> Result<Write, Malformed> {
    let (stream, expectation) = take_stream(input)?;
    let count = input.varint()?;
    let mut events = Vec::with_capacity(input.capacity(count));
    for _ in 0..count {
        let (event, body) = take_event(input.long_bytes()?)?;
        events.push(event);
        bodies.push(body);
    }
    Ok(Write { stream, expectation, events })
}

/// Takes an event, and its body as the tail keeps it; the id stands in front of the body.
fn take_event(bytes: Bytes) -> Result<(Event, Bytes), Malformed> {
    let mut input = Input::new(bytes);
    let id = input.event_id()?;
    let body = input.rest();
    Ok((event::decode(id, &body)?, body))
}

fn put_event(event: &EventRef<'_>, out: &mut Vec<u8>) {
    let length_at = out.len();
    out.put_u32(0);
    out.put(event.id.as_bytes());
    event::encode_ref(event, out);
    let length = u32::try_from(out.len() - length_at - 4).expect("checked against the limits");
    let place = out.get_mut(length_at..length_at + 4).expect("put above");
    place.copy_from_slice(&length.to_le_bytes());
}

fn put_stream(stream: &str, expectation: Expectation, out: &mut Vec<u8>) {
    out.put_short(stream.as_bytes());
    match expectation {
        Expectation::Any => out.put_u8(ANY),
        Expectation::None => out.put_u8(NONE),
        Expectation::Exists => out.put_u8(EXISTS),
        Expectation::Exactly(version) => {
            out.put_u8(EXACTLY);
            out.put_u64(version.0);
        }
    }
}

fn take_stream(input: &mut Input) -> Result<(StreamName, Expectation), Malformed> {
    let name = input.short_bytes()?;
    let name = std::str::from_utf8(&name).map_err(|_| Malformed::new("a name is not UTF-8"))?;
    let stream = StreamName::new(name).map_err(Malformed::invalid)?;
    let expectation = match input.u8()? {
        ANY => Expectation::Any,
        NONE => Expectation::None,
        EXISTS => Expectation::Exists,
        EXACTLY => Expectation::Exactly(Version(input.u64()?)),
        other => return Err(Malformed::new(format!("the expectation {other} is unknown"))),
    };
    Ok((stream, expectation))
}
