//! Commands survive being encoded, and no other bytes are taken for one.

use super::*;
use proptest::prelude::*;
use quorate_proto::{
    Condition, CorrelationId, Event, EventId, EventRef, EventType, Expectation, Query, QueryItem,
    Requirement, Scope, Tag, Write, WriteRef,
};

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
                tags: tags.iter().map(|tag| Tag::new(tag).expect("a tag")).collect(),
                content_type: text.clone(),
                schema,
                correlation_id: CorrelationId::new(&text).ok(),
                causation_id: text,
                occurred_at: occurred_at.map(Timestamp),
                ..Event::new(id, kind, data)
            }
        },
    )
}

/// Generates appends that pass [`Append::check`].
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
    let writes = (1..4_usize).prop_flat_map(move |count| (0..count).map(write).collect::<Vec<_>>());
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

fn borrowed(append: &Append) -> Option<AppendRef<'_>> {
    let writes = append.writes.iter().map(|write| WriteRef {
        stream: write.stream.as_str(),
        expectation: write.expectation,
        events: write.events.iter().map(EventRef::from).collect(),
    });
    AppendRef::new(writes.collect())
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(appends in proptest::collection::vec(any_append(), 0..4), at: i64) {
        let mut builder = Builder::new(Timestamp(at));
        for append in &appends {
            let bytes = encode_append(append);
            prop_assert_eq!(&decode_append(&bytes).expect("an append"), append);
            if append.requirements.is_empty() {
                let borrowed = borrowed(append).expect("it passes the check");
                prop_assert_eq!(encode_append_ref(&borrowed), (bytes.clone(), key_bytes(append)));
            }
            builder.push(&bytes);
        }
        prop_assert_eq!(builder.count(), appends.len());
        let size = builder.size();
        let bytes = builder.finish();
        prop_assert_eq!(bytes.len(), size);
        let command = decode(&bytes).expect("a command");
        prop_assert_eq!(command.recorded_at, Timestamp(at));
        prop_assert_eq!(command.requests.len(), appends.len());
        let requests = appends.iter().cloned().map(Request::Append);
        let key_bytes: u64 = requests.map(|request| request.key_bytes()).sum();
        prop_assert_eq!(command.key_bytes(), key_bytes);
        for (parsed, append) in command.requests.iter().zip(&appends) {
            let ParsedRequest::Append(parsed) = parsed else { panic!("an append was put") };
            prop_assert_eq!(&command.parts.to_append(parsed, &bytes).expect("an append"), append);
            prop_assert_eq!(command.parts.events_of(parsed).len(), append.event_count());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_decoded_but_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        let bytes = Bytes::from(bytes);
        let _ = decode_append(&bytes);
        let _ = decode(&bytes);
    }

    #[test]
    fn a_changed_byte_never_panics_and_a_missing_one_is_malformed(
        append in any_append(), at in any::<prop::sample::Index>(), bit in 0..8_u8
    ) {
        let mut builder = Builder::new(Timestamp(1));
        builder.push(&encode_append(&append));
        let bytes = builder.finish();
        let cut = bytes.slice(..at.index(bytes.len()));
        prop_assert!(decode(&cut).is_err());
        let mut changed = bytes.to_vec();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        let _ = decode(&Bytes::from(changed));
    }
}

fn event(id: u8) -> Event {
    let id = EventId::from_bytes([id; 16]).expect("an id");
    Event::new(id, EventType::new("Paid").expect("a type"), Bytes::new())
}

fn append(name: &str, ids: &[u8]) -> Append {
    let stream = StreamName::new(name).expect("a name");
    Append::to(stream, Expectation::Any, ids.iter().map(|id| event(*id)).collect())
}

fn command(request: &Bytes) -> Bytes {
    let mut builder = Builder::new(Timestamp(1));
    builder.push(request);
    builder.finish()
}

#[test]
fn what_a_later_build_may_add_is_malformed_here() {
    let good = command(&encode_append(&append("order-1", &[7])));
    assert!(decode(&good).is_ok());
    let kind_at = COUNT_AT + 4 + 4;
    let flags_at = kind_at + 1;
    let expectation_at = flags_at + 1 + 1 + 1 + "order-1".len();
    for (at, value) in [(0, 2), (2, 2), (kind_at, 4), (flags_at, 4), (expectation_at, 9)] {
        let mut bytes = good.to_vec();
        bytes[at] = value;
        assert!(decode(&Bytes::from(bytes)).is_err(), "byte {at}");
    }
}

fn parsed(request: &Bytes) -> ParsedAppend {
    match parse(request, request, &mut Parts::default()).expect("a request") {
        ParsedRequest::Append(parsed) => parsed,
        _ => panic!("an append was put"),
    }
}

#[test]
fn conditions_survive_and_how_far_they_were_checked_is_noted_in_the_same_bytes() {
    let mut append = append("order-1", &[7]);
    let plain = encode_append(&append);
    assert_eq!(checked(&plain, Position(9)), plain);
    let item = QueryItem {
        scope: Some(Scope::Stream(StreamName::new("order-2").expect("a name"))),
        types: vec![EventType::new("Paid").expect("a type")],
        tags: vec![Tag::new("red").expect("a tag"), Tag::new("big").expect("a tag")],
        correlation: Some(CorrelationId::new("cmd-1").expect("an id")),
    };
    let query = Query { items: vec![item, QueryItem::default()] };
    append.conditions = vec![
        Condition { query, after: Position(4) },
        Condition { query: Query::everything(), after: Position(5) },
    ];
    let request = encode_append(&append);
    assert_eq!(parsed(&request).checked, Position::ZERO);
    let noted = checked(&request, Position(u64::MAX));
    assert_eq!(noted.len(), request.len());
    assert_eq!(parsed(&noted).checked, Position(u64::MAX));
    assert_eq!(decode_request(&noted), Ok(Request::Append(append)));
}

fn is_malformed(request: &Bytes) -> bool {
    parse(request, request, &mut Parts::default()).is_err()
}

#[test]
fn what_apply_must_never_meet_is_malformed() {
    let none = Append::default();
    let twice = append("order-1", &[7, 7]);
    let mut same_stream = append("order-1", &[1]);
    same_stream.writes.extend(append("order-1", &[2]).writes);
    let system = append("$$order-1", &[3]);
    let mut required = append("order-1", &[1]);
    let expectation = Expectation::Exists;
    let stream = StreamName::new("order-1").expect("a name");
    required.requirements.push(Requirement { stream, expectation });
    let mut empty = append("order-1", &[1]);
    empty.writes.extend(append("order-2", &[]).writes);
    for append in [none, twice, same_stream, system, required, empty] {
        assert!(append.check().is_err() && is_malformed(&encode_append(&append)), "{append:?}");
    }
    let mut unmarked = encode_append(&append("order-1", &[7])).to_vec();
    unmarked[2 + 1 + 1] = b'$';
    assert!(is_malformed(&Bytes::from(unmarked)), "a stream of the system, without the flag");
}

#[test]
fn a_checkpoint_is_a_command_of_its_own() {
    let bytes = checkpoint(Timestamp(7));
    let command = decode(&bytes).expect("it decodes");
    assert!(command.is_boundary && command.requests.is_empty());
    assert_eq!(command.recorded_at, Timestamp(7));
    for length in 0..bytes.len() {
        assert!(decode(&bytes.slice(..length)).is_err(), "cut at {length}");
    }
    assert!(!decode(&Builder::new(Timestamp(7)).finish()).expect("it decodes").is_boundary);
}
