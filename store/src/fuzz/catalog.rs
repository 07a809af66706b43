//! The decoders of the catalog, of the pages that are sent to other nodes, and of the file `CURRENT`.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{Failed, GroupName, LogId, LogIndex, Position, RequestId, Timestamp, Version};

use super::request::{group_definition, parked, stream};
use super::{Target, seal};
use crate::format::catalog::{
    CheckpointState, Contents, Indexed, KeyState, MergeRound, PageBuilder, Slot, Table, TableSum,
    chunk_key, decode_chunk, decode_contents, decode_filter, decode_key_state, decode_page,
    decode_state, encode_chunk, encode_contents, encode_filter, encode_key_state, encode_state,
};
use crate::format::chunk::ChunkSummary;
use crate::format::group::{
    GroupHead, Remembered, decode_head, decode_parked, decode_remembered, decode_row_key,
    encode_head, encode_parked, encode_remembered, parked_key,
};
use crate::format::retention::{
    FormerLimits, Limits, Record, decode_record, decode_snapshot, encode_record,
};
use crate::format::{Key, current, manifest};

pub(super) const TARGETS: [Target; 5] = [
    ("a value of the catalog", value, values),
    ("a header of the catalog", slot, slots),
    ("a page of the catalog on its way", page, pages),
    ("the manifest of a checkpoint", manifest, manifests),
    ("the name of the catalog in use", name, || vec![current::encode(7)]),
];

fn value(bytes: &[u8]) {
    let value = Bytes::copy_from_slice(bytes);
    if let Ok(state) = decode_state(value.clone()) {
        assert_eq!(decode_state(encode_state(&state).into()), Ok(state), "it is another one now");
    }
    if let Ok(contents) = decode_contents(value.clone()) {
        let again = decode_contents(encode_contents(&contents).into());
        assert_eq!(again, Ok(contents), "they are others now");
    }
    let _ = decode_chunk(&chunk_key(3), value.clone());
    let _ = decode_chunk(bytes, value.clone());
    let _ = decode_key_state(value.clone());
    let _ = decode_filter(value.clone());
    let _ = Key::decode(bytes);
    let _ = decode_snapshot(&stream("order-42"), value.clone());
    let _ = decode_row_key(&value);
    if let Ok(remembered) = decode_remembered(value.clone()) {
        let again = decode_remembered(encode_remembered(&remembered).into());
        assert_eq!(again, Ok(remembered), "it is another one now");
    }
    let _ = decode_parked(Position(300), value.clone());
    if let Ok(head) = decode_head(value.clone()) {
        assert_eq!(decode_head(encode_head(&head).into()), Ok(head), "it is another one now");
    }
    if let Ok(record) = decode_record(value) {
        assert_eq!(decode_record(encode_record(&record)), Ok(record), "it is another one now");
    }
}

fn values() -> Vec<Vec<u8>> {
    let key_state = KeyState { last_chunk: 300, version: Version(70_000) };
    vec![
        encode_state(&state()),
        encode_contents(&contents()),
        encode_chunk(&summary(3)),
        encode_key_state(&key_state),
        encode_filter(&[[0x8000_0001; 8]; 3]),
        b"\x01order-42".to_vec(),
        encode_record(&record()).to_vec(),
        encode_head(&head()),
        encode_parked(&parked()),
        encode_remembered(&Remembered::of([(RequestId([7; 16]), 300)].into())),
        parked_key(&GroupName::new("billing").expect("a name"), Position(300)),
    ]
}

fn head() -> GroupHead {
    let failed = Failed { position: Position(5), attempts: 2, due: Timestamp(8) };
    GroupHead {
        definition: Arc::new(group_definition()),
        incarnation: LogIndex(3),
        revision: LogIndex(4),
        floor: Position(6),
        settled: [Position(9), Position(900)].into(),
        failed: [(failed.position, failed)].into(),
    }
}

fn record() -> Record {
    let limits = Limits { max_count: Some(300), max_age_us: Some(1 << 40) };
    let former = FormerLimits { limits, until: Position(700), until_time: Timestamp(-5) };
    let former = vec![former; 2].into();
    let deleted = Version(9);
    Record { limits: Limits::default(), former, truncate_before: 12, deleted, closed: true }
}

fn slot(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes);
    let _ = Slot::decode(&bytes.into());
}

fn slots() -> Vec<Vec<u8>> {
    let header = Bytes::from_static(&[3; 100]);
    vec![Slot { cluster: [7; 16], log: 1, sequence: 9, header }.encode()]
}

fn page(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes);
    let _ = decode_page(&bytes.into());
}

fn pages() -> Vec<Vec<u8>> {
    let mut page = PageBuilder::new(Table::Keys);
    page.push(b"\x01order-42", b"value");
    page.push(b"\x01order-43", &[5; 200]);
    vec![page.finish().to_vec()]
}

fn manifest(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes);
    let _ = manifest::decode(&bytes.into());
}

fn manifests() -> Vec<Vec<u8>> {
    let (state, contents) = (state(), contents());
    let log_id = state.log_id.expect("it is a checkpoint");
    let chunks = vec![summary(1), summary(2)];
    vec![manifest::encode(&manifest::Manifest { log_id, state, contents, chunks }).to_vec()]
}

/// Decodes the bytes as they are, and with the right checksum for the name at their beginning.
fn name(bytes: &[u8]) {
    let _ = current::decode(bytes);
    let mut names = bytes.splitn(2, |byte| *byte == b' ');
    let name = names.next().unwrap_or_default();
    let sealed = [name, format!(" {:08x}\n", crc32c::crc32c(name)).as_bytes()].concat();
    let _ = current::decode(&sealed);
}

fn state() -> CheckpointState {
    CheckpointState {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: 65_536,
        log_id: Some(LogId::new(3, 700)),
        attachment: Bytes::from_static(b"members"),
        position: Position(29),
        recorded_at: Timestamp(9),
        digest: 5,
        next_chunk: 3,
    }
}

fn contents() -> Contents {
    let round = Some(MergeRound { target: 9, after: Bytes::from_static(b"\x01order-42") });
    let keys = TableSum { rows: 7, sum: 1 << 99 };
    let (indexed, groups) = (Indexed { through: 4, round }, TableSum { rows: 2, sum: 9 });
    Contents { indexed, keys, groups, ..Contents::default() }
}

fn summary(number: u64) -> ChunkSummary {
    ChunkSummary {
        number,
        first_position: Position(number * 10),
        last_position: Position(number * 10 + 9),
        first_recorded_at: Timestamp(-4),
        last_recorded_at: Timestamp(9),
        digest: u128::MAX - 5,
    }
}
