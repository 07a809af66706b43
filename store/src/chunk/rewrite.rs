//! Writes a chunk again without the events that are below their streams' floors.

use std::collections::HashMap;
use std::path::Path;

use quorate_proto::{LogIndex, Position, StreamName, Version};

use super::Chunk;
use super::blocks::Blocks;
use super::draft::Draft;
use super::index::Index;
use crate::Fault;
use crate::files::{BlockCache, ReadCounters, chunk_path};
use crate::format::Key;
use crate::format::chunk::block::EventOrStub;
use crate::format::chunk::dictionary::put_ordinals;
use crate::format::chunk::page::NewEntry;
use crate::format::chunk::{ChunkIdentity, ChunkSummary, Footer, Section, event_digest};
use crate::vfs::Vfs;

/// Replaces the file of `source` by one without the events below their streams' cuts; `cut` returns the first version
/// of a stream that is kept. Removed events at `keep_stub_from` and after keep a stub with their identity. `checkpoint`
/// is the log index of the cuts' checkpoint. Returns `None`, and writes nothing, if nothing would be removed.
///
/// Error of damage: `source` is damaged, or the new file is not what it should be; the old file stays in place. On
/// return the new file is durable and was checked; a power cut leaves the old or the new. `source` goes on reading the
/// old file for as long as it is open. Memory: the chunk's index. `cut` is called once per stream.
pub(crate) fn rewrite(
    vfs: &dyn Vfs,
    directory: &Path,
    identity: &ChunkIdentity,
    source: &Chunk,
    cut: &mut dyn FnMut(&StreamName) -> Result<Version, Fault>,
    keep_stub_from: Position,
    checkpoint: LogIndex,
) -> Result<Option<ChunkSummary>, Fault> {
    let cuts = cuts(source, cut)?;
    // Removing stubs alone is worth a rewrite only when none of them has to stay.
    let has_stubs = source.has_stubs();
    if cuts.is_empty() && !(has_stubs && source.summary.last_position < keep_stub_from) {
        return Ok(None);
    }
    let target = chunk_path(directory, identity.number);
    let new = target.with_extension("new");
    let mut draft = Draft::create(vfs, &new, *identity)?;
    let mut footer = source.footer.clone();
    footer.removed.checkpoint = checkpoint.0;
    let gone = write_events(&mut draft, source, &cuts, keep_stub_from, &mut footer)?;
    write_keys(&mut draft, source, &gone)?;
    draft.finish(&mut footer)?;
    check(vfs, &new, identity, source)?;
    source.hold()?;
    vfs.rename(&new, &target).map_err(Fault::io("rename", &new))?;
    vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
    Ok(Some(footer.summary(identity.number)))
}

/// Reads the new file: its events and the removed ones must sum up to the chunk that it was made of. Once
/// renamed it is the only copy, so a wrong file is removed, and the old one stays.
fn check(vfs: &dyn Vfs, new: &Path, identity: &ChunkIdentity, source: &Chunk) -> Result<(), Fault> {
    let opened = Chunk::open(vfs, new, identity, &source.summary, &BlockCache::new(0));
    let checked = opened.and_then(|chunk| chunk.verify());
    if checked.is_err() {
        vfs.remove(new).map_err(Fault::io("remove", new))?;
        // A chunk that does not sum up cannot be rewritten: it is to be repaired.
        source.verify()?;
    }
    checked
}

/// Returns the first version that is kept, for each stream that loses events.
fn cuts(
    source: &Chunk,
    cut: &mut dyn FnMut(&StreamName) -> Result<Version, Fault>,
) -> Result<HashMap<StreamName, Version>, Fault> {
    let mut cuts = HashMap::new();
    for entry in source.entries() {
        let (offset, entry) = entry?;
        let key = Key::decode(&entry.key);
        let key = key.map_err(|malformed| source.file.damaged(offset, malformed))?;
        let Key::Stream(stream) = key else { break };
        let kept = cut(&stream)?;
        let read = |range| source.file.joined(Section::Postings, range);
        let posting = source.posting(entry, offset, read)?;
        let first = posting.first_version.unwrap_or_default();
        let below = usize::try_from(kept.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        let below = posting.ordinals.get(..below).unwrap_or(&posting.ordinals);
        let reads = &mut ReadCounters::default();
        // The posting has the ordinals of stubs too.
        let goes = match source.has_stubs() {
            true => !source.read(below.iter().copied(), 0, reads)?.is_empty(),
            false => !below.is_empty(),
        };
        if goes {
            cuts.insert(stream, kept);
        }
    }
    Ok(cuts)
}

/// The ordinals of a rewritten chunk that were removed, ascending.
#[derive(Default)]
struct RemovedOrdinals {
    /// The ordinals of removed events.
    events: Vec<u32>,
    /// The ordinals that had an event or a stub, and now have neither.
    entries: Vec<u32>,
}

fn write_events(
    draft: &mut Draft,
    source: &Chunk,
    cuts: &HashMap<StreamName, Version>,
    keep_stub_from: Position,
    footer: &mut Footer,
) -> Result<RemovedOrdinals, Fault> {
    let mut gone = RemovedOrdinals::default();
    let mut blocks = Blocks::new(draft);
    let mut streams = HashMap::new();
    let mut scratch = Vec::new();
    for (entry, _) in source.blocks_from(0) {
        let block = source.file.read_block(entry)?;
        for at in 0..block.len() {
            let stored = block.event_or_stub(at, source.summary.first_position);
            let stored =
                stored.map_err(|malformed| source.file.damaged(entry.offset, malformed))?;
            let (Some(stored), Some(ordinal)) = (stored, block.ordinal(at)) else { continue };
            let stub = match stored {
                EventOrStub::Event(event) => {
                    if cuts.get(&event.stream).is_none_or(|cut| event.version >= *cut) {
                        let stream = number_of(&mut streams, &event.stream);
                        blocks.push(draft, ordinal, stream, &event.parts())?;
                        continue;
                    }
                    let digest = event_digest(&event.parts(), &mut scratch);
                    footer.removed.digest = footer.removed.digest.wrapping_add(digest);
                    footer.removed.count += 1;
                    footer.count -= 1;
                    gone.events.push(ordinal);
                    event.identity()
                }
                EventOrStub::Stub(stub) => stub,
            };
            if stub.position >= keep_stub_from {
                let stream = number_of(&mut streams, &stub.stream);
                blocks.push_stub(draft, ordinal, stream, &stub)?;
            } else {
                gone.entries.push(ordinal);
            }
        }
    }
    blocks.finish(draft)?;
    Ok(gone)
}

/// Returns the number of a stream; a new one gets the next number.
fn number_of(streams: &mut HashMap<StreamName, u32>, stream: &StreamName) -> u32 {
    if let Some(number) = streams.get(stream) {
        return *number;
    }
    let number = u32::try_from(streams.len()).expect("a chunk has fewer than 2^32 events");
    streams.insert(stream.clone(), number);
    number
}

/// Writes every key again, a stream's with its versions, so that no chain through the chunks breaks.
fn write_keys(draft: &mut Draft, source: &Chunk, gone: &RemovedOrdinals) -> Result<(), Fault> {
    let mut keys = Index::new(draft);
    for entry in source.entries() {
        let (offset, entry) = entry?;
        let (key, distance) = (&*entry.key.clone(), entry.distance);
        let (versions, total) = (entry.versions, entry.total);
        let read = |range| source.file.joined(Section::Postings, range);
        let mut kept = source.posting(entry, offset, read)?.ordinals;
        let gone = if versions.is_some() { &gone.entries } else { &gone.events };
        kept.retain(|ordinal| gone.binary_search(ordinal).is_err());
        let count = u32::try_from(kept.len()).expect("fewer than before");
        let mut ordinals = Vec::new();
        put_ordinals(&mut ordinals, kept);
        let ordinals = &*ordinals;
        keys.push(draft, &NewEntry { key, distance, versions, total, count, ordinals })?;
    }
    keys.finish(draft)
}
