//! Writes a chunk: events as they come, then what finds them.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::Version;

use super::postings::{KeyPostings, Postings};
use super::{ChunkIdentity, Written, path};
use crate::catalog::KeyState;
use crate::format::Output;
use crate::format::chunk::block::{BlockBuilder, BlockEntry, encode_index};
use crate::format::chunk::dictionary::{DictionaryIndex, Entry, Ordinals, PageBuilder, PageEntry};
use crate::format::chunk::{
    FOOTER, Footer, IDS_PER_FRAME, Removed, Section, SectionEntry, encode_header, encode_trailer,
    event_digest, frame,
};
use crate::vfs::{File, Open, Vfs};
use crate::{Fault, Key, StoredEvent};

/// A block is closed once it has so many bytes. Reading one event reads its block; reading many reads few.
const BLOCK_BYTES: usize = 32 * 1024;
/// A page of the dictionary is closed once it has so many bytes.
const PAGE_BYTES: usize = 4 * 1024;
/// Ordinals of one key that have more bytes stand apart, so that pages stay short.
const ORDINALS_HERE_BYTES_MAX: usize = 1024;
/// How many ordinals stand in one frame of postings.
const ORDINALS_PER_FRAME: usize = 8 * 1024;
/// Indexes are cut into frames of so many bytes.
const INDEX_FRAME_BYTES: usize = 64 * 1024;
/// How much is given to the operating system at once.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Writes a chunk of consecutive events, at least one. On return the file and its name are durable.
///
/// `previous` names the last chunk before this one that holds a key; it is asked once for every key, in
/// ascending order. A file of that number, left by a crash before the catalog knew it, is replaced.
///
/// # Panics
/// When there is no event, or one that is out of order.
pub(crate) fn write(
    vfs: &dyn Vfs,
    directory: &Path,
    identity: &ChunkIdentity,
    events: impl IntoIterator<Item: Borrow<StoredEvent>>,
    previous: &mut dyn FnMut(&Key) -> Result<Option<u64>, Fault>,
) -> Result<Written, Fault> {
    let target = path(directory, identity.number);
    let draft = target.with_extension("new");
    if vfs.exists(&draft).map_err(Fault::io("look for", &draft))? {
        vfs.remove(&draft).map_err(Fault::io("remove", &draft))?;
    }
    let mut output = Frames::create(vfs, &draft, *identity)?;
    let Collected { mut footer, blocks, ids, postings } = write_events(&mut output, events)?;
    let events_end = output.offset;
    footer.sections.push(section(Section::Events, output.start, events_end));
    write_section(&mut output, &mut footer, Section::BlockIndex, &encode_index(&blocks))?;
    write_ids(&mut output, &mut footer, &ids)?;
    let keys = write_keys(&mut output, &mut footer, postings.finish(), previous)?;
    output.finish(&footer)?;
    vfs.rename(&draft, &target).map_err(Fault::io("rename", &draft))?;
    vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
    Ok(Written { summary: footer.summary(identity.number), keys })
}

/// What is known once all events are written.
struct Collected {
    footer: Footer,
    blocks: Vec<BlockEntry>,
    ids: Vec<u8>,
    postings: Postings,
}

fn write_events(
    output: &mut Frames,
    events: impl IntoIterator<Item: Borrow<StoredEvent>>,
) -> Result<Collected, Fault> {
    let mut events = events.into_iter().peekable();
    let first = events.peek().expect("a chunk holds at least one event").borrow().clone();
    let mut footer = empty_footer(&first);
    let (mut blocks, mut ids, mut postings) = (Vec::new(), Vec::new(), Postings::default());
    let mut block = BlockBuilder::new(0, first.recorded_at);
    let mut scratch = Vec::new();
    for event in events {
        let event = event.borrow();
        let ordinal = event.position.0 - first.position.0;
        let ordinal = u32::try_from(ordinal).expect("a chunk has fewer than 2^32 events");
        if block.size() >= BLOCK_BYTES {
            let next = BlockBuilder::new(ordinal, event.recorded_at);
            blocks.push(output.put_block(std::mem::replace(&mut block, next))?);
        }
        block.push(ordinal, event);
        ids.put(event.id.as_bytes());
        postings.push(ordinal, event);
        footer.digest = footer.digest.wrapping_add(event_digest(event, &mut scratch));
        footer.count += 1;
        footer.last_position = event.position;
        footer.last_recorded_at = event.recorded_at;
    }
    blocks.push(output.put_block(block)?);
    Ok(Collected { footer, blocks, ids, postings })
}

fn empty_footer(first: &StoredEvent) -> Footer {
    Footer {
        first_position: first.position,
        last_position: first.position,
        first_recorded_at: first.recorded_at,
        last_recorded_at: first.recorded_at,
        count: 0,
        digest: 0,
        removed: Removed::default(),
        sections: Vec::new(),
    }
}

fn section(section: Section, start: u64, end: u64) -> SectionEntry {
    SectionEntry { number: section.number(), critical: true, range: start..end }
}

/// Writes a section that is read as one.
fn write_section(
    output: &mut Frames,
    footer: &mut Footer,
    kind: Section,
    content: &[u8],
) -> Result<(), Fault> {
    let start = output.offset;
    for piece in content.chunks(INDEX_FRAME_BYTES) {
        output.put(kind.number(), piece)?;
    }
    footer.sections.push(section(kind, start, output.offset));
    Ok(())
}

fn write_ids(output: &mut Frames, footer: &mut Footer, ids: &[u8]) -> Result<(), Fault> {
    let start = output.offset;
    for piece in ids.chunks(IDS_PER_FRAME * 16) {
        output.put(Section::Ids.number(), piece)?;
    }
    footer.sections.push(section(Section::Ids, start, output.offset));
    Ok(())
}

/// Writes postings, dictionary and its index; returns what the catalog must learn.
fn write_keys(
    output: &mut Frames,
    footer: &mut Footer,
    keys: Vec<(Key, KeyPostings)>,
    previous: &mut dyn FnMut(&Key) -> Result<Option<u64>, Fault>,
) -> Result<Vec<(Key, KeyState)>, Fault> {
    let number = output.identity.number;
    let start = output.offset;
    let mut pages = Pages::default();
    let mut states = Vec::with_capacity(keys.len());
    for (key, postings) in keys {
        let distance = previous(&key)?.map(|chunk| number - chunk);
        let last_version = postings.versions.map_or(Version::ZERO, |(_, last)| last);
        let (versions, count) = (postings.versions, postings.count);
        let ordinals = place_ordinals(output, start, postings)?;
        pages.push(&Entry { key: key.encode(), distance, versions, count, ordinals });
        states.push((key, KeyState { last_chunk: number, version: last_version }));
    }
    footer.sections.push(section(Section::Postings, start, output.offset));
    let start = output.offset;
    let index = pages.write(output)?;
    footer.sections.push(section(Section::Dictionary, start, output.offset));
    write_section(output, footer, Section::DictionaryIndex, &index.encode())?;
    Ok(states)
}

/// Leaves few ordinals to the dictionary and writes many apart.
fn place_ordinals(
    output: &mut Frames,
    section_start: u64,
    postings: KeyPostings,
) -> Result<Ordinals, Fault> {
    if postings.encoded.len() <= ORDINALS_HERE_BYTES_MAX {
        return Ok(Ordinals::Here(Bytes::from(postings.encoded)));
    }
    let ordinals = postings.ordinals();
    let start = output.offset - section_start;
    for piece in ordinals.chunks(ORDINALS_PER_FRAME) {
        let mut payload = Vec::with_capacity(piece.len() * 2);
        let mut before = 0;
        for ordinal in piece {
            payload.put_varint(u64::from(ordinal - before));
            before = *ordinal;
        }
        output.put(Section::Postings.number(), &payload)?;
    }
    Ok(Ordinals::Elsewhere(start..output.offset - section_start))
}

/// The pages of the dictionary, in memory until the postings before them are written.
#[derive(Default)]
struct Pages {
    full: Vec<Page>,
    open: Option<(Vec<u8>, PageBuilder)>,
}

struct Page {
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    payload: Vec<u8>,
}

impl Pages {
    fn push(&mut self, entry: &Entry) {
        let (_, page) =
            self.open.get_or_insert_with(|| (entry.key.clone(), PageBuilder::default()));
        page.push(entry);
        if page.size() >= PAGE_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some((first_key, page)) = self.open.take() {
            let last_key = page.last_key().to_vec();
            self.full.push(Page { first_key, last_key, payload: page.finish() });
        }
    }

    fn write(mut self, output: &mut Frames) -> Result<DictionaryIndex, Fault> {
        self.close();
        let mut index = DictionaryIndex::default();
        let mut before = Vec::new();
        for page in self.full {
            let offset = output.offset;
            output.put(Section::Dictionary.number(), &page.payload)?;
            let entry = PageEntry { offset, length: output.offset - offset };
            index.push(&before, &page.first_key, entry);
            before = page.last_key;
        }
        Ok(index)
    }
}

/// The file while it is written: frames one after the other.
struct Frames {
    file: Arc<dyn File>,
    path: PathBuf,
    identity: ChunkIdentity,
    /// Where the first frame is.
    start: u64,
    /// Where the next frame will be.
    offset: u64,
    buffer: Vec<u8>,
}

impl Frames {
    fn create(vfs: &dyn Vfs, path: &Path, identity: ChunkIdentity) -> Result<Frames, Fault> {
        let file = vfs.open(path, Open::Create).map_err(Fault::io("create", path))?;
        let buffer = encode_header(&identity);
        let start = buffer.len() as u64;
        Ok(Frames { file, path: path.to_owned(), identity, start, offset: start, buffer })
    }

    fn put(&mut self, section: u16, payload: &[u8]) -> Result<(), Fault> {
        let before = self.buffer.len();
        frame::encode(&self.identity, self.offset, section, payload, &mut self.buffer);
        self.offset += (self.buffer.len() - before) as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn put_block(&mut self, block: BlockBuilder) -> Result<BlockEntry, Fault> {
        let offset = self.offset;
        let (first_ordinal, first_recorded_at) = (block.first_ordinal(), block.first_recorded_at());
        self.put(Section::Events.number(), &block.finish())?;
        Ok(BlockEntry { offset, length: self.offset - offset, first_ordinal, first_recorded_at })
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let offset = self.offset - self.buffer.len() as u64;
        self.file.write_at(&self.buffer, offset).map_err(Fault::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the file durable.
    fn finish(mut self, footer: &Footer) -> Result<(), Fault> {
        let footer_offset = self.offset;
        self.put(FOOTER, &footer.encode())?;
        let trailer = encode_trailer(&self.identity, self.offset, footer_offset);
        self.buffer.extend_from_slice(&trailer);
        self.offset += trailer.len() as u64;
        self.flush()?;
        self.file.sync_data().map_err(Fault::io("sync", &self.path))
    }
}
