//! Writes a chunk: the events as they come, then the indexes that find them.

use std::borrow::Borrow;
use std::path::Path;

use bytes::Bytes;
use quorate_proto::Version;

use super::Written;
use super::blocks::Blocks;
use super::draft::Draft;
use super::index::Index;
use super::postings::{KeyPostings, Postings};
use crate::format::catalog::KeyState;
use crate::format::chunk::dictionary::{Entry, Ordinals};
use crate::format::chunk::{ChunkIdentity, Footer, Removed, event_digest};
use crate::vfs::Vfs;
use crate::{Fault, Key, StoredEvent};

/// Writes a chunk of consecutive events, at least one. On return the file is durable, but not yet its name.
///
/// `previous` returns where a key was last seen before this chunk; it is called once for every key, in
/// ascending order. A file of this name, left by a crash, is replaced.
///
/// # Panics
/// When there is no event, or one that is out of order.
pub(crate) fn write(
    vfs: &dyn Vfs,
    path: &Path,
    identity: &ChunkIdentity,
    events: impl IntoIterator<Item: Borrow<StoredEvent>>,
    previous: &mut dyn FnMut(&Key) -> Result<Option<KeyState>, Fault>,
) -> Result<Written, Fault> {
    let mut draft = Draft::create(vfs, path, *identity)?;
    let (mut footer, postings) = write_events(&mut draft, events)?;
    let keys = write_keys(&mut draft, postings.finish(), previous)?;
    draft.finish(&mut footer)?;
    Ok(Written { summary: footer.summary(identity.number), keys })
}

fn write_events(
    draft: &mut Draft,
    events: impl IntoIterator<Item: Borrow<StoredEvent>>,
) -> Result<(Footer, Postings), Fault> {
    let mut events = events.into_iter().peekable();
    let first = events.peek().expect("a chunk holds at least one event").borrow();
    let (first, mut footer) = (first.position, empty_footer(first));
    let (mut blocks, mut postings) = (Blocks::new(draft), Postings::default());
    let mut scratch = Vec::new();
    for event in events {
        let event = event.borrow();
        let ordinal = event.position.0 - first.0;
        let ordinal = u32::try_from(ordinal).expect("a chunk has fewer than 2^32 events");
        blocks.push(draft, ordinal, event)?;
        postings.push(ordinal, event);
        footer.digest = footer.digest.wrapping_add(event_digest(event, &mut scratch));
        footer.count += 1;
        footer.last_position = event.position;
        footer.last_recorded_at = event.recorded_at;
    }
    blocks.finish(draft)?;
    Ok((footer, postings))
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

/// Writes postings, dictionary and its index; returns the keys for the catalog.
fn write_keys(
    draft: &mut Draft,
    keys: Vec<(Key, KeyPostings)>,
    previous: &mut dyn FnMut(&Key) -> Result<Option<KeyState>, Fault>,
) -> Result<Vec<(Key, KeyState)>, Fault> {
    let number = draft.identity.number;
    let mut dictionary = Index::new(draft);
    let mut states = Vec::with_capacity(keys.len());
    for (key, postings) in keys {
        let before = previous(&key)?;
        let distance = before.map(|before| number - before.last_chunk);
        let KeyPostings { encoded, count, versions, .. } = postings;
        let total = if versions.is_none() { total(before, count) } else { 0 };
        let version = versions.map_or(Version(total), |(_, last)| last);
        let ordinals = Ordinals::Here(Bytes::from(encoded));
        let entry = Entry { key: key.encode(), distance, versions, total, count, ordinals };
        dictionary.push(draft, entry)?;
        states.push((key, KeyState { last_chunk: number, version }));
    }
    dictionary.finish(draft)?;
    Ok(states)
}

/// Returns the number of events recorded with a key that is no stream, by the end of a chunk that has `count`
/// of them; 0 if that number is not known, as it is not for the chunk before.
fn total(before: Option<KeyState>, count: u32) -> u64 {
    match before.map(|before| before.version.0) {
        Some(0) => 0,
        before => before.unwrap_or_default().saturating_add(u64::from(count)),
    }
}
