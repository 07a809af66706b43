//! Consumer groups: their definitions in commands and in the catalog, and their rows in the catalog.
//!
//! ```text
//! definition  query as in a condition, after 8, settings
//! settings    strategy 1 (0 round robin, 1 by stream, 2 single), timeout 8, attempts 4, retry delay 8, window 4
//!
//! key         name 1 + n, kind 1 (0 head; 1 parked, and then 8 more: the position, most significant byte first);
//!             or 0: remembered
//! head        version 1 (1), definition, incarnation 8, revision 8, floor 8,
//!             settled (varint), each: varint, how far after the one before, the first after the floor;
//!             failed (varint), each: varint, how far after the one before, attempts (varint), due 8
//! parked      version 1 (1), attempts 4, parked at 8, reason: the rest
//! remembered  version 1 (1), changes (varint), the oldest first, each: id 16, how many it changed (varint)
//! ```
//!
//! A group with many parked events has many rows, so that parking one more writes one more.

mod head;
mod remembered;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_proto::limits::{
    GROUP_CHANGES_REMEMBERED, GROUP_FAILED_MAX, GROUP_WINDOW_MAX, REASON_BYTES_MAX,
};
use quorate_proto::{
    Failed, GroupDefinition, GroupName, GroupSettings, LogIndex, Parked, Position, RequestId,
    Strategy, Timestamp,
};

use super::command::{put_query, take_query};
use super::{Input, Malformed, Output};

pub(crate) use head::GroupHead;
pub(crate) use remembered::Remembered;

const VERSION: u8 = 1;
const HEAD: u8 = 0;
const PARKED: u8 = 1;

const ROUND_ROBIN: u8 = 0;
const BY_STREAM: u8 = 1;
const SINGLE: u8 = 2;

pub(super) fn put_definition(definition: &GroupDefinition, out: &mut Vec<u8>) {
    put_query(&definition.query, out);
    out.put_u64(definition.after.0);
    put_settings(&definition.settings, out);
}

pub(super) fn take_definition(input: &mut Input) -> Result<GroupDefinition, Malformed> {
    let query = take_query(input)?;
    query.check().map_err(Malformed::invalid)?;
    let after = Position(input.u64()?);
    Ok(GroupDefinition { query, after, settings: take_settings(input)? })
}

pub(super) fn put_settings(settings: &GroupSettings, out: &mut Vec<u8>) {
    let GroupSettings { strategy, timeout_ms, attempts_max, retry_delay_ms, window } = settings;
    out.put_u8(match strategy {
        Strategy::RoundRobin => ROUND_ROBIN,
        Strategy::ByStream => BY_STREAM,
        Strategy::Single => SINGLE,
    });
    out.put_u64(*timeout_ms);
    out.put_u32(*attempts_max);
    out.put_u64(*retry_delay_ms);
    out.put_u32(*window);
}

pub(super) fn take_settings(input: &mut Input) -> Result<GroupSettings, Malformed> {
    let strategy = match input.u8()? {
        ROUND_ROBIN => Strategy::RoundRobin,
        BY_STREAM => Strategy::ByStream,
        SINGLE => Strategy::Single,
        other => return Err(Malformed::new(format!("the strategy {other} is unknown"))),
    };
    let settings = GroupSettings {
        strategy,
        timeout_ms: input.u64()?,
        attempts_max: input.u32()?,
        retry_delay_ms: input.u64()?,
        window: input.u32()?,
    };
    settings.check().map_err(Malformed::invalid)?;
    Ok(settings)
}

/// The key of a row of the catalog's table of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowKey {
    /// The answers to the newest requests, of all groups together.
    Remembered,
    /// The group itself.
    Head(GroupName),
    /// A parked event.
    Parked(GroupName, Position),
}

/// The key of the remembered answers: no group has this name.
pub(crate) const REMEMBERED_KEY: [u8; 1] = [0];

pub(crate) fn head_key(name: &GroupName) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.as_str().len() + 2);
    out.put_short(name.as_str().as_bytes());
    out.put_u8(HEAD);
    out
}

pub(crate) fn parked_key(name: &GroupName, position: Position) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.as_str().len() + 10);
    out.put_short(name.as_str().as_bytes());
    out.put_u8(PARKED);
    out.put(&position.0.to_be_bytes());
    out
}

pub(crate) fn decode_row_key(key: &Bytes) -> Result<RowKey, Malformed> {
    if key[..] == REMEMBERED_KEY {
        return Ok(RowKey::Remembered);
    }
    let mut input = Input::new(key.clone());
    let name = GroupName::new(input.short_text()?).map_err(Malformed::invalid)?;
    let row = match input.u8()? {
        HEAD => RowKey::Head(name),
        PARKED => RowKey::Parked(name, Position(input.u64()?.swap_bytes())),
        other => return Err(Malformed::new(format!("has the unknown kind {other}"))),
    };
    input.end()?;
    Ok(row)
}

/// Encodes the row of a group's head. The positions are ascending.
pub(crate) fn encode_head(head: &GroupHead) -> Vec<u8> {
    let GroupHead { definition, incarnation, revision, floor, settled, failed } = head;
    let mut out = Vec::with_capacity(256 + settled.len() * 2 + failed.len() * 12);
    out.put_u8(VERSION);
    put_definition(definition, &mut out);
    out.put_u64(incarnation.0);
    out.put_u64(revision.0);
    out.put_u64(floor.0);
    out.put_varint(settled.len() as u64);
    let mut before = *floor;
    for position in settled {
        out.put_varint(position.0 - before.0);
        before = *position;
    }
    out.put_varint(failed.len() as u64);
    let mut before = Position::ZERO;
    for failed in failed.values() {
        out.put_varint(failed.position.0 - before.0);
        out.put_varint(failed.attempts.into());
        out.put_i64(failed.due.0);
        before = failed.position;
    }
    out
}

pub(crate) fn decode_head(value: Bytes) -> Result<GroupHead, Malformed> {
    let mut input = Input::new(value);
    check_version(&mut input)?;
    let definition = take_definition(&mut input)?.into();
    let (incarnation, revision) = (LogIndex(input.u64()?), LogIndex(input.u64()?));
    let floor = Position(input.u64()?);
    let settled = take_settled(&mut input, floor)?;
    let failed = take_failed(&mut input)?;
    input.end()?;
    if failed.keys().any(|position| settled.contains(position)) {
        return Err(Malformed::new("has an event that is settled and failed"));
    }
    Ok(GroupHead { definition, incarnation, revision, floor, settled, failed })
}

fn take_settled(input: &mut Input, floor: Position) -> Result<BTreeSet<Position>, Malformed> {
    let count = count(input.varint()?, GROUP_WINDOW_MAX as usize)?;
    let mut before = floor;
    let mut settled = BTreeSet::new();
    for _ in 0..count {
        before = next(before, input)?;
        settled.insert(before);
    }
    Ok(settled)
}

fn take_failed(input: &mut Input) -> Result<BTreeMap<Position, Failed>, Malformed> {
    let count = count(input.varint()?, GROUP_FAILED_MAX)?;
    let mut position = Position::ZERO;
    let mut all = BTreeMap::new();
    for _ in 0..count {
        position = next(position, input)?;
        let attempts = u32::try_from(input.varint()?);
        let attempts = attempts.map_err(|_| Malformed::new("has too many attempts"))?;
        all.insert(position, Failed { position, attempts, due: Timestamp(input.i64()?) });
    }
    Ok(all)
}

fn next(before: Position, input: &mut Input) -> Result<Position, Malformed> {
    let gap = input.varint()?;
    let next = before.0.checked_add(gap).filter(|next| *next > before.0);
    next.map(Position).ok_or_else(|| Malformed::new("has positions that do not ascend"))
}

fn count(count: u64, max: usize) -> Result<usize, Malformed> {
    let count = usize::try_from(count).ok().filter(|count| *count <= max);
    count.ok_or_else(|| Malformed::new(format!("has more than {max} of one kind")))
}

/// Encodes the row of a parked event; its position is in the key.
pub(crate) fn encode_parked(parked: &Parked) -> Vec<u8> {
    let Parked { attempts, parked_at, reason, .. } = parked;
    let mut out = Vec::with_capacity(reason.len() + 20);
    out.put_u8(VERSION);
    out.put_u32(*attempts);
    out.put_i64(parked_at.0);
    out.put(reason.as_bytes());
    out
}

pub(crate) fn decode_parked(position: Position, value: Bytes) -> Result<Parked, Malformed> {
    let mut input = Input::new(value);
    check_version(&mut input)?;
    let (attempts, parked_at) = (input.u32()?, Timestamp(input.i64()?));
    let reason = super::bytes::text(&input.rest())?.to_owned();
    if reason.len() > REASON_BYTES_MAX {
        return Err(Malformed::new("has a reason that is too long"));
    }
    Ok(Parked { position, attempts, reason, parked_at })
}

/// Encodes the row of the remembered answers.
pub(crate) fn encode_remembered(remembered: &Remembered) -> Vec<u8> {
    let counts = remembered.counts();
    let mut out = Vec::with_capacity(8 + counts.len() * 18);
    out.put_u8(VERSION);
    out.put_varint(counts.len() as u64);
    for (RequestId(id), count) in counts {
        out.put(&id);
        out.put_varint(count);
    }
    out
}

pub(crate) fn decode_remembered(value: Bytes) -> Result<Remembered, Malformed> {
    let mut input = Input::new(value);
    check_version(&mut input)?;
    let mut counts = VecDeque::new();
    for _ in 0..count(input.varint()?, GROUP_CHANGES_REMEMBERED)? {
        let id = RequestId::from_slice(&input.take(16)?).map_err(Malformed::invalid)?;
        let id = id.ok_or_else(|| Malformed::new("has a change without an id"))?;
        counts.push_back((id, input.varint()?));
    }
    input.end()?;
    Ok(Remembered::of(counts))
}

fn check_version(input: &mut Input) -> Result<(), Malformed> {
    match input.u8()? {
        VERSION => Ok(()),
        other => Err(Malformed::new(format!("has the version {other}, unknown to this build"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use quorate_proto::{Category, Query, QueryItem, Scope};

    use super::*;

    fn name(name: &str) -> GroupName {
        GroupName::new(name).expect("a name")
    }

    fn definition() -> GroupDefinition {
        let scope = Some(Scope::Category(Category::new("order").expect("a category")));
        let query = Query { items: vec![QueryItem { scope, ..QueryItem::default() }] };
        GroupDefinition { query, after: Position(3), settings: GroupSettings::default() }
    }

    prop_compose! {
        fn any_head()(
            floor in 0..1000_u64,
            settled in prop::collection::btree_set(1..5000_u64, 0..9),
            failed in prop::collection::btree_map(any::<u64>(), (any::<u32>(), any::<i64>()), 0..9),
            indexes in any::<(u64, u64)>(),
        ) -> GroupHead {
            let settled = settled.into_iter().map(|above| Position(floor + above)).collect();
            let failed = failed.into_iter().filter(|(position, _)| *position > 6000);
            let failed = failed.map(|(position, (attempts, due))| {
                let position = Position(position);
                (position, Failed { position, attempts, due: Timestamp(due) })
            });
            GroupHead {
                definition: Arc::new(definition()),
                incarnation: LogIndex(indexes.0),
                revision: LogIndex(indexes.1),
                floor: Position(floor),
                settled,
                failed: failed.collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_head_that_is_encoded_is_decoded_and_a_part_of_it_is_malformed(
            head in any_head(), cut in any::<prop::sample::Index>()
        ) {
            let bytes = Bytes::from(encode_head(&head));
            prop_assert!(decode_head(bytes.slice(..cut.index(bytes.len()))).is_err());
            prop_assert_eq!(decode_head(bytes), Ok(head));
        }

        #[test]
        fn what_is_remembered_that_is_encoded_is_decoded_and_a_part_of_it_is_malformed(
            counts in prop::collection::vec(any::<([u8; 16], u64)>(), 0..9),
            cut in any::<prop::sample::Index>(),
        ) {
            let counts = counts.into_iter().map(|(id, count)| (RequestId(id), count)).collect();
            let remembered = Remembered::of(counts);
            let bytes = Bytes::from(encode_remembered(&remembered));
            prop_assert!(decode_remembered(bytes.slice(..cut.index(bytes.len()))).is_err());
            prop_assert_eq!(decode_remembered(bytes), Ok(remembered));
        }

        #[test]
        fn a_parked_event_that_is_encoded_is_decoded(
            position: u64, attempts: u32, reason in ".{0,40}", at: i64
        ) {
            let (position, parked_at) = (Position(position), Timestamp(at));
            let parked = Parked { position, attempts, reason, parked_at };
            prop_assert_eq!(decode_parked(position, encode_parked(&parked).into()), Ok(parked));
            let key = Bytes::from(parked_key(&name("billing"), position));
            prop_assert_eq!(decode_row_key(&key), Ok(RowKey::Parked(name("billing"), position)));
        }

        #[test]
        fn decoders_take_whatever_bytes_there_are(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let bytes = Bytes::from(bytes);
            let _ = decode_row_key(&bytes);
            let _ = decode_parked(Position(1), bytes.clone());
            let _ = decode_head(bytes.clone());
            let _ = decode_remembered(bytes.clone());
            // The random bytes stand behind a whole definition.
            let mut head = vec![VERSION];
            put_definition(&definition(), &mut head);
            head.extend(&bytes);
            if let Ok(head) = decode_head(head.into()) {
                prop_assert_eq!(decode_head(encode_head(&head).into()), Ok(head));
            }
        }
    }

    #[test]
    fn rows_of_a_group_stand_together_the_head_first_and_what_is_parked_by_position() {
        let mut keys = vec![REMEMBERED_KEY.to_vec()];
        for one in ["a", "b", "aa", "billing"] {
            keys.push(head_key(&name(one)));
            keys.extend([1, 255, 256, u64::MAX].map(|at| parked_key(&name(one), Position(at))));
        }
        assert!(keys.is_sorted());
        let key = Bytes::from(head_key(&name("aa")));
        assert_eq!(decode_row_key(&key), Ok(RowKey::Head(name("aa"))));
    }

    /// A store that was written by this build must be readable by every later one.
    #[test]
    fn the_bytes_of_a_row_stay_what_they_are() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let failed = Failed { position: Position(5), attempts: 2, due: Timestamp(-1) };
        let head = GroupHead {
            definition: Arc::new(definition()),
            incarnation: LogIndex(8),
            revision: LogIndex(9),
            floor: Position(10),
            settled: [Position(11), Position(311)].into(),
            failed: [(failed.position, failed)].into(),
        };
        assert_eq!(
            hex(&encode_head(&head)),
            "010102056f7264657200000003000000000000000030750000000000000a000000e80300000000000000\
             100000080000000000000009000000000000000a000000000000000201ac02010502ffffffffffffffff"
        );
        let (reason, parked_at) = ("no".to_owned(), Timestamp(7));
        let parked = Parked { position: Position(300), attempts: 5, reason, parked_at };
        assert_eq!(hex(&encode_parked(&parked)), "010500000007000000000000006e6f");
        assert_eq!(hex(&parked_key(&name("g"), Position(300))), "016701000000000000012c");
        let remembered = Remembered::of([(RequestId([0xab; 16]), 300)].into());
        assert_eq!(
            hex(&encode_remembered(&remembered)),
            "0101ababababababababababababababababac02"
        );
    }
}
