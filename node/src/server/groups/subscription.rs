//! The subscription of a group: a task that reads the events of the group's query ahead, behind a short channel.

use std::sync::Arc;

use quorate_proto::{Consistency, Position, Problem, Query, Read};
use quorate_raft::host::Host;
use quorate_store::{Reader, StoredEvent};
use tokio::sync::mpsc;

use crate::server::read::{Live, Step, Subscription};

/// A message of the subscription.
pub(super) enum Found {
    /// The next events that match.
    Events(Vec<StoredEvent>),
    /// Everything that matches up to this position was sent.
    Through(Position),
    /// The subscription cannot continue.
    Broken(Problem),
}

/// Subscribes to a query after a position. The task ends when the channel is dropped; it waits while nobody takes the
/// message that it has.
pub(super) fn begin<H: Host>(
    live: Arc<Live<H>>,
    reader: Reader,
    query: Query,
    after: Position,
) -> mpsc::Receiver<Found> {
    let (sender, receiver) = mpsc::channel(1);
    // Local consistency is enough: this node leads, or the owner ends.
    let mut read = Read { follow: true, consistency: Consistency::Local, ..Read::query(query) };
    read.bounds.after = after.0;
    tokio::spawn(async move {
        let mut subscription: Subscription<H, Vec<StoredEvent>> =
            Subscription::begin(live, reader, read);
        loop {
            let step = tokio::select! {
                step = subscription.next() => step,
                () = sender.closed() => return,
            };
            let found = match step {
                Ok(Step::Point { .. } | Step::StillHere) => continue,
                Ok(Step::Events(events)) => Found::Events(events),
                Ok(Step::CaughtUp(cursor) | Step::FellBehind(cursor) | Step::Progress(cursor)) => {
                    Found::Through(cursor.position)
                }
                Ok(Step::End) => return,
                Err(problem) => Found::Broken(problem),
            };
            let is_last = matches!(found, Found::Broken(_));
            if sender.send(found).await.is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
