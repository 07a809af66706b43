//! Brings a store up to date from the log, before Raft starts.

use quorate_store::{Fault, Store};

use crate::adapter::entry;
use crate::disk_space::{Room, Space};
use crate::log::RaftLog;

/// Most bytes of entries that are read at once when the log is replayed.
const REPLAY_BYTES: usize = 16 * 1024 * 1024;
/// The share of a long replay after which its progress is logged again, in percent.
const LOG_EVERY_PERCENT: u64 = 10;

/// A store that was brought up to date, as far as possible.
pub(crate) struct Replayed {
    pub(crate) store: Store,
    pub(crate) waits_for_repairs: bool,
}

/// Brings a store up to date. If a chunk that the replay needs is damaged, the store stays as it was
/// at its checkpoint: the rest is applied once the chunk was repaired from a peer. Votes do not wait for that,
/// and other nodes can repair their chunks from this node's.
pub(crate) fn bring_up_to_date(
    mut store: Store,
    open_again: impl FnOnce() -> Result<Store, Fault>,
    log: &RaftLog,
    space: &Space,
) -> Result<Replayed, Fault> {
    if store.must_repair() {
        tracing::error!("the log is replayed when the damaged chunks are repaired");
        return Ok(Replayed { store, waits_for_repairs: true });
    }
    let Err(fault) = replay(&mut store, log, space) else {
        return Ok(Replayed { store, waits_for_repairs: false });
    };
    if store.note_damage(&fault).is_none() {
        return Err(fault);
    }
    tracing::error!("the log is replayed when this is repaired: {fault}");
    drop(store);
    let mut store = open_again()?;
    store.note_damage(&fault);
    Ok(Replayed { store, waits_for_repairs: true })
}

/// Applies the log's entries after the store's newest checkpoint, up to the committed mark, before Raft
/// starts: openraft would do it 64 entries at a time. All of them are durable, for the log was just opened.
///
/// If a seal is needed and there is no room for it, the rest is left: it is applied when there is room, and
/// votes do not wait for that.
fn replay(store: &mut Store, log: &RaftLog, space: &Space) -> Result<(), Fault> {
    let Some(committed) = log.state().committed else {
        return Ok(());
    };
    let mut next = store.applied().map_or(0, |applied| applied.index.0 + 1);
    let (begin, end) = (next, committed.index.0 + 1);
    if next < end {
        tracing::info!("replaying the log from {next} to {committed}");
    }
    let mut logged = 0;
    while next < end {
        for entry in log.read(next, end, REPLAY_BYTES)? {
            if store.must_wait() {
                tracing::warn!("the log from {next} on is replayed when there is space");
                return Ok(());
            }
            next = entry.id.index.0 + 1;
            let index = entry.id.index.0;
            let entry = entry::from_log(entry)
                .and_then(|entry| entry::to_store(entry, store.attachment()))
                .map_err(|malformed| Fault::Command { index, why: malformed.to_string() })?;
            store.apply(entry)?;
            while space.room() < Room::Full
                && let Some(seal) = store.begin_seal()
            {
                let sealed = seal.run()?;
                store.finish_seal(sealed)?;
            }
        }
        let percent = (next - begin) * 100 / (end - begin);
        if percent >= logged + LOG_EVERY_PERCENT && next < end {
            tracing::info!("replayed the log up to {next}, {percent} % of it");
            logged = percent;
        }
    }
    Ok(())
}
