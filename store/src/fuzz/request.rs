//! The decoders of commands and their parts, which come from other nodes and from the Raft log.

use bytes::Bytes;
use quorate_proto::{
    Append, Category, Change, ChangeKind, Condition, CorrelationId, Event, EventId, EventType,
    Expectation, Failed, GroupDefinition, GroupName, GroupProgress, GroupRequest, GroupSettings,
    LogIndex, Parked, Position, Query, QueryItem, RequestId, Requirement, Scope, Selection,
    Setting, SettingsChange, Snapshot, StreamName, Tag, Term, Timestamp, Version,
};

use super::Target;
use crate::format::{command, event};

pub(super) const TARGETS: [Target; 3] = [
    ("a command", command, commands),
    ("a request of a command", request, requests),
    ("the body of an event", body, bodies),
];

fn command(bytes: &[u8]) {
    let _ = command::decode(&Bytes::copy_from_slice(bytes));
}

fn commands() -> Vec<Vec<u8>> {
    let mut builder = command::Builder::new(Timestamp(1_000));
    requests().into_iter().for_each(|request| builder.push(&Bytes::from(request)));
    vec![builder.finish().to_vec()]
}

fn request(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = command::decode_request(&bytes);
    let _ = command::decode_request(&command::checked(&bytes, Position(7)));
}

fn requests() -> Vec<Vec<u8>> {
    let snapshot = Snapshot {
        stream: stream("acme/order-42"),
        version: Version(3),
        schema: 2,
        data: Bytes::from_static(b"state"),
    };
    let requests = [
        command::encode_append(&append()),
        command::encode_append(&change()),
        command::encode_snapshot(&snapshot),
    ];
    requests.iter().chain(&of_groups()).map(|request| request.to_vec()).collect()
}

fn of_groups() -> Vec<Bytes> {
    let name = GroupName::new("billing").expect("a name");
    let positions = || Selection::Positions(vec![Position(4), Position(300)]);
    let asked = [
        GroupRequest::Create(group_definition()),
        GroupRequest::Configure(GroupSettings::default()),
        GroupRequest::Delete,
        GroupRequest::Reset(Position(7)),
        GroupRequest::Replay(positions()),
        GroupRequest::Drop(Selection::All),
    ];
    let mut requests: Vec<Bytes> =
        asked.iter().map(|request| command::encode_group(&name, None, request)).collect();
    let id = Some(RequestId([7; 16]));
    requests.push(command::encode_group(&name, id, &GroupRequest::Delete));
    let progress = GroupProgress {
        incarnation: LogIndex(3),
        floor: Position(4),
        settled: vec![Position(6)],
        failed: vec![Failed { position: Position(5), attempts: 2, due: Timestamp(8) }],
        parked: vec![parked()],
    };
    requests.push(command::encode_group_progress(&name, Term(1), &progress));
    requests
}

pub(super) fn group_definition() -> GroupDefinition {
    let query = append().conditions.remove(0).query;
    GroupDefinition { query, after: Position(9), settings: GroupSettings::default() }
}

pub(super) fn parked() -> Parked {
    let (reason, parked_at) = ("no such account".to_owned(), Timestamp(70));
    Parked { position: Position(300), attempts: 10, reason, parked_at }
}

fn body(bytes: &[u8]) {
    let (body, id) = (Bytes::copy_from_slice(bytes), full_event(1).id);
    let whole = event::decode(id, &body);
    let _ = event::labels(&body);
    let _ = event::kind(&body);
    if let Ok(decoded) = whole {
        let mut again = Vec::new();
        event::encode(&decoded, &mut again);
        assert_eq!(event::decode(id, &again.into()), Ok(decoded), "it is another one now");
    }
}

fn bodies() -> Vec<Vec<u8>> {
    let plain = Event::new(full_event(1).id, kind(), Bytes::from_static(b"{}"));
    [plain, full_event(2)].iter().map(encode_body).collect()
}

pub(super) fn encode_body(one: &Event) -> Vec<u8> {
    let mut body = Vec::new();
    event::encode(one, &mut body);
    body
}

/// Returns an event that has every field.
pub(super) fn full_event(number: u64) -> Event {
    let id = EventId::from_bytes([number.to_be_bytes(); 2].concat().try_into().expect("16 bytes"))
        .expect("not nil");
    Event {
        metadata: Bytes::from_static(b"meta"),
        tags: ["customer:7", "eu"].map(|tag| Tag::new(tag).expect("a tag")).into(),
        content_type: "application/json".to_owned(),
        schema: 3,
        correlation_id: CorrelationId::new("cmd-91").ok(),
        causation_id: "evt-1".to_owned(),
        occurred_at: Some(Timestamp(-5)),
        ..Event::new(id, kind(), Bytes::from_static(br#"{"total":50,"lines":[1,1,1,1,1,1]}"#))
    }
}

pub(super) fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

fn kind() -> EventType {
    EventType::new("OrderPaid").expect("a type")
}

fn append() -> Append {
    let events = vec![full_event(3), full_event(4)];
    let mut append = Append::to(stream("order-42"), Expectation::Exactly(Version(7)), events);
    let expectation = Expectation::Exists;
    append.requirements.push(Requirement { stream: stream("limits-7"), expectation });
    let item = QueryItem {
        scope: Some(Scope::Category(Category::new("order").expect("a name"))),
        types: vec![kind()],
        tags: vec![Tag::new("customer:7").expect("a tag")],
        correlation: Some(CorrelationId::new("cmd-91").expect("an id")),
    };
    let query = Query { items: vec![QueryItem::default(), item] };
    append.conditions.push(Condition { query, after: Position(9) });
    append
}

fn change() -> Append {
    let settings = SettingsChange { max_count: Setting::Put(5), ..SettingsChange::default() };
    let scope = Scope::Stream(stream("order-42"));
    let (expectation, kind) = (Expectation::Any, ChangeKind::Settings(settings));
    let change = Change { scope, expectation, id: full_event(5).id, kind };
    change.to_append().expect("something is changed")
}
