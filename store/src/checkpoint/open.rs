//! A durable checkpoint, opened: the catalog, the chunks, the consumer groups, and the window of ids at its end.

use std::path::Path;
use std::sync::Arc;

use quorate_proto::limits::RETRY_WINDOW;
use quorate_proto::{EventId, LogIndex, Position};

use crate::catalog::{Catalog, CatalogExport};
use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::files::Folder;
use crate::format::catalog::CheckpointState;
use crate::format::chunk::ChunkSummary;
use crate::group::Groups;
use crate::options::Options;
use crate::view::{ChunkSlot, Hasher, Window, ordinal_of};

/// A checkpoint that a store builds on.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// The number of the catalog's file.
    pub(crate) number: u64,
    pub(crate) catalog: Arc<Catalog>,
    /// The catalog at this checkpoint; later commits do not change it.
    pub(crate) pinned: Arc<CatalogExport>,
    pub(crate) chunks: Arc<Vec<ChunkSlot>>,
    /// The window of ids; `None` if a damaged chunk holds ids that it needs.
    pub(crate) window: Option<Window>,
    pub(crate) groups: Groups,
}

impl Checkpoint {
    /// Opens the newest checkpoint of the folder, or founds an empty one in a new folder. Removes the files
    /// that belong to no checkpoint.
    pub(crate) fn open(folder: &Folder, options: &Options) -> Result<Checkpoint, Fault> {
        let (number, catalog) = match folder.current()? {
            Some(number) => (number, {
                let path = folder.catalog(number);
                Catalog::open(&folder.vfs, &path, options.catalog_cache_bytes)?
            }),
            None => (1, found(folder, options)?),
        };
        check_identity(&folder.catalog(number), &catalog.state(), options)?;
        let summaries = catalog.chunks();
        folder.clean(Some(number), summaries.iter().map(|summary| summary.number))?;
        let index = catalog.state().log_id.map(|id| id.index);
        let slots = summaries.into_iter().map(|summary| open_slot(folder, options, index, summary));
        let slots = slots.collect::<Result<_, _>>()?;
        Checkpoint::with(number, catalog, slots, options)
    }

    /// Makes a checkpoint of a catalog and its chunks, in order.
    pub(crate) fn with(
        number: u64,
        catalog: Catalog,
        mut chunks: Vec<ChunkSlot>,
        options: &Options,
    ) -> Result<Checkpoint, Fault> {
        let window = window(&mut chunks, catalog.state().position, options);
        let pinned = Arc::new(catalog.export()?);
        let groups = pinned.groups()?;
        let (catalog, chunks) = (Arc::new(catalog), Arc::new(chunks));
        Ok(Checkpoint { number, catalog, pinned, chunks, window, groups })
    }
}

/// Opens a chunk of the catalog's list. If a fetched copy exists, it replaces the chunk first: the power may have
/// failed while an install gave the chunks their names. The chunk was fetched because the one here was missing or
/// damaged; every byte of the copy was verified then, while of the one here only the ends are read.
fn open_slot(
    folder: &Folder,
    options: &Options,
    checkpoint: Option<LogIndex>,
    summary: ChunkSummary,
) -> Result<ChunkSlot, Fault> {
    let open = || {
        let chunk = open_chunk(folder, options, &summary)?;
        chunk.check_scavenged(checkpoint).map(|()| chunk)
    };
    if is_fetched(folder, options, checkpoint, &summary)? {
        folder.adopt(summary.number)?;
    }
    match open() {
        Ok(chunk) => {
            folder.remove_if_there(&folder.fetched(summary.number))?;
            Ok(ChunkSlot::Whole(chunk))
        }
        Err(fault) if fault.is_damage() => Ok(ChunkSlot::damaged(summary, fault)),
        // The chunk could only not be read this time: another start may find it whole.
        Err(fault) => Err(fault),
    }
}

/// Returns true if a chunk of this checkpoint was fetched whole and does not have its name yet. A chunk that
/// a later install fetched may have been scavenged below floors that this checkpoint does not know.
fn is_fetched(
    folder: &Folder,
    options: &Options,
    checkpoint: Option<LogIndex>,
    summary: &ChunkSummary,
) -> Result<bool, Fault> {
    let path = folder.fetched(summary.number);
    if !folder.vfs.exists(&path).map_err(Fault::io("find", &path))? {
        return Ok(false);
    }
    let opened = open_chunk_at(folder, options, summary, &path);
    match opened.and_then(|chunk| chunk.check_scavenged(checkpoint)) {
        Ok(()) => Ok(true),
        Err(fault) if fault.is_damage() => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Opens a chunk of the catalog's list.
pub(crate) fn open_chunk(
    folder: &Folder,
    options: &Options,
    summary: &ChunkSummary,
) -> Result<Arc<Chunk>, Fault> {
    open_chunk_at(folder, options, summary, &folder.chunk(summary.number)).map(Arc::new)
}

/// Opens a chunk of the catalog's list under another name than its own.
pub(crate) fn open_chunk_at(
    folder: &Folder,
    options: &Options,
    summary: &ChunkSummary,
    path: &Path,
) -> Result<Chunk, Fault> {
    let identity = options.identity(summary.number);
    Chunk::open(&*folder.vfs, path, &identity, summary, &folder.cache)
}

/// Creates an empty catalog and names it as the one in use.
fn found(folder: &Folder, options: &Options) -> Result<Catalog, Fault> {
    folder.clean(None, std::iter::empty())?;
    let state = CheckpointState {
        cluster: options.cluster,
        log: options.log,
        chunk_bytes: options.chunk_bytes,
        log_id: None,
        attachment: bytes::Bytes::new(),
        position: Position::ZERO,
        recorded_at: quorate_proto::Timestamp::default(),
        digest: 0,
        next_chunk: 1,
    };
    let catalog =
        Catalog::create(&folder.vfs, &folder.catalog(1), &state, options.catalog_cache_bytes)?;
    folder.set_current(1)?;
    Ok(catalog)
}

/// Refuses a checkpoint of another cluster, log or chunk size.
pub(crate) fn check_identity(
    path: &Path,
    state: &CheckpointState,
    options: &Options,
) -> Result<(), Fault> {
    let refuse = |what: &str| Err(Fault::foreign(path, format!("it belongs to another {what}")));
    if state.cluster != options.cluster {
        return refuse("cluster");
    }
    if state.log != options.log {
        return refuse("log");
    }
    if state.chunk_bytes != options.chunk_bytes {
        return refuse("chunk size");
    }
    Ok(())
}

/// Returns the ids of the newest positions, from the chunks that hold them; `None` if one of these chunks is
/// damaged. A chunk whose ids turn out to be damaged is marked.
pub(crate) fn window(
    chunks: &mut [ChunkSlot],
    last: Position,
    options: &Options,
) -> Option<Window> {
    let before = Position(last.0.saturating_sub(RETRY_WINDOW));
    let mut window =
        Some(Window::with_room(Hasher::new(&options.hash_seed), before, last.0 - before.0));
    let needed = chunks.partition_point(|slot| slot.summary().last_position <= before);
    for slot in chunks.get_mut(needed..).unwrap_or_default() {
        match ids_after(slot, before) {
            Ok(ids) => window.iter_mut().for_each(|window| window.extend(&ids)),
            Err(fault) => {
                *slot = ChunkSlot::damaged(slot.summary().clone(), fault);
                window = None;
            }
        }
    }
    window
}

/// Returns the ids of a chunk from the position after `before` on.
fn ids_after(slot: &ChunkSlot, before: Position) -> Result<Vec<EventId>, Fault> {
    slot.chunk()?.ids_from(ordinal_of(before.next(), slot.summary().first_position))
}
