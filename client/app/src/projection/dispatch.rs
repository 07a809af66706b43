//! Shares the events of a projection's subscription among its partitions.

use std::sync::Arc;

use futures_util::FutureExt;
use quorate_client::{Message, Problem, RecordedEvent};
use tokio::sync::{Semaphore, mpsc, watch};

use super::partition::{KeyOf, Partitioning};
use super::source::EventSubscription;
use super::worker::{Work, size};
use crate::status::Board;

/// The number of events after which the mark is set for all partitions.
const MARK_EVENTS: usize = 256;

/// The largest number of bytes of events that wait for a worker or are in its hands.
const ROOM_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Returns the room for events that wait for a worker or are in its hands, in bytes.
pub(super) fn room_bytes(batch_bytes: usize, partitions: u32) -> usize {
    batch_bytes.saturating_mul(2).saturating_mul(partitions as usize).min(ROOM_BYTES_MAX)
}

/// Shares the events of the subscription among the partitions.
pub(super) struct Dispatch<'a> {
    pub(super) board: &'a Board,
    pub(super) partitioning: Partitioning,
    pub(super) key_of: Option<&'a KeyOf>,
    pub(super) room_bytes: usize,
    pub(super) room: Arc<Semaphore>,
    pub(super) queues: Vec<mpsc::Sender<Work>>,
    /// The position up to which the partitions were given everything.
    pub(super) mark: watch::Sender<u64>,
    /// The bookmark of each partition.
    pub(super) bookmarks: Vec<u64>,
    /// The position to end at.
    pub(super) until: Option<u64>,
}

impl Dispatch<'_> {
    /// Returns true if the position to end at was reached, false if the subscription or a worker ended before.
    pub(super) async fn run(
        self,
        mut subscription: impl EventSubscription,
    ) -> Result<bool, Problem> {
        let (mut position, mut unmarked) = (0, 0);
        loop {
            // Before it waits for the next event, the mark of the last one is set for all partitions.
            let at_hand = if unmarked > 0 { subscription.next().now_or_never() } else { None };
            if at_hand.is_none() || unmarked >= MARK_EVENTS {
                self.mark.send_if_modified(|mark| std::mem::replace(mark, position) != position);
                unmarked = 0;
            }
            let next = match at_hand {
                Some(next) => next,
                None => subscription.next().await,
            };
            let Some(message) = next? else { break };
            match message {
                Message::Event(event)
                    if self.until.is_some_and(|until| event.position.0 > until) =>
                {
                    return Ok(self.arrive());
                }
                Message::Event(event) => {
                    position = event.position.0;
                    if !self.hand_over(event).await {
                        return Ok(false);
                    }
                }
                Message::CaughtUp(at) => {
                    position = at.position.0;
                    self.board.caught_up(position);
                }
                Message::Progress(at) => {
                    position = at.position.0;
                    self.board.head(position);
                }
                Message::FellBehind(at) => {
                    self.board.fell_behind();
                    self.board.head(at.position.0);
                }
            }
            unmarked += 1;
            if self.until.is_some_and(|until| position >= until) {
                return Ok(self.arrive());
            }
        }
        self.mark.send_replace(position);
        Ok(false)
    }

    /// Gives an event to its partition, unless the partition has it. Returns false if the partition has ended.
    async fn hand_over(&self, event: RecordedEvent) -> bool {
        let partition = self.partitioning.of(&event, self.key_of) as usize;
        let bookmark = self.bookmarks.get(partition).copied().unwrap_or_default();
        if event.position.0 <= bookmark {
            return true;
        }
        let Some(queue) = self.queues.get(partition) else { return false };
        let bytes = size(&event).min(self.room_bytes) as u32;
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else { return false };
        queue.send((event, room)).await.is_ok()
    }

    /// Sets the mark at the position to end at: the partitions were given everything up to it.
    fn arrive(&self) -> bool {
        if let Some(until) = self.until {
            self.mark.send_replace(until);
        }
        true
    }
}
