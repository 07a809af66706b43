//! Writes a chunk: the events as they come, then the indexes that find them.

use std::path::Path;

use quorate_proto::Version;

use super::blocks::Blocks;
use super::draft::Draft;
use super::index::Index;
use crate::format::EventParts;
use crate::format::catalog::KeyState;
use crate::format::chunk::dictionary::put_ordinals;
use crate::format::chunk::page::NewEntry;
use crate::format::chunk::{ChunkIdentity, ChunkSummary, Footer, Removed, event_digest};
use crate::vfs::Vfs;
use crate::{Fault, Key};

/// A key of the events that are written, and where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyEvents<'a> {
    /// The kind of the key: see [`Key::kind`].
    pub(crate) kind: u8,
    pub(crate) name: &'a str,
    /// For a stream the version of its first event; its versions have no gaps.
    pub(crate) first_version: Option<Version>,
    /// The ordinals, ascending.
    pub(crate) ordinals: &'a [u32],
}

/// Returns where a key, which is encoded as by [`Key::encode`], was last seen before a chunk.
pub(crate) type Previous<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Option<KeyState>, Fault>;

/// Writes a chunk of consecutive events, at least one, with all their keys, sorted. On return the file is durable, but
/// not yet its name.
///
/// `previous` is called once for every key, in ascending order. A file of this name, left by a crash, is replaced.
///
/// # Panics
/// When there is no event, or one that is out of order.
pub(crate) fn write<'a>(
    vfs: &dyn Vfs,
    path: &Path,
    identity: &ChunkIdentity,
    events: impl ExactSizeIterator<Item = EventParts<'a>>,
    keys: &[KeyEvents<'_>],
    previous: Previous<'_>,
) -> Result<ChunkSummary, Fault> {
    let mut draft = Draft::create(vfs, path, *identity)?;
    let streams = streams_of_events(events.len(), keys);
    let mut footer = write_events(&mut draft, events, &streams)?;
    write_keys(&mut draft, keys, previous)?;
    draft.finish(&mut footer)?;
    Ok(footer.summary(identity.number))
}

/// Returns for each event the number of its stream among the streams of the chunk.
fn streams_of_events(events: usize, keys: &[KeyEvents<'_>]) -> Vec<u32> {
    let mut streams = vec![0; events];
    for (number, key) in (0..).zip(keys.iter().filter(|key| key.kind == Key::STREAM_KIND)) {
        for ordinal in key.ordinals {
            if let Some(stream) = streams.get_mut(*ordinal as usize) {
                *stream = number;
            }
        }
    }
    streams
}

fn write_events<'a>(
    draft: &mut Draft,
    events: impl Iterator<Item = EventParts<'a>>,
    streams: &[u32],
) -> Result<Footer, Fault> {
    let mut events = events.zip(streams).peekable();
    let (first, _) = *events.peek().expect("a chunk holds at least one event");
    let (first, mut footer) = (first.position, empty_footer(&first));
    let mut blocks = Blocks::new(draft);
    let mut scratch = Vec::new();
    for (event, stream) in events {
        let ordinal = event.position.0 - first.0;
        let ordinal = u32::try_from(ordinal).expect("a chunk has fewer than 2^32 events");
        blocks.push(draft, ordinal, *stream, &event)?;
        footer.digest = footer.digest.wrapping_add(event_digest(&event, &mut scratch));
        footer.count += 1;
        footer.last_position = event.position;
        footer.last_recorded_at = event.recorded_at;
    }
    blocks.finish(draft)?;
    Ok(footer)
}

fn empty_footer(first: &EventParts<'_>) -> Footer {
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

/// Writes postings, dictionary and its index.
fn write_keys(
    draft: &mut Draft,
    keys: &[KeyEvents<'_>],
    previous: Previous<'_>,
) -> Result<(), Fault> {
    let number = draft.identity.number;
    let mut dictionary = Index::new(draft);
    let (mut encoded, mut ordinals) = (Vec::new(), Vec::new());
    for key in keys {
        encoded.clear();
        encoded.push(key.kind);
        encoded.extend_from_slice(key.name.as_bytes());
        let before = previous(&encoded)?;
        ordinals.clear();
        put_ordinals(&mut ordinals, key.ordinals.iter().copied());
        let count = u32::try_from(key.ordinals.len()).expect("a chunk has fewer than 2^32 events");
        let last_version = |first: Version| Version(first.0 + u64::from(count) - 1);
        let versions = key.first_version.map(|first| (first, last_version(first)));
        let entry = NewEntry {
            key: &encoded,
            distance: before.map(|before| number - before.last_chunk),
            versions,
            total: if versions.is_none() { total(before, count) } else { 0 },
            count,
            ordinals: &ordinals,
        };
        dictionary.push(draft, &entry)?;
    }
    dictionary.finish(draft)
}

/// Returns the number of events recorded with a key that is no stream, by the end of a chunk that has `count`
/// of them; 0 if that number is not known, as it is not for the chunk before.
fn total(before: Option<KeyState>, count: u32) -> u64 {
    match before.map(|before| before.version.0) {
        Some(0) => 0,
        before => before.unwrap_or_default().saturating_add(u64::from(count)),
    }
}
