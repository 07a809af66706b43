//! The decoders of the parts of a chunk, and of whole chunks.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use quorate_proto::{Event, LogIndex, Position, StreamName, Timestamp, Version};

use super::request::{encode_body, full_event, stream};
use super::{Target, seal};
use crate::chunk::{self, Chunk, KeyEvents};
use crate::files::{BlockCache, ReadCounters, chunk_path};
use crate::format::catalog::KeyState;
use crate::format::chunk::block::{Block, ID_BYTES, decode_index};
use crate::format::chunk::dictionary::{DictionaryIndex, decode_ordinals};
use crate::format::chunk::frame::{self, FRAME_HEADER_BYTES};
use crate::format::chunk::page::PageReader;
use crate::format::chunk::{
    ChunkIdentity, FOOTER, Footer, HEADER_BYTES, Section, TRAILER_BYTES, decode_header,
    decode_trailer, encode_header, encode_trailer, seed,
};
use crate::format::{Identity, Key};
use crate::vfs::{MemVfs, Open, Vfs};
use crate::{Fault, StoredEvent};

const IDENTITY: ChunkIdentity = ChunkIdentity { cluster: [7; 16], log: 0, number: 9 };
/// The number of events of the small chunk, and of the large one, which must fit the fuzzer's inputs.
const EVENTS_FEW: u64 = 5;
const EVENTS_MANY: u64 = 150;
/// The offset of the first frame of a chunk.
const FIRST: u64 = HEADER_BYTES;

pub(super) const TARGETS: [Target; 9] = [
    ("the header of a chunk", header, || vec![encode_header(&IDENTITY)]),
    ("the trailer of a chunk", trailer, || vec![encode_trailer(&IDENTITY, FIRST, 99)]),
    ("the footer of a chunk", footer, || payloads(FOOTER)),
    ("a frame of a chunk", frame, frames),
    ("a block of a chunk", block, || payloads(Section::Events.number())),
    ("the index of the blocks", block_index, || payloads(Section::BlockIndex.number())),
    ("a page of a dictionary", page, || payloads(Section::Dictionary.number())),
    ("the index of a dictionary", pages, || payloads(Section::DictionaryIndex.number())),
    ("a chunk", whole, chunks),
];

fn header(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal(&mut bytes);
    let _ = decode_header(&bytes.into());
}

fn trailer(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some((offset, rest)) = bytes.split_first_chunk_mut::<8>() {
        let checksum = crc32c::crc32c_append(seed(&IDENTITY, FIRST), offset);
        rest.iter_mut().zip(checksum.to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    let _ = decode_trailer(&IDENTITY, FIRST, &bytes.into());
}

fn footer(bytes: &[u8]) {
    if let Ok(footer) = Footer::decode(Bytes::copy_from_slice(bytes)) {
        let _ = footer.summary(IDENTITY.number);
        assert_eq!(Footer::decode(footer.encode().into()), Ok(footer), "it is another one now");
    }
}

fn frame(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal_frame(&mut bytes, FIRST);
    let bytes = Bytes::from(bytes);
    let _ = frame::length(&bytes);
    for section in [FOOTER, Section::Events.number(), Section::Dictionary.number()] {
        let _ = frame::decode(&IDENTITY, FIRST, section, &bytes);
    }
}

fn block(bytes: &[u8]) {
    for entries in EVENTS_FEW - 1..=EVENTS_FEW + 1 {
        let ids = Bytes::from(vec![7; entries as usize * ID_BYTES]);
        let Ok(block) = Block::decode(Bytes::copy_from_slice(bytes), ids) else { continue };
        for at in 0..=block.len() {
            let _ = (block.id(at), block.is_event(at), block.ordinal(at));
            let _ = block.event_or_stub(at, Position(u64::MAX - 1));
        }
        let _ = block.index_of(3);
    }
}

fn block_index(bytes: &[u8]) {
    let _ = decode_index(Bytes::copy_from_slice(bytes), FIRST, FIRST + 1_000);
    let _ = decode_index(Bytes::copy_from_slice(bytes), u64::MAX - 100, u64::MAX - 7);
}

fn page(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = decode_ordinals(bytes.clone(), u32::MAX);
    let Ok(mut page) = PageReader::new(bytes.clone()) else { return };
    while let Ok(Some(entry)) = page.next() {
        let _ = Key::decode(&entry.key);
    }
    let Ok(mut walk) = PageReader::new(bytes) else { return };
    for key in ["invoice-1", "order-42", "order-43", "z"] {
        let _ = walk.seek(&Key::Stream(stream(key)).encode());
    }
}

fn pages(bytes: &[u8]) {
    if let Ok((index, _)) = DictionaryIndex::decode(Bytes::copy_from_slice(bytes), FIRST) {
        let key = Key::Stream(stream("order-42")).encode();
        let _ = (index.page_of(&key), index.pages_from(&key));
    }
}

/// Puts the checksums right, opens and verifies the chunk, and reads everything that can be read from it.
fn whole(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal_chunk(&mut bytes);
    let _ = read_all(&disk(Some(&bytes)));
}

fn read_all(vfs: &MemVfs) -> Result<(), Fault> {
    let (path, cache) = (chunk_path(folder(), IDENTITY.number), BlockCache::new(1 << 20));
    let chunk = Chunk::open_any(vfs, &path, &IDENTITY, &cache)?;
    let _ = chunk.verify();
    let _ = chunk.ids_from(0);
    let mut reads = ReadCounters::default();
    let ordinals = chunk.ordinals_between(Some(Timestamp(1_001)), None);
    // Not all ordinals, as a footer may claim billions.
    let _ = chunk.read(ordinals.take(1_000), usize::MAX, &mut reads);
    for key in chunk.keys().take_while(Result::is_ok).flatten().take(1_000) {
        if let Ok(Some(posting)) = chunk.find(&key.key, &mut reads) {
            let _ = chunk.read(posting.ordinals, 100, &mut reads);
        }
    }
    Ok(())
}

fn folder() -> &'static Path {
    Path::new("/chunks")
}

fn disk(chunk: Option<&[u8]>) -> MemVfs {
    let vfs = MemVfs::new();
    vfs.create_directory(folder()).expect("a disk in memory has room");
    if let Some(bytes) = chunk {
        let file = vfs.open(&chunk_path(folder(), IDENTITY.number), Open::Create);
        file.and_then(|file| file.write_at(bytes, 0)).expect("a disk in memory has room");
    }
    vfs
}

/// Returns a small chunk, a larger one, and the larger one without its oldest events.
fn chunks() -> Vec<Vec<u8>> {
    let large = written(EVENTS_MANY);
    let vfs = disk(Some(&large));
    let (path, cache) = (chunk_path(folder(), IDENTITY.number), BlockCache::new(0));
    let source = Chunk::open_any(&vfs, &path, &IDENTITY, &cache).expect("it was written");
    let (mut cut, stubs) = (|_: &StreamName| Ok(Version(5)), Position(120));
    chunk::rewrite(&vfs, folder(), &IDENTITY, &source, &mut cut, stubs, LogIndex(9))
        .expect("it can be written anew");
    vec![written(EVENTS_FEW), large, vfs.read(&path).expect("it is there")]
}

fn written(events: u64) -> Vec<u8> {
    let vfs = disk(None);
    let events: Vec<StoredEvent> = (1..=events).map(stored).collect();
    let mut ordinals: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
    for (ordinal, event) in (0..).zip(&events) {
        event.keys().for_each(|key| ordinals.entry(key).or_default().push(ordinal));
    }
    let keys = ordinals.iter().map(|(key, ordinals)| {
        let first = ordinals.first().and_then(|first| events.get(*first as usize));
        let first_version = first.filter(|_| key.kind() == Key::STREAM_KIND);
        let first_version = first_version.map(|event| event.version);
        KeyEvents { kind: key.kind(), name: key.name(), first_version, ordinals }
    });
    let keys: Vec<_> = keys.collect();
    let mut previous = |key: &[u8]| {
        let last_chunk = Some(key.len() as u64 % 9).filter(|one| *one > 0);
        Ok(last_chunk.map(|last_chunk| KeyState { last_chunk, version: Version(500) }))
    };
    let path = chunk_path(folder(), IDENTITY.number);
    let written = chunk::write(
        &vfs,
        &path,
        &IDENTITY,
        events.iter().map(StoredEvent::parts),
        &keys,
        &mut previous,
    );
    written.expect("a disk in memory has room");
    vfs.read(&path).expect("it was written")
}

fn stored(number: u64) -> StoredEvent {
    let event: Event = full_event(number);
    let identity = Identity {
        position: Position(100 + number),
        stream: stream(&format!("acme/order-{}", number % 7)),
        version: Version(number / 7 + 1),
        recorded_at: Timestamp(1_000 + number as i64 / 3),
        id: event.id,
        begins: number % 3 != 2,
    };
    StoredEvent::new(identity, encode_body(&event).into()).expect("it was encoded just now")
}

/// Returns the frames of a chunk, unchanged.
fn frames() -> Vec<Vec<u8>> {
    let chunk = written(EVENTS_FEW);
    let ranges = frame_ranges(&chunk).into_iter();
    ranges.filter_map(|(from, to)| chunk.get(from..to).map(<[u8]>::to_vec)).collect()
}

/// Returns the payloads of a section's frames, in small chunks and large.
fn payloads(section: u16) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for chunk in chunks() {
        for (from, to) in frame_ranges(&chunk) {
            let bytes = Bytes::copy_from_slice(chunk.get(from..to).unwrap_or_default());
            let payload = frame::decode(&IDENTITY, from as u64, section, &bytes);
            payloads.extend(payload.ok().map(|payload| payload.to_vec()));
        }
    }
    payloads
}

/// Returns the starts and ends of the frames of a chunk, according to their headers.
fn frame_ranges(chunk: &[u8]) -> Vec<(usize, usize)> {
    let end = chunk.len().saturating_sub(TRAILER_BYTES as usize);
    let mut ranges = Vec::new();
    let mut from = HEADER_BYTES as usize;
    while let Some(header) = chunk.get(from..from.saturating_add(FRAME_HEADER_BYTES as usize)) {
        let length = frame::length(&Bytes::copy_from_slice(header)).expect("it is long enough");
        let to = from.saturating_add(length as usize);
        if to > end {
            break;
        }
        ranges.push((from, to));
        from = to;
    }
    ranges
}

/// Gives a frame its true length, and the checksum of this place.
fn seal_frame(frame: &mut [u8], offset: u64) {
    let length = frame.len().saturating_sub(FRAME_HEADER_BYTES as usize) as u32;
    let Some((checksum, covered)) = frame.split_first_chunk_mut::<4>() else { return };
    if let Some(stored) = covered.first_chunk_mut::<4>() {
        *stored = length.to_le_bytes();
    }
    *checksum = crc32c::crc32c_append(seed(&IDENTITY, offset), covered).to_le_bytes();
}

/// Puts all checksums of a chunk right; its last frame is its footer.
fn seal_chunk(chunk: &mut [u8]) {
    if let Some(header) = chunk.first_chunk_mut::<{ HEADER_BYTES as usize }>() {
        seal(header);
    }
    let ranges = frame_ranges(chunk);
    for (from, to) in &ranges {
        if let Some(frame) = chunk.get_mut(*from..*to) {
            seal_frame(frame, *from as u64);
        }
    }
    let trailer = chunk.len().saturating_sub(TRAILER_BYTES as usize);
    let footer = ranges.last().map_or(0, |(from, _)| *from as u64);
    let sealed = encode_trailer(&IDENTITY, trailer as u64, footer);
    if let Some(place) = chunk.get_mut(trailer..) {
        place.iter_mut().zip(sealed).for_each(|(to, from)| *to = from);
    }
}
