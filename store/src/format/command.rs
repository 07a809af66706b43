//! Commands: what a log entry asks the store to do. One kind so far: appends.
//!
//! ```text
//! command      kind 2 (1 = appends), version 2 (1), recorded_at 8, count 4, appends
//! append       length 4, flags 1 (none yet), writes, requirements
//! writes       count (varint); each: stream 1 + n, expectation, events (varint), bodies 4 + n each
//! requirements count (varint); each: stream 1 + n, expectation
//! expectation  1 (0 any, 1 none, 2 exists, 3 exactly, and then 8 more: the version)
//! ```
//!
//! Flag 1 is kept for "checked through C" and conditions, which will stand after the requirements. What
//! this build does not know, be it a kind, a version, a flag or an expectation, is malformed: to skip it
//! would make replicas differ. A body is as `format::event` has it, so that the tail keeps slices.

use std::collections::HashSet;

use bytes::Bytes;
use quorate_proto::{
    Append, Event, EventId, Expectation, Invalid, Requirement, StreamName, Timestamp, Version,
    Write,
};

use super::{Input, Malformed, Output, event};

const KIND_APPENDS: u16 = 1;
const VERSION: u16 = 1;
const COUNT_AT: usize = 2 + 2 + 8;
const NO_FLAGS: u8 = 0;

const ANY: u8 = 0;
const NONE: u8 = 1;
const EXISTS: u8 = 2;
const EXACTLY: u8 = 3;

/// The bytes of an append that passed [`Append::check`]: made once per request, then only copied.
pub fn encode_append(append: &Append) -> Bytes {
    let mut out = Vec::with_capacity(append.size() + 16);
    out.put_u8(NO_FLAGS);
    out.put_varint(append.writes.len() as u64);
    for write in &append.writes {
        put_stream(&write.stream, write.expectation, &mut out);
        out.put_varint(write.events.len() as u64);
        for event in &write.events {
            put_body(event, &mut out);
        }
    }
    out.put_varint(append.requirements.len() as u64);
    for requirement in &append.requirements {
        put_stream(&requirement.stream, requirement.expectation, &mut out);
    }
    Bytes::from(out)
}

/// The append in bytes that came from elsewhere, checked by [`Append::check`]. `data` and `metadata` are
/// slices of `bytes`.
pub fn decode_append(bytes: &Bytes) -> Result<Append, Invalid> {
    let parsed = parse_append(bytes.clone())
        .map_err(|malformed| Invalid::new("append", format!("does not decode: {malformed}")))?;
    let mut events = parsed.events.into_iter().map(|parsed| parsed.event);
    let writes = parsed.writes.into_iter().map(|write| Write {
        stream: write.stream,
        expectation: write.expectation,
        events: events.by_ref().take(write.events).collect(),
    });
    let append =
        Append { writes: writes.collect(), requirements: parsed.requirements, ..Append::default() };
    append.check()?;
    Ok(append)
}

/// Puts encoded appends together to one command.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    count: u32,
}

impl Builder {
    /// Bytes that an append takes beside its own.
    pub const BYTES_PER_APPEND: usize = 4;

    /// An empty command, stamped with the time of the leader.
    pub fn new(recorded_at: Timestamp) -> Builder {
        let mut bytes = Vec::new();
        bytes.put_u16(KIND_APPENDS);
        bytes.put_u16(VERSION);
        bytes.put_i64(recorded_at.0);
        bytes.put_u32(0);
        Builder { bytes, count: 0 }
    }

    /// Adds what [`encode_append`] made.
    pub fn push(&mut self, append: &Bytes) {
        self.bytes.put_long(append);
        self.count += 1;
    }

    /// Bytes of the command so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many appends there are.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The command, for [`crate::Payload::Command`].
    pub fn finish(mut self) -> Bytes {
        let count = self.bytes.get_mut(COUNT_AT..COUNT_AT + 4).expect("put by `new`");
        count.copy_from_slice(&self.count.to_le_bytes());
        Bytes::from(self.bytes)
    }
}

/// A command as it is applied.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) recorded_at: Timestamp,
    pub(crate) appends: Vec<ParsedAppend>,
}

/// An append as it is applied; bodies are slices of the command.
#[derive(Debug)]
pub(crate) struct ParsedAppend {
    pub(crate) writes: Vec<ParsedWrite>,
    pub(crate) requirements: Vec<Requirement>,
    /// The events of all writes, in their order.
    pub(crate) events: Vec<ParsedEvent>,
}

/// A write, but for its events.
#[derive(Debug)]
pub(crate) struct ParsedWrite {
    pub(crate) stream: StreamName,
    pub(crate) expectation: Expectation,
    /// How many of the events are this write's; at least one.
    pub(crate) events: usize,
}

/// An event and the body that it was decoded from.
#[derive(Debug)]
pub(crate) struct ParsedEvent {
    pub(crate) event: Event,
    pub(crate) body: Bytes,
}

impl ParsedEvent {
    pub(crate) fn id(&self) -> EventId {
        self.event.id
    }
}

/// A command from the log.
pub(crate) fn decode(bytes: Bytes) -> Result<Command, Malformed> {
    let mut input = Input::new(bytes);
    let (kind, version) = (input.u16()?, input.u16()?);
    if (kind, version) != (KIND_APPENDS, VERSION) {
        return Err(Malformed::new(format!("kind {kind}, version {version} is unknown")));
    }
    let recorded_at = Timestamp(input.i64()?);
    let count = input.u32()?;
    let mut appends = Vec::with_capacity(bounded(u64::from(count), &input));
    for _ in 0..count {
        appends.push(parse_append(input.long_bytes()?)?);
    }
    input.end()?;
    Ok(Command { recorded_at, appends })
}

fn parse_append(bytes: Bytes) -> Result<ParsedAppend, Malformed> {
    let mut input = Input::new(bytes);
    let flags = input.u8()?;
    if flags != NO_FLAGS {
        return Err(Malformed::new(format!("an append has the unknown flags {flags:#x}")));
    }
    let write_count = input.varint()?;
    let mut writes = Vec::with_capacity(bounded(write_count, &input));
    let mut events = Vec::new();
    for _ in 0..write_count {
        let (stream, expectation) = take_stream(&mut input)?;
        let event_count = input.varint()?;
        if event_count == 0 {
            return Err(Malformed::new("a write has no event"));
        }
        events.reserve(bounded(event_count, &input));
        for _ in 0..event_count {
            let body = input.long_bytes()?;
            events.push(ParsedEvent { event: event::decode(&body)?, body });
        }
        let events = usize::try_from(event_count).map_err(|_| Malformed::new("ends too early"))?;
        writes.push(ParsedWrite { stream, expectation, events });
    }
    let requirement_count = input.varint()?;
    let mut requirements = Vec::with_capacity(bounded(requirement_count, &input));
    for _ in 0..requirement_count {
        let (stream, expectation) = take_stream(&mut input)?;
        requirements.push(Requirement { stream, expectation });
    }
    input.end()?;
    check_distinct(&writes, &requirements)?;
    Ok(ParsedAppend { writes, requirements, events })
}

/// Two writes to one stream would give its versions twice.
fn check_distinct(writes: &[ParsedWrite], requirements: &[Requirement]) -> Result<(), Malformed> {
    if writes.len() + requirements.len() == 1 {
        return Ok(());
    }
    let written = writes.iter().map(|write| &write.stream);
    let mut streams = HashSet::new();
    for stream in written.chain(requirements.iter().map(|one| &one.stream)) {
        if !streams.insert(stream) {
            return Err(Malformed::new(format!("an append names `{stream}` twice")));
        }
    }
    Ok(())
}

/// Room for what is counted, but never more than the input could hold.
fn bounded(count: u64, input: &Input) -> usize {
    const BYTES_MIN: usize = 8;
    usize::try_from(count).unwrap_or(usize::MAX).min(input.remaining() / BYTES_MIN + 1)
}

fn put_body(event: &Event, out: &mut Vec<u8>) {
    let length_at = out.len();
    out.put_u32(0);
    event::encode(event, out);
    let length = u32::try_from(out.len() - length_at - 4).expect("checked against the limits");
    let place = out.get_mut(length_at..length_at + 4).expect("put above");
    place.copy_from_slice(&length.to_le_bytes());
}

fn put_stream(stream: &StreamName, expectation: Expectation, out: &mut Vec<u8>) {
    out.put_short(stream.as_str().as_bytes());
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
    let stream = StreamName::new(name).map_err(|invalid| Malformed::new(invalid.to_string()))?;
    let expectation = match input.u8()? {
        ANY => Expectation::Any,
        NONE => Expectation::None,
        EXISTS => Expectation::Exists,
        EXACTLY => Expectation::Exactly(Version(input.u64()?)),
        other => return Err(Malformed::new(format!("the expectation {other} is unknown"))),
    };
    Ok((stream, expectation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quorate_proto::EventType;

    fn any_expectation() -> impl Strategy<Value = Expectation> {
        prop_oneof![
            Just(Expectation::Any),
            Just(Expectation::None),
            Just(Expectation::Exists),
            any::<u64>().prop_map(|version| Expectation::Exactly(Version(version))),
        ]
    }

    fn any_event(seed: u128) -> impl Strategy<Value = Event> {
        let tags = proptest::collection::btree_set("[a-z:]{1,8}", 0..3);
        let occurred_at = proptest::option::of(-1_000_000_000_i64..1_000_000_000);
        let data = proptest::collection::vec(any::<u8>(), 0..50);
        let metadata = proptest::collection::vec(any::<u8>(), 0..20);
        ("[A-Z][a-z]{0,9}", data, metadata, tags, occurred_at, "[a-z]{0,5}", 1_u32..9).prop_map(
            move |(kind, data, metadata, tags, occurred_at, text, schema)| {
                let id = EventId::from_bytes(seed.to_be_bytes()).expect("not nil");
                let kind = EventType::new(kind).expect("a type");
                Event {
                    metadata: metadata.into(),
                    tags: tags.into_iter().collect(),
                    content_type: text.clone(),
                    schema,
                    correlation_id: text.clone(),
                    causation_id: text,
                    occurred_at: occurred_at.map(Timestamp),
                    ..Event::new(id, kind, data)
                }
            },
        )
    }

    /// Appends that pass [`Append::check`].
    fn any_append() -> impl Strategy<Value = Append> {
        let write = |at: usize| {
            let events = (1..4_usize)
                .prop_flat_map(move |count| {
                    (0..count).map(|n| any_event((at * 10 + n + 1) as u128)).collect::<Vec<_>>()
                })
                .boxed();
            (any_expectation(), events).prop_map(move |(expectation, events)| {
                let stream = StreamName::new(format!("tenant/thing-{at}")).expect("a name");
                Write { stream, expectation, events }
            })
        };
        let writes =
            (1..4_usize).prop_flat_map(move |count| (0..count).map(write).collect::<Vec<_>>());
        let requirements = proptest::collection::vec(any_expectation(), 0..3);
        (writes, requirements).prop_map(|(writes, requirements)| {
            let require = |(at, expectation)| Requirement {
                stream: StreamName::new(format!("required-{at}")).expect("a name"),
                expectation,
            };
            Append {
                writes,
                requirements: requirements.into_iter().enumerate().map(require).collect(),
                ..Append::default()
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(appends in proptest::collection::vec(any_append(), 0..4), at: i64) {
            let mut builder = Builder::new(Timestamp(at));
            for append in &appends {
                let bytes = encode_append(append);
                prop_assert_eq!(&decode_append(&bytes).expect("an append"), append);
                builder.push(&bytes);
            }
            prop_assert_eq!(builder.count(), appends.len());
            let size = builder.size();
            let bytes = builder.finish();
            prop_assert_eq!(bytes.len(), size);
            let command = decode(bytes).expect("a command");
            prop_assert_eq!(command.recorded_at, Timestamp(at));
            prop_assert_eq!(command.appends.len(), appends.len());
            for (parsed, append) in command.appends.iter().zip(&appends) {
                let events: Vec<&Event> = append.writes.iter().flat_map(|write| &write.events).collect();
                prop_assert_eq!(parsed.events.iter().map(|one| &one.event).collect::<Vec<_>>(), events);
                prop_assert_eq!(&parsed.requirements, &append.requirements);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_decoded_but_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let bytes = Bytes::from(bytes);
            let _ = decode_append(&bytes);
            let _ = decode(bytes);
        }

        #[test]
        fn a_changed_byte_never_panics_and_a_missing_one_is_malformed(
            append in any_append(), at in any::<prop::sample::Index>(), bit in 0..8_u8
        ) {
            let mut builder = Builder::new(Timestamp(1));
            builder.push(&encode_append(&append));
            let bytes = builder.finish();
            let cut = bytes.slice(..at.index(bytes.len()));
            prop_assert!(decode(cut).is_err());
            let mut changed = bytes.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            let _ = decode(Bytes::from(changed));
        }
    }

    #[test]
    fn what_a_later_build_may_add_is_malformed_here() {
        let event = Event::new(
            EventId::from_bytes([7; 16]).expect("an id"),
            EventType::new("Paid").expect("a type"),
            Bytes::new(),
        );
        let stream = StreamName::new("order-1").expect("a name");
        let append = Append::to(stream, Expectation::Any, vec![event]);
        let mut builder = Builder::new(Timestamp(1));
        builder.push(&encode_append(&append));
        let good = builder.finish();
        assert!(decode(good.clone()).is_ok());
        let flags_at = COUNT_AT + 4 + 4;
        let expectation_at = flags_at + 1 + 1 + 1 + "order-1".len();
        for (at, value) in [(0, 2), (2, 2), (flags_at, 1), (expectation_at, 9)] {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            assert!(decode(Bytes::from(bytes)).is_err(), "byte {at}");
        }
    }
}
