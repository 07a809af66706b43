//! Sealing: the tail of a finished stretch of the log becomes a chunk and a checkpoint.

use std::sync::Arc;

use quorate_proto::LogId;

use super::open::open_chunk;
use crate::catalog::{Catalog, CatalogExport, Commit, Filter, hash_of};
use crate::chunk::{self, Chunk};
use crate::fault::Fault;
use crate::files::Folder;
use crate::format::catalog::CheckpointState;
use crate::format::chunk::ChunkSummary;
use crate::group::Row;
use crate::options::Options;
use crate::view::{Heads, Tail, View};

/// A seal that is to be run, on any thread; made by [`crate::Store::begin_seal`].
#[derive(Debug)]
pub struct Seal {
    pub(crate) epoch: u64,
    pub(crate) folder: Folder,
    pub(crate) options: Options,
    pub(crate) catalog: Arc<Catalog>,
    /// The view of the store when the seal began.
    pub(crate) view: Arc<View>,
    pub(crate) tail: Arc<Tail>,
    /// The heads of the tails sealed before, to which those of this tail are added.
    pub(crate) heads: Arc<Heads>,
    /// The number that the chunk gets, if there are events to write.
    pub(crate) number: u64,
    pub(crate) log_id: LogId,
    pub(crate) state: CheckpointState,
    /// The changes of consumer groups up to `log_id`.
    pub(crate) groups: Arc<[Row]>,
}

impl Seal {
    /// The last entry of the stretch. **The caller first waits until its log is flushed up to this entry**: a
    /// checkpoint must never be ahead of the log that it is a checkpoint of.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Writes the chunk, if there were events, and commits the checkpoint. Both are durable on return.
    ///
    /// If a chunk that is in use turns out to be damaged ([`crate::Store::note_damage`] knows it), nothing is durable, and
    /// the seal can be taken once more when the chunk is repaired ([`crate::Store::begin_seal_again`]). After any other
    /// error the node must stop, as the state of the disk is not known.
    pub fn run(self) -> Result<Sealed, Fault> {
        let (chunk, keys) = if self.tail.is_empty() {
            self.commit(None, 0)?;
            (None, 0)
        } else {
            self.write_chunk()?
        };
        let pinned = Arc::new(self.catalog.export()?);
        // The view is the one before the seal: what it holds is older than the tail.
        self.heads.fill(&self.view, keys);
        self.heads.put_sealed(&self.tail, self.number);
        Ok(Sealed { epoch: self.epoch, log_id: self.log_id, chunk, pinned })
    }

    /// Writes the chunk and commits the checkpoint; returns the chunk, `None` if an install has overtaken the seal, and the
    /// number of its keys.
    fn write_chunk(&self) -> Result<(Option<Arc<Chunk>>, usize), Fault> {
        let (mut finder, mut hashes) = (self.view.index().finder()?, Vec::new());
        let mut previous = |key: &[u8]| {
            let hash = hash_of(key);
            hashes.push(hash);
            match self.heads.key_state(key, self.number) {
                Some(state) => Ok(state),
                None => finder.find(key, hash),
            }
        };
        let identity = self.options.identity(self.number);
        let (vfs, draft) = (&*self.folder.vfs, self.folder.draft(self.number));
        let summary = self.tail.with_all(|events, keys| {
            chunk::write(vfs, &draft, &identity, events, keys, &mut previous)
        })?;
        if !self.folder.publish(self.number, self.epoch)? {
            return Ok((None, 0));
        }
        let chunk = open_chunk(&self.folder, &self.options, &summary)?;
        // Chunk and folder are durable; only now may the catalog name the chunk.
        let filter = Arc::new(Filter::of(hashes.iter().copied()));
        self.commit(Some((&summary, &filter)), hashes.len())?;
        Ok((Some(chunk), hashes.len()))
    }

    fn commit(
        &self,
        new_chunk: Option<(&ChunkSummary, &Arc<Filter>)>,
        new_keys: usize,
    ) -> Result<(), Fault> {
        let fold = &self.view.index().fold(self.options.filter_bytes, new_keys)?;
        let (records, snapshots) = self
            .tail
            .with_changes(|changes| (changes.newest_records(), changes.newest_snapshots()));
        let (state, records, snapshots) = (&self.state, &records[..], &snapshots[..]);
        let groups = &self.groups;
        self.catalog.commit(&Commit { state, new_chunk, fold, records, snapshots, groups })
    }
}

/// A seal that was run; it is to be given to [`crate::Store::finish_seal`].
#[derive(Debug)]
pub struct Sealed {
    pub(crate) epoch: u64,
    pub(crate) log_id: LogId,
    pub(crate) chunk: Option<Arc<Chunk>>,
    pub(crate) pinned: Arc<CatalogExport>,
}

impl Sealed {
    /// The last entry of the durable checkpoint: log entries up to it are not needed any more.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}
