//! The room on the disk, and the node's behaviour when there is little of it.
//!
//! ```text
//! free bytes
//!   |  plenty   everything goes
//!   +--------   the reserve
//!   |  low      the leader takes no appends of users, and hands over to a voter with room; `truncate`,
//!   |           `delete`, seals and scavenges go on
//!   +--------   half of it
//!   |  full     no commands are taken, from the leader either, before openraft sees them, and no checkpoint of
//!   |           another node; no seal begins, and apply waits where it needs one. Votes, heartbeats,
//!   |           truncations and marks of the log are written to segments that are there already; a scavenge
//!   |           goes on down to half of this
//! ```
//!
//! All these limits end by themselves when there is space. The node must not run into an error of the disk instead:
//! nobody knows what is on the disk after an error, so it stops the node.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_store::Fault;
use quorate_store::vfs::Vfs;
use tokio::sync::watch;

/// The number of chunk sizes in the smallest reserve: one to be scavenged, one to be sealed, and as much again
/// for what is on its way when the reserve is reached.
const RESERVE_CHUNKS: u64 = 4;

/// The room that a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// More free bytes than the reserve.
    #[default]
    Plenty,
    /// Fewer free bytes than the reserve: nothing that can wait is taken.
    Low,
    /// Fewer free bytes than half of the reserve: no commands are taken.
    Full,
}

/// The room on this node's disk, as it was measured last.
#[derive(Debug)]
pub(crate) struct Space {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    reserve: u64,
    found: watch::Sender<Measurement>,
}

/// A measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measurement {
    pub(crate) free: u64,
    pub(crate) room: Room,
}

impl Space {
    /// Measures the disk of a node's folder; `reserve` is the configured number of bytes.
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        directory: PathBuf,
        reserve: Option<u64>,
        chunk_bytes: u64,
    ) -> Result<Space, Fault> {
        let least = chunk_bytes.saturating_mul(RESERVE_CHUNKS);
        let reserve = reserve.map_or(least, |reserve| reserve.max(least));
        let space = Space { vfs, directory, reserve, found: watch::Sender::default() };
        space.note(space.measure()?);
        Ok(space)
    }

    /// Returns the number of free bytes, as of now. It blocks.
    pub(crate) fn measure(&self) -> Result<u64, Fault> {
        self.vfs.free_bytes(&self.directory).map_err(Fault::io("measure", &self.directory))
    }

    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    pub(crate) fn room(&self) -> Room {
        self.found.borrow().room
    }

    /// Returns a watch on the measurements.
    pub(crate) fn found(&self) -> watch::Receiver<Measurement> {
        self.found.subscribe()
    }

    /// Notes the number of free bytes; returns the new room if it changed.
    pub(crate) fn note(&self, free: u64) -> Option<Room> {
        let mut changed = None;
        self.found.send_if_modified(|found| {
            let before = *found;
            *found = Measurement { free, room: judge(before.room, self.reserve, free) };
            changed = (found.room != before.room).then_some(found.room);
            *found != before
        });
        changed
    }

    /// Waits until a seal may begin.
    pub(crate) async fn for_a_seal(&self) {
        let mut found = self.found.subscribe();
        // The sender lives as long as `self`.
        let _room = found.wait_for(|found| found.room != Room::Full).await;
    }

    /// Returns true if a chunk may be written anew: that frees space, so it may use the reserve. It blocks.
    pub(crate) fn is_enough_to_scavenge(&self) -> Result<bool, Fault> {
        Ok(self.measure()? >= self.reserve / 4)
    }

    /// Returns the number of free bytes, if `bytes` of another node's checkpoint do not fit. It blocks.
    pub(crate) fn lacks_room_for(&self, bytes: u64) -> Result<Option<u64>, Fault> {
        let free = self.measure()?;
        Ok((free < bytes.saturating_add(self.reserve / 2)).then_some(free))
    }

    /// Returns true if parts of another node's checkpoint may be written. It blocks.
    pub(crate) fn is_enough_to_install(&self) -> Result<bool, Fault> {
        Ok(self.measure()? >= self.reserve / 2)
    }
}

/// Returns the room for a number of free bytes. A level is left only well above where it is entered, so that
/// the node does not swing back and forth.
fn judge(before: Room, reserve: u64, free: u64) -> Room {
    let is_below = |level: u64, was_below: bool| {
        free < if was_below { level.saturating_add(level / 4) } else { level }
    };
    if is_below(reserve / 2, before == Room::Full) {
        Room::Full
    } else if is_below(reserve, before != Room::Plenty) {
        Room::Low
    } else {
        Room::Plenty
    }
}

#[cfg(test)]
mod tests {
    use quorate_store::vfs::MemVfs;

    use super::*;

    fn space(reserve: Option<u64>) -> Space {
        Space::new(Arc::new(MemVfs::new()), "/".into(), reserve, 100).expect("measured")
    }

    #[test]
    fn a_level_is_left_only_well_above_where_it_is_entered() {
        let space = space(Some(1000));
        let rooms = [1000, 999, 1249, 500, 499, 624, 625, 1249, 1250].map(|free| {
            space.note(free);
            space.room()
        });
        let (plenty, low, full) = (Room::Plenty, Room::Low, Room::Full);
        assert_eq!(rooms, [plenty, low, low, low, full, full, low, low, plenty]);
    }

    #[test]
    fn a_reserve_is_at_least_four_chunk_sizes() {
        assert_eq!(space(Some(1)).reserve(), 400);
        assert_eq!(space(None).reserve(), 400);
        assert_eq!(space(Some(1000)).reserve(), 1000);
    }
}
