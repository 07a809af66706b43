//! Opens a node's folder: counts the start, reads the store and the log, and replays one on the other.

use std::path::Path;

use quorate_proto::LogId;
use quorate_store::{Fault, Options, Store};
use tokio::sync::watch;

use crate::disk_space::{Room, Space};
use crate::failure::Failure;
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::log::{ADVICE, LogOptions, RaftLog};
use crate::machine::{self, Replayed};
use crate::options::ReplicaOptions;

/// The number of bytes of the newest entries that the log keeps in memory, for apply and for followers.
const LOG_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// The number of bytes of memory for the heads of streams: two million of them with names of 20 bytes.
const HEAD_CACHE_BYTES: usize = 96 * 1024 * 1024;
/// The number of bytes of memory for pages of the catalog.
const CATALOG_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// The number of bytes of memory for the filters of the newest chunks.
const FILTER_BYTES: usize = 16 * 1024 * 1024;

/// Adds advice to a fault about damage in the store's folder, chunks aside.
fn advise(fault: Fault) -> Fault {
    match fault {
        Fault::Damaged { path, offset, why } => {
            Fault::damaged(&path, offset, format!("{why}; {ADVICE}"))
        }
        Fault::Io { ref path, ref source, .. } if fault.is_damage() => {
            Fault::damaged(path, 0, format!("it cannot be read ({source}); {ADVICE}"))
        }
        other => other,
    }
}

/// Explains a fault where the catalog lacks entries that the log has purged: the catalog is an older copy.
fn explain_older_catalog(
    fault: Fault,
    directory: &Path,
    purged: Option<LogId>,
    covered: Option<LogId>,
) -> Fault {
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index.0);
    if purged.map(|id| id.index) <= covered.map(|id| id.index) {
        return fault;
    }
    let why = format!(
        "it names a catalog that ends at entry {} of the log, which begins behind {} ({fault}): the catalog is an older \
         copy",
        index(covered),
        index(purged)
    );
    Fault::damaged(&directory.join("CURRENT"), 0, format!("{why}; {ADVICE}"))
}

/// A folder that was opened and brought up to date.
pub(super) struct Opened {
    pub(super) boot: u64,
    pub(super) log: RaftLog,
    pub(super) replayed: Replayed,
    pub(super) space: Space,
    pub(super) writer_ended: watch::Receiver<bool>,
}

/// Opens the folder of a node, and brings its store up to date.
pub(super) async fn open<H: Host>(
    host: &H,
    options: &ReplicaOptions,
    identity: Identity,
    failure: &Failure,
) -> Result<Opened, Fault> {
    let (vfs, directory) = (host.vfs(), options.directory.clone());
    let (segment_bytes, reserve) = (options.segment_bytes, options.reserve_bytes);
    let block_cache_bytes = options.block_cache_bytes;
    let hash_seed = host.random().to_le_bytes();
    let opened = host.run(move || {
        let mut started = identity::count_boot(&*vfs, &directory)?;
        let (boot, reach) = (started.times(), started.reach());
        let Identity { cluster, log, node, chunk_bytes, .. } = identity;
        let space = Space::new(vfs.clone(), directory.clone(), reserve, chunk_bytes)?;
        let options = Options {
            cluster,
            log,
            chunk_bytes,
            hash_seed,
            head_cache_bytes: HEAD_CACHE_BYTES,
            block_cache_bytes,
            catalog_cache_bytes: CATALOG_CACHE_BYTES,
            filter_bytes: FILTER_BYTES,
        };
        let (folder, disk) = (directory.clone(), vfs.clone());
        let open_store = move || Store::open(disk.clone(), &folder, options.clone());
        let store = open_store().map_err(advise)?;
        let covered = store.checkpointed();
        let cache_bytes = LOG_CACHE_BYTES;
        let options =
            LogOptions { cluster, log, node, segment_bytes, cache_bytes, covered, reach, boot };
        let (log, mut writer) = RaftLog::open(vfs, &directory.join("log"), options)?;
        writer.keep_reach(move |reach| started.reaches(reach))?;
        log.fill_ahead(space.room() < Room::Full);
        let purged = log.state().purged;
        let explain = |fault| explain_older_catalog(fault, &directory, purged, covered);
        let replayed =
            machine::bring_up_to_date(store, open_store, &log, &space).map_err(explain)?;
        Ok((boot, log, writer, replayed, space))
    });
    let (boot, log, writer, replayed, space) = opened.await?;
    let (ended, writer_ended) = watch::channel(false);
    let failure = failure.clone();
    let stopped = move |outcome: Result<(), Fault>| {
        if let Err(fault) = outcome {
            failure.report(fault);
        }
        ended.send_replace(true);
    };
    host.start_log_writer(writer, Box::new(stopped));
    Ok(Opened { boot, log, replayed, space, writer_ended })
}
