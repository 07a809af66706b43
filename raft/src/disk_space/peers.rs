//! The room on the disks of the peers, as they report it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::space::Room;

/// The time for which a peer's report of its room counts; a leader gets it with every heartbeat.
const REPORT_COUNTS_FOR: Duration = Duration::from_secs(2);

/// The rooms that the peers of a leader reported.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<BTreeMap<u64, (Room, Instant)>>);

impl Rooms {
    /// Notes the room that a peer reported just now.
    pub(crate) fn note(&self, node: u64, room: Room) {
        // An entry is only ever replaced whole.
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.insert(node, (room, Instant::now()));
    }

    /// Returns the room that a peer reported of late.
    pub(crate) fn of(&self, node: u64, now: Instant) -> Option<Room> {
        let rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (room, reported) = rooms.get(&node)?;
        (now.saturating_duration_since(*reported) < REPORT_COUNTS_FOR).then_some(*room)
    }

    /// Returns true if the voters that did not report of late that they are full are a majority of each configuration.
    pub(crate) fn enough_take_entries(&self, configs: &[BTreeSet<u64>], now: Instant) -> bool {
        configs.iter().all(|voters| {
            let full = voters.iter().filter(|voter| self.of(**voter, now) == Some(Room::Full));
            full.count() <= voters.len().saturating_sub(1) / 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_reported_is_forgotten_after_a_while() {
        let rooms = Rooms::default();
        rooms.note(2, Room::Full);
        let now = Instant::now();
        assert_eq!((rooms.of(2, now), rooms.of(3, now)), (Some(Room::Full), None));
        assert_eq!(rooms.of(2, now + REPORT_COUNTS_FOR), None);
    }
}
