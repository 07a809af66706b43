//! A request to a consumer group within a command.

use quorate_proto::limits::GROUP_CHANGE_POSITIONS_MAX;
use quorate_proto::{
    Failed, GroupName, GroupProgress, GroupRequest, LogIndex, Parked, Position, RequestId,
    Selection, Term, Timestamp,
};

use crate::format::bytes::text;
use crate::format::group::{put_definition, put_settings, take_definition, take_settings};
use crate::format::{Input, Malformed, Output};

const CREATE: u8 = 1;
const CONFIGURE: u8 = 2;
const DELETE: u8 = 3;
const RESET: u8 = 4;
const REPLAY: u8 = 5;
const DROP: u8 = 6;
const PROGRESS: u8 = 7;
/// The flag of a request that an id follows.
const WITH_ID: u8 = 0x80;

const ALL: u8 = 0;
const POSITIONS: u8 = 1;

/// A request to a consumer group as apply takes it. Invariant: it passes [`GroupRequest::check`].
#[derive(Debug)]
pub(crate) struct ParsedGroup {
    pub(crate) name: GroupName,
    /// For progress the term in which its sender led.
    pub(crate) term: Term,
    /// The request's id; `None` for progress.
    pub(crate) id: Option<RequestId>,
    pub(crate) request: GroupRequest,
}

pub(super) fn encode(
    name: &GroupName,
    id: Option<RequestId>,
    request: &GroupRequest,
    out: &mut Vec<u8>,
) {
    out.put_short(name.as_str().as_bytes());
    let what = match request {
        GroupRequest::Create(_) => CREATE,
        GroupRequest::Configure(_) => CONFIGURE,
        GroupRequest::Delete => DELETE,
        GroupRequest::Reset(_) => RESET,
        GroupRequest::Replay(_) => REPLAY,
        GroupRequest::Drop(_) => DROP,
        GroupRequest::Progress(_) => PROGRESS,
    };
    match id {
        None => out.put_u8(what),
        Some(RequestId(id)) => {
            out.put_u8(what | WITH_ID);
            out.put(&id);
        }
    }
    match request {
        GroupRequest::Create(definition) => put_definition(definition, out),
        GroupRequest::Configure(settings) => put_settings(settings, out),
        GroupRequest::Delete => {}
        GroupRequest::Reset(after) => out.put_u64(after.0),
        GroupRequest::Replay(selection) | GroupRequest::Drop(selection) => {
            put_selection(selection, out);
        }
        GroupRequest::Progress(progress) => put_progress(Term::ZERO, progress, out),
    }
}

/// Encodes progress; `term` is the term in which the sender leads.
pub(super) fn encode_progress(
    name: &GroupName,
    term: Term,
    progress: &GroupProgress,
    out: &mut Vec<u8>,
) {
    out.put_short(name.as_str().as_bytes());
    out.put_u8(PROGRESS);
    put_progress(term, progress, out);
}

pub(super) fn parse(mut input: Input) -> Result<ParsedGroup, Malformed> {
    let name = GroupName::new(input.short_text()?).map_err(Malformed::invalid)?;
    let mut term = Term::default();
    let what = input.u8()?;
    let id = match what & WITH_ID {
        0 => None,
        _ => RequestId::from_slice(&input.take(16)?).map_err(Malformed::invalid)?,
    };
    let request = match what & !WITH_ID {
        CREATE => GroupRequest::Create(take_definition(&mut input)?),
        CONFIGURE => GroupRequest::Configure(take_settings(&mut input)?),
        DELETE => GroupRequest::Delete,
        RESET => GroupRequest::Reset(Position(input.u64()?)),
        REPLAY => GroupRequest::Replay(take_selection(&mut input)?),
        DROP => GroupRequest::Drop(take_selection(&mut input)?),
        PROGRESS if id.is_none() => {
            term = Term(input.u64()?);
            GroupRequest::Progress(take_progress(&mut input)?)
        }
        other => return Err(Malformed::new(format!("a group is asked for the unknown {other}"))),
    };
    input.end()?;
    request.check().map_err(Malformed::invalid)?;
    Ok(ParsedGroup { name, term, id, request })
}

fn put_selection(selection: &Selection, out: &mut Vec<u8>) {
    match selection {
        Selection::All => out.put_u8(ALL),
        Selection::Positions(positions) => {
            out.put_u8(POSITIONS);
            put_positions(positions, out);
        }
    }
}

fn take_selection(input: &mut Input) -> Result<Selection, Malformed> {
    match input.u8()? {
        ALL => Ok(Selection::All),
        POSITIONS => take_list(input, take_position).map(Selection::Positions),
        other => Err(Malformed::new(format!("the selection {other} is unknown"))),
    }
}

fn put_progress(term: Term, progress: &GroupProgress, out: &mut Vec<u8>) {
    out.put_u64(term.0);
    let GroupProgress { incarnation, floor, settled, failed, parked } = progress;
    out.put_u64(incarnation.0);
    out.put_u64(floor.0);
    put_positions(settled, out);
    out.put_varint(failed.len() as u64);
    for Failed { position, attempts, due } in failed {
        out.put_varint(position.0);
        out.put_u32(*attempts);
        out.put_i64(due.0);
    }
    out.put_varint(parked.len() as u64);
    for Parked { position, attempts, reason, .. } in parked {
        out.put_varint(position.0);
        out.put_u32(*attempts);
        out.put_varint(reason.len() as u64);
        out.put(reason.as_bytes());
    }
}

fn take_progress(input: &mut Input) -> Result<GroupProgress, Malformed> {
    Ok(GroupProgress {
        incarnation: LogIndex(input.u64()?),
        floor: Position(input.u64()?),
        settled: take_list(input, take_position)?,
        failed: take_list(input, |input| {
            let (position, attempts) = (take_position(input)?, input.u32()?);
            Ok(Failed { position, attempts, due: Timestamp(input.i64()?) })
        })?,
        parked: take_list(input, take_parked)?,
    })
}

/// Takes a parked event without its time, which apply sets.
fn take_parked(input: &mut Input) -> Result<Parked, Malformed> {
    let (position, attempts) = (take_position(input)?, input.u32()?);
    let length = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
    let reason = text(&input.take(length)?)?.to_owned();
    Ok(Parked { position, attempts, reason, parked_at: Timestamp::default() })
}

fn put_positions(positions: &[Position], out: &mut Vec<u8>) {
    out.put_varint(positions.len() as u64);
    positions.iter().for_each(|position| out.put_varint(position.0));
}

fn take_position(input: &mut Input) -> Result<Position, Malformed> {
    input.varint().map(Position)
}

fn take_list<T>(
    input: &mut Input,
    mut take: impl FnMut(&mut Input) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = input.varint()?;
    if count > GROUP_CHANGE_POSITIONS_MAX as u64 {
        return Err(Malformed::new(format!("a change of a group speaks of {count} positions")));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take(input)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use quorate_proto::limits::REASON_BYTES_MAX;
    use quorate_proto::{
        Category, GroupDefinition, GroupSettings, Query, QueryItem, Scope, Strategy as Sharing, Tag,
    };

    use super::super::{
        Builder, ParsedRequest, Parts, Request, decode, decode_request, encode_group,
        encode_group_progress, parse as parse_request,
    };
    use super::*;

    fn any_settings() -> impl Strategy<Value = GroupSettings> {
        let sharing = prop::sample::select(Sharing::ALL.to_vec());
        (sharing, 10..1_000_000_u64, 1..100_u32, 0..1_000_000_u64, 1..65_536_u32).prop_map(
            |(strategy, timeout_ms, attempts_max, retry_delay_ms, window)| GroupSettings {
                strategy,
                timeout_ms,
                attempts_max,
                retry_delay_ms,
                window,
            },
        )
    }

    fn any_definition() -> impl Strategy<Value = GroupDefinition> {
        let query = prop_oneof![
            Just(Query::everything()),
            "[a-z]{1,9}".prop_map(|name| {
                let scope = Some(Scope::Category(Category::new(name).expect("a category")));
                let tags = vec![Tag::new("eu").expect("a tag")];
                Query { items: vec![QueryItem { scope, tags, ..QueryItem::default() }] }
            }),
        ];
        (query, any::<u64>(), any_settings()).prop_map(|(query, after, settings)| GroupDefinition {
            query,
            after: Position(after),
            settings,
        })
    }

    fn any_positions() -> impl Strategy<Value = Vec<Position>> {
        prop::collection::vec(any::<u64>().prop_map(Position), 0..5)
    }

    fn any_selection() -> impl Strategy<Value = Selection> {
        prop_oneof![Just(Selection::All), any_positions().prop_map(Selection::Positions)]
    }

    fn any_progress() -> impl Strategy<Value = GroupProgress> {
        let failed =
            (any::<u64>(), any::<u32>(), any::<i64>()).prop_map(|(position, attempts, due)| {
                Failed { position: Position(position), attempts, due: Timestamp(due) }
            });
        let parked =
            (any::<u64>(), any::<u32>(), ".{0,20}").prop_map(|(position, attempts, reason)| {
                Parked { position: Position(position), attempts, reason, parked_at: Timestamp(0) }
            });
        let failed = prop::collection::vec(failed, 0..4);
        let parked = prop::collection::vec(parked, 0..4);
        (any::<u64>(), any::<u64>(), any_positions(), failed, parked).prop_map(
            |(incarnation, floor, settled, failed, parked)| GroupProgress {
                incarnation: LogIndex(incarnation),
                floor: Position(floor),
                settled,
                failed,
                parked,
            },
        )
    }

    fn any_request() -> impl Strategy<Value = GroupRequest> {
        prop_oneof![
            any_definition().prop_map(GroupRequest::Create),
            any_settings().prop_map(GroupRequest::Configure),
            Just(GroupRequest::Delete),
            any::<u64>().prop_map(|after| GroupRequest::Reset(Position(after))),
            any_selection().prop_map(GroupRequest::Replay),
            any_selection().prop_map(GroupRequest::Drop),
        ]
    }

    fn name() -> GroupName {
        GroupName::new("billing").expect("a name")
    }

    fn parse_bytes(request: Bytes) -> Result<ParsedRequest, Malformed> {
        parse_request(&request, &request, &mut Parts::default())
    }

    fn parsed(request: Bytes) -> ParsedGroup {
        match parse_bytes(request).expect("a request") {
            ParsedRequest::Group(parsed) => parsed,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_a_part_of_it_is_malformed(
            request in any_request(), id: Option<[u8; 16]>, cut in any::<prop::sample::Index>()
        ) {
            let id = id.map(RequestId);
            let bytes = encode_group(&name(), id, &request);
            prop_assert!(decode_request(&bytes.slice(..cut.index(bytes.len()))).is_err());
            let mut command = Builder::new(Timestamp(1));
            command.push(&bytes);
            prop_assert_eq!(decode(&command.finish()).expect("a command").requests.len(), 1);
            let expected = Request::Group { name: name(), id, request };
            prop_assert_eq!(decode_request(&bytes), Ok(expected));
        }

        #[test]
        fn progress_keeps_the_term_of_who_reported_it_and_is_refused_from_elsewhere(
            progress in any_progress(), term: u64
        ) {
            let bytes = encode_group_progress(&name(), Term(term), &progress);
            prop_assert!(decode_request(&bytes).is_err());
            let decoded = parsed(bytes);
            prop_assert_eq!((decoded.name, decoded.term), (name(), Term(term)));
            prop_assert_eq!(decoded.request, GroupRequest::Progress(progress.clone()));
            let without_term = encode_group(&name(), None, &GroupRequest::Progress(progress));
            prop_assert_eq!(parsed(without_term).term, Term::ZERO);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_decoded_but_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100), what in 0..9_u8
        ) {
            let _ = decode_request(&Bytes::from([&b"\x03\x01g"[..], &[what], &bytes].concat()));
            let _ = decode_request(&Bytes::from([&b"\x03"[..], &bytes].concat()));
        }
    }

    #[test]
    fn what_apply_must_never_meet_is_malformed() {
        let settings = GroupSettings { attempts_max: 0, ..GroupSettings::default() };
        let many = vec![Position(1); GROUP_CHANGE_POSITIONS_MAX + 1];
        let requests =
            [GroupRequest::Configure(settings), GroupRequest::Drop(Selection::Positions(many))];
        for request in requests {
            assert!(parse_bytes(encode_group(&name(), None, &request)).is_err(), "{request:?}");
        }
        let lists = |each: usize, reason: usize| GroupProgress {
            settled: vec![Position(1); each],
            failed: vec![Failed { position: Position(2), attempts: 1, due: Timestamp(0) }; each],
            parked: vec![Parked {
                position: Position(3),
                attempts: 1,
                reason: "x".repeat(reason),
                parked_at: Timestamp(0),
            }],
            ..GroupProgress::default()
        };
        let parse_progress =
            |progress| parse_bytes(encode_group_progress(&name(), Term(1), &progress));
        assert!(
            parse_progress(lists(GROUP_CHANGE_POSITIONS_MAX / 2, 1)).is_err(),
            "too many in all"
        );
        assert!(
            parse_progress(lists(1, REASON_BYTES_MAX + 1)).is_err(),
            "a reason that is too long"
        );
        assert!(
            parse_progress(lists(GROUP_CHANGE_POSITIONS_MAX / 2 - 1, REASON_BYTES_MAX)).is_ok()
        );
    }

    #[test]
    fn what_a_later_build_may_add_is_malformed_here() {
        let good = encode_group(&name(), None, &GroupRequest::Replay(Selection::All)).to_vec();
        let (what_at, selection_at) = (good.len() - 2, good.len() - 1);
        for (at, value) in [(what_at, 8), (what_at, 0), (selection_at, 2)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(decode_request(&Bytes::from(bytes)).is_err(), "byte {at}");
        }
        let id = Some(RequestId([1; 16]));
        let with_id = encode_group(&name(), id, &GroupRequest::Progress(GroupProgress::default()));
        assert!(parse_bytes(with_id).is_err(), "progress has no id");
        let mut longer = good;
        longer.push(0);
        assert!(decode_request(&Bytes::from(longer)).is_err());
    }

    /// Replicas of two builds read one log, so a change of these bytes needs a new version of the command.
    #[test]
    fn the_bytes_of_a_request_stay_what_they_are() {
        let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let failed = vec![Failed { position: Position(6), attempts: 2, due: Timestamp(-1) }];
        let (reason, parked_at) = ("no".to_owned(), Timestamp(9));
        let parked = vec![Parked { position: Position(300), attempts: 5, reason, parked_at }];
        let settled = vec![Position(7)];
        let (incarnation, floor) = (LogIndex(3), Position(4));
        let progress = GroupProgress { incarnation, floor, settled, failed, parked };
        let encoded = encode_group_progress(&name(), Term(2), &progress);
        assert_eq!(
            hex(encoded),
            "030762696c6c696e670702000000000000000300000000000000040000000000000001070106020000\
             00ffffffffffffffff01ac0205000000026e6f"
        );
        let (query, settings) = (Query::everything(), GroupSettings::default());
        let definition = GroupDefinition { query, after: Position(1), settings };
        assert_eq!(
            hex(encode_group(&name(), None, &GroupRequest::Create(definition))),
            "030762696c6c696e67010001000000000000000030750000000000000a000000e8030000000000000010\
             0000"
        );
        assert_eq!(
            hex(encode_group(&name(), Some(RequestId([0xab; 16])), &GroupRequest::Delete)),
            "030762696c6c696e6783abababababababababababababababab"
        );
    }
}
