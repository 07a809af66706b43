//! An append within a command.

use std::ops::Range;

use bytes::Bytes;
use quorate_proto::{
    Append, AppendRef, Change, Condition, EventId, EventRef, Expectation, Position, Requirement,
    StreamName, Version, Write,
};

use super::condition;
use crate::format::event::Labels;
use crate::format::{Input, Key, Malformed, Output, event, text};

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

/// An append as apply takes it; its streams and events are among the [`Parts`] of its command.
///
/// Invariants: it passes [`Append::check_shape`], and its texts are checked; it writes to a stream of the system
/// exactly if there is a `change`, and is the append that this makes.
#[derive(Debug)]
pub(crate) struct ParsedAppend {
    pub(super) aims: Range<usize>,
    pub(super) events: Range<usize>,
    pub(crate) conditions: Vec<Condition>,
    /// The position up to which no event violates one of the conditions.
    pub(crate) checked: Position,
    pub(crate) change: Option<Change>,
}

/// The streams and events of all appends of a command, one append after the other: no append has lists of its own.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    pub(super) aims: Vec<Aim<'a>>,
    pub(super) ids: Vec<EventId>,
    pub(super) events: Vec<ParsedEvent<'a>>,
    /// The number of keys that all of them count towards the chunk size.
    pub(super) keys: u64,
}

/// A stream that an append names, and what it expects of the stream: the written ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aim<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expectation: Expectation,
    /// The number of events that are written to the stream; 0 if it is only required.
    pub(crate) events: usize,
}

impl Aim<'_> {
    /// Returns true if the append writes to the stream.
    pub(crate) fn is_written(&self) -> bool {
        self.events > 0
    }

    /// Returns true if the stream is the system's.
    pub(crate) fn is_system(&self) -> bool {
        self.stream.starts_with('$')
    }
}

/// An event of an append, beside its id: parts of the bytes of the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParsedEvent<'a> {
    /// The body as the tail keeps it.
    pub(crate) body: &'a [u8],
    pub(crate) labels: Labels<'a>,
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

/// Takes an append, whose bytes are a part of `whole`, and adds its parts.
pub(super) fn parse<'a>(
    mut input: Input<&'a [u8]>,
    whole: &Bytes,
    parts: &mut Parts<'a>,
) -> Result<ParsedAppend, Malformed> {
    let flags = input.u8()?;
    if flags & !KNOWN != 0 {
        return Err(Malformed::new(format!("an append has the unknown flags {flags:#x}")));
    }
    let mut checked = Position::ZERO;
    let mut conditions = Vec::new();
    if flags & CONDITIONS != 0 {
        checked = Position(input.u64()?);
        conditions = condition::take(&mut input)?;
    }
    let (first_aim, first_event) = (parts.aims.len(), parts.events.len());
    for _ in 0..input.varint()? {
        take_write(&mut input, parts)?;
    }
    let writes = parts.aims.len() - first_aim;
    for _ in 0..input.varint()? {
        let (stream, expectation) = take_stream(&mut input)?;
        parts.aims.push(Aim { stream, expectation, events: 0 });
        parts.keys += 1;
    }
    input.end()?;
    let (aims, events) = (first_aim..parts.aims.len(), first_event..parts.events.len());
    let mut append = ParsedAppend { aims, events, conditions, checked, change: None };
    check_shape(&append, writes, parts)?;
    append.change = take_change(&append, flags & SYSTEM != 0, whole, parts)?;
    Ok(append)
}

/// Checks what [`Append::check_shape`] does, and that only written streams have events.
fn check_shape(append: &ParsedAppend, writes: usize, parts: &Parts<'_>) -> Result<(), Malformed> {
    let aims = parts.aims_of(append);
    let Some(written) = aims.get(..writes).filter(|written| !written.is_empty()) else {
        return Err(Malformed::new("an append writes nothing"));
    };
    if !written.iter().all(Aim::is_written) {
        return Err(Malformed::new("an append writes no event to a stream"));
    }
    if !are_distinct(aims.iter().map(|aim| aim.stream)) {
        return Err(Malformed::new("an append names a stream twice"));
    }
    if !are_distinct(parts.ids_of(append)) {
        return Err(Malformed::new("an append has an id twice"));
    }
    Ok(())
}

fn are_distinct<T: Ord>(all: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> bool {
    let all = all.into_iter();
    if all.len() < 2 {
        return true;
    }
    let mut sorted: Vec<T> = all.collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair.first() != pair.last())
}

/// Returns the change that an append makes; without the flag it must write nothing of the system's.
fn take_change(
    append: &ParsedAppend,
    is_system: bool,
    whole: &Bytes,
    parts: &Parts<'_>,
) -> Result<Option<Change>, Malformed> {
    if is_system {
        let append = parts.to_append(append, whole)?;
        let change = Change::of_append(&append).map_err(Malformed::invalid)?;
        return change.map(Some).ok_or_else(|| Malformed::new("a change changes nothing"));
    }
    let is_systems = |aim: &Aim<'_>| aim.is_written() && aim.is_system();
    let has_system_type = |event: &ParsedEvent<'_>| event.labels.is_system();
    if parts.aims_of(append).iter().any(is_systems)
        || parts.events_of(append).iter().any(has_system_type)
    {
        return Err(Malformed::new("an append writes what is the system's"));
    }
    Ok(None)
}

impl<'a> Parts<'a> {
    /// Makes lists with room for appends of one event each.
    pub(super) fn with_capacity(appends: usize) -> Parts<'a> {
        Parts {
            aims: Vec::with_capacity(appends),
            ids: Vec::with_capacity(appends),
            events: Vec::with_capacity(appends),
            keys: 0,
        }
    }

    /// Returns the streams that an append names, the written ones first.
    pub(crate) fn aims_of(&self, append: &ParsedAppend) -> &[Aim<'a>] {
        self.aims.get(append.aims.clone()).unwrap_or_default()
    }

    /// Returns the ids of the events of an append.
    pub(crate) fn ids_of(&self, append: &ParsedAppend) -> &[EventId] {
        self.ids.get(append.events.clone()).unwrap_or_default()
    }

    /// Returns the events of an append.
    pub(crate) fn events_of(&self, append: &ParsedAppend) -> &[ParsedEvent<'a>] {
        self.events.get(append.events.clone()).unwrap_or_default()
    }

    /// Returns the append as its writer made it; payloads are slices of `whole`.
    pub(super) fn to_append(
        &self,
        append: &ParsedAppend,
        whole: &Bytes,
    ) -> Result<Append, Malformed> {
        let mut made = Append { conditions: append.conditions.clone(), ..Append::default() };
        let mut events = self.ids_of(append).iter().zip(self.events_of(append));
        for Aim { stream, expectation, events: count } in self.aims_of(append).iter().copied() {
            let stream = StreamName::new(stream).map_err(Malformed::invalid)?;
            if count == 0 {
                made.requirements.push(Requirement { stream, expectation });
                continue;
            }
            let decode = |(id, event): (&EventId, &ParsedEvent<'_>)| {
                event::decode(*id, &whole.slice_ref(event.body))
            };
            let events = events.by_ref().take(count).map(decode).collect::<Result<_, _>>()?;
            made.writes.push(Write { stream, expectation, events });
        }
        Ok(made)
    }
}

fn take_write<'a>(input: &mut Input<&'a [u8]>, parts: &mut Parts<'a>) -> Result<(), Malformed> {
    let (stream, expectation) = take_stream(input)?;
    let count = input.varint()?;
    let first = parts.events.len();
    let of_stream = Key::count_of_stream(stream);
    parts.ids.reserve(input.capacity(count));
    parts.events.reserve(input.capacity(count));
    for _ in 0..count {
        let mut event = Input::new(input.long_bytes()?);
        let id = event.event_id()?;
        let body = event.rest();
        let labels = event::labels(body)?;
        parts.keys += of_stream + labels.count_for(stream);
        parts.ids.push(id);
        parts.events.push(ParsedEvent { body, labels });
    }
    parts.aims.push(Aim { stream, expectation, events: parts.events.len() - first });
    Ok(())
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

fn take_stream<'a>(input: &mut Input<&'a [u8]>) -> Result<(&'a str, Expectation), Malformed> {
    let stream = text(input.short_bytes()?)?;
    StreamName::check(stream).map_err(Malformed::invalid)?;
    let expectation = match input.u8()? {
        ANY => Expectation::Any,
        NONE => Expectation::None,
        EXISTS => Expectation::Exists,
        EXACTLY => Expectation::Exactly(Version(input.u64()?)),
        other => return Err(Malformed::new(format!("the expectation {other} is unknown"))),
    };
    Ok((stream, expectation))
}
