//! The worker of one partition: it applies batches of waiting events, each with its bookmark in one transaction.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_client::RecordedEvent;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use super::error::ProjectionError;
use super::handler::{Handler, HandlerError};
use super::retry::LOST;
use super::store::{Parked, Slot, Step, Store, StoreError};
use super::{OnFailure, Projection};
use crate::status::Board;

/// The shortest time between two bookmarks while there is nothing to apply.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// The largest number of parked events of a projection.
const PARKED_MAX: usize = 10_000;
/// The largest size of the reason why an event is parked, in bytes.
const REASON_BYTES_MAX: usize = 4_096;

/// An event for a partition. Its share of the room for events is given back when it is done.
pub(super) type Work = (RecordedEvent, OwnedSemaphorePermit);

/// A model that this process owns.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) slot: Slot,
    pub(super) generation: u64,
    pub(super) owner: String,
}

/// The reason why a partition ended before it was stopped.
pub(super) enum Halt {
    /// Another process owns the model, or the model was swapped.
    Moved,
    /// The projection cannot go on.
    Failed(ProjectionError),
}

impl From<ProjectionError> for Halt {
    fn from(error: ProjectionError) -> Halt {
        Halt::Failed(error)
    }
}

/// The reason why a transaction failed.
enum Fault {
    Moved,
    /// The database cannot be reached, or cannot do it now.
    Lost(String),
    /// The database refused before any event was applied.
    Refused(StoreError),
    /// The event at this index of the batch cannot be applied.
    Event(usize, HandlerError),
    /// An unknown event of the batch cannot be applied: the error came at the end of the transaction.
    Batch(StoreError),
}

/// The worker of one partition.
///
/// `position` is that of the bookmark, as far as is known; whenever the worker waits for more, everything that was
/// taken from the queue before is at or below it.
pub(super) struct Worker<S: Store, H> {
    pub(super) projection: Projection<S, H>,
    pub(super) held: Held,
    pub(super) partition: u32,
    pub(super) position: u64,
    pub(super) queue: mpsc::Receiver<Work>,
    /// A position: everything of this partition up to it was put into the queue before the mark was set.
    pub(super) mark: watch::Receiver<u64>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) board: Arc<Board>,
}

/// Events to apply together, and the position up to which everything is applied then.
#[derive(Default)]
struct Batch {
    events: Vec<RecordedEvent>,
    room: Vec<OwnedSemaphorePermit>,
    bytes: usize,
    to: u64,
}

impl Batch {
    fn push(&mut self, (event, room): Work) {
        self.to = event.position.0;
        self.bytes += size(&event);
        self.events.push(event);
        self.room.push(room);
    }
}

/// Returns the share of the room that an event takes, in bytes.
pub(super) fn size(event: &RecordedEvent) -> usize {
    size_of::<RecordedEvent>() + event.data.len() + event.metadata.len()
}

impl<S: Store, H: Handler<S::Model>> Worker<S, H> {
    /// Works until the queue ends or the worker is stopped.
    pub(super) async fn work(mut self) -> Result<(), Halt> {
        // An instant cannot lie before the clock's beginning, so the next moment is kept, not the last one.
        let mut idle_at = Instant::now();
        while let Some(batch) = self.collect(idle_at).await {
            self.settle(batch).await?;
            idle_at = Instant::now() + IDLE_INTERVAL;
        }
        Ok(())
    }

    /// Waits for something to do, then takes all that waits; from `idle_at` on that may be a bookmark alone.
    async fn collect(&mut self, idle_at: Instant) -> Option<Batch> {
        let mut batch = Batch { to: self.position, ..Batch::default() };
        loop {
            let is_over = self.take(&mut batch);
            if !batch.events.is_empty() {
                return Some(batch);
            }
            // The bookmark may follow later: nothing is lost if it does not.
            self.board.moved(self.partition, batch.to, 0);
            if is_over {
                return (batch.to > self.position).then_some(batch);
            }
            let is_due = tokio::time::sleep_until(idle_at);
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return None,
                work = self.queue.recv() => if let Some(work) = work { batch.push(work) },
                Ok(()) = self.mark.changed() => {}
                () = is_due, if batch.to > self.position => return Some(batch),
            }
        }
    }

    /// Takes the events that wait. Returns true if there will be no more.
    fn take(&mut self, batch: &mut Batch) -> bool {
        let settings = &self.projection.settings;
        while batch.events.len() < settings.batch_events && batch.bytes < settings.batch_bytes {
            // The mark is read first: if the queue is empty after that, all events up to the mark were taken.
            let mark = *self.mark.borrow_and_update();
            match self.queue.try_recv() {
                Ok(work) => batch.push(work),
                Err(TryRecvError::Empty) => {
                    batch.to = batch.to.max(mark);
                    return false;
                }
                Err(TryRecvError::Disconnected) => {
                    batch.to = batch.to.max(*self.mark.borrow());
                    return true;
                }
            }
        }
        false
    }

    /// Applies a batch: at once if possible, else in smaller parts around the event that fails.
    async fn settle(&mut self, batch: Batch) -> Result<(), Halt> {
        let mut limit = batch.events.len();
        let mut is_single = false;
        let mut attempts = 0;
        let mut losses = 0;
        let mut parked: Option<Parked> = None;
        let mut from = self.position;
        loop {
            // The bookmark has moved, so the failures of the event before it are over: the next event must be neither
            // parked in its place nor charged with its attempts.
            if self.position != from {
                (attempts, losses, parked, from) = (0, 0, None, self.position);
                limit = if is_single { 1 } else { batch.events.len() };
            }
            // A transaction whose answer was lost may be committed all the same.
            let done = batch.events.partition_point(|event| event.position.0 <= self.position);
            let rest = &batch.events[done..];
            if rest.is_empty() && self.position >= batch.to {
                return Ok(());
            }
            let chunk = &rest[..rest.len().min(limit.max(1))];
            let is_last = chunk.len() == rest.len();
            let to = chunk.last().filter(|_| !is_last).map_or(batch.to, |event| event.position.0);
            let fault = match self.attempt(chunk, to, parked.as_ref()).await {
                Ok(()) => continue,
                Err(fault) => fault,
            };
            let (event, error) = match fault {
                Fault::Moved => {
                    self.find_position(&batch.events, parked.as_ref()).await?;
                    continue;
                }
                Fault::Lost(why) => {
                    losses += 1;
                    self.rest(LOST.after(losses), why).await?;
                    self.find_position(&batch.events, parked.as_ref()).await?;
                    continue;
                }
                Fault::Refused(error) => return Err(ProjectionError::from(error).into()),
                Fault::Event(index, _) if chunk.len() > 1 => {
                    limit = index;
                    continue;
                }
                Fault::Batch(_) if chunk.len() > 1 => {
                    (is_single, limit) = (true, 1);
                    continue;
                }
                Fault::Event(_, error) => (chunk.first(), error),
                Fault::Batch(error) => (chunk.first(), HandlerError::from(error)),
            };
            let Some(event) = event.filter(|_| parked.is_none()) else {
                return Err(self.without_event(error).into());
            };
            attempts += 1;
            if attempts < self.projection.settings.attempts {
                let why = self.failure(event, attempts, error).to_string();
                self.rest(self.projection.settings.backoff.after(attempts), why).await?;
            } else {
                parked = Some(self.give_up(event, attempts, error).await?);
            }
        }
    }

    /// Tries one transaction: the events, or `parked` if one is to be parked, and the bookmark.
    async fn attempt(
        &mut self,
        events: &[RecordedEvent],
        to: u64,
        parked: Option<&Parked>,
    ) -> Result<(), Fault> {
        let Projection { store, handler, .. } = &self.projection;
        let step = Step {
            slot: &self.held.slot,
            generation: self.held.generation,
            partition: self.partition,
            owner: &self.held.owner,
            from: self.position,
            to,
        };
        let mut model = store.begin(&step).await.map_err(|error| match error {
            StoreError::Moved => Fault::Moved,
            StoreError::Lost(error) => Fault::Lost(error.to_string()),
            refused => Fault::Refused(refused),
        })?;
        if let Some(parked) = parked {
            store.next_event(&mut model, parked.position);
            store.park(&mut model, parked).await.map_err(ended)?;
        } else {
            for (index, event) in events.iter().enumerate() {
                store.next_event(&mut model, event.position.0);
                apply(handler.as_ref(), &mut model, event).await.map_err(
                    |error| match is_transient::<S>(&error) {
                        true => Fault::Lost(error.to_string()),
                        false => Fault::Event(index, error),
                    },
                )?;
            }
        }
        store.commit(model).await.map_err(ended)?;
        self.moved(events, to, parked);
        Ok(())
    }

    /// Notes the bookmark's new position: the events up to it are applied, or `parked` is parked.
    fn moved(&mut self, batch: &[RecordedEvent], position: u64, parked: Option<&Parked>) {
        let since = (self.position + 1)..=position;
        let applied = batch.iter().map(|event| event.position.0).filter(|position| {
            let is_parked = parked.is_some_and(|parked| parked.position == *position);
            since.contains(position) && !is_parked
        });
        self.board.moved(self.partition, position, applied.count() as u64);
        if parked.is_some() {
            self.board.parked();
        }
        self.position = position;
    }

    /// Finds the bookmark's position after an answer was lost, or another process seems to have moved it: some of the
    /// batch may have been applied, or `parked` may be parked.
    async fn find_position(
        &mut self,
        batch: &[RecordedEvent],
        parked: Option<&Parked>,
    ) -> Result<(), Halt> {
        let mut losses = 0;
        loop {
            let Held { slot, owner, .. } = &self.held;
            match self.projection.store.bookmark(slot, self.partition, owner).await {
                Ok(Some(position)) if position >= self.position => {
                    let is_done = position > self.position;
                    self.moved(batch, position, parked.filter(|_| is_done));
                    return Ok(());
                }
                Ok(_) => return Err(Halt::Moved),
                Err(error) => self.unanswered(error, &mut losses).await?,
            }
        }
    }

    /// Counts the parked events, and asks again for as long as answers are lost.
    async fn count_parked(&mut self) -> Result<usize, Halt> {
        let mut losses = 0;
        loop {
            match self.projection.store.count_parked(&self.held.slot).await {
                Ok(parked) => return Ok(parked),
                Err(error) => self.unanswered(error, &mut losses).await?,
            }
        }
    }

    /// Rests before the same question is asked again, whose answer was lost for the `losses`th time; fails if the
    /// answer was a refusal.
    async fn unanswered(&mut self, error: StoreError, losses: &mut u32) -> Result<(), Halt> {
        match error {
            StoreError::Moved => Err(Halt::Moved),
            StoreError::Lost(error) => {
                *losses += 1;
                self.rest(LOST.after(*losses), error.to_string()).await
            }
            refused => Err(ProjectionError::from(refused).into()),
        }
    }

    /// Waits before another attempt; a stop ends the wait and the work.
    async fn rest(&mut self, time: Duration, why: String) -> Result<(), Halt> {
        let (projection, partition) = (&self.projection.name, self.partition);
        tracing::warn!(%projection, partition, why, ?time, "tries again");
        self.board.trouble(partition, why);
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(Halt::Moved),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Parks an event that was tried often enough, or ends the projection, as [`OnFailure`] is set.
    async fn give_up(
        &mut self,
        event: &RecordedEvent,
        attempts: u32,
        error: HandlerError,
    ) -> Result<Parked, Halt> {
        if self.projection.settings.on_failure == OnFailure::Stop {
            return Err(self.failure(event, attempts, error).into());
        }
        let parked = self.count_parked().await?;
        let name = &self.projection.name;
        if parked >= PARKED_MAX {
            let (projection, last) = (name.clone(), error.to_string());
            return Err(ProjectionError::TooManyParked { projection, parked, last }.into());
        }
        tracing::warn!(
            projection = %name, position = event.position.0, stream = %event.stream, attempts, why = %error,
            "parks an event"
        );
        Ok(parked_event(event, attempts, &error))
    }

    fn failure(
        &self,
        event: &RecordedEvent,
        attempts: u32,
        source: HandlerError,
    ) -> ProjectionError {
        ProjectionError::Handler {
            projection: self.projection.name.clone(),
            position: event.position.0,
            stream: event.stream.to_string(),
            version: event.version.0,
            kind: event.kind.to_string(),
            attempts,
            source,
        }
    }

    /// Returns the error of a database that refuses a bookmark alone.
    fn without_event(&self, error: HandlerError) -> ProjectionError {
        match error.downcast::<StoreError>() {
            Ok(error) => ProjectionError::Store(*error),
            Err(error) => ProjectionError::Store(StoreError::Refused(error)),
        }
    }
}

/// Converts an error at the end of a transaction.
fn ended(error: StoreError) -> Fault {
    match error {
        StoreError::Moved => Fault::Moved,
        StoreError::Lost(error) => Fault::Lost(error.to_string()),
        refused => Fault::Batch(refused),
    }
}

/// Applies one event; a panic of the handler counts as a failure.
pub(super) async fn apply<M, H: Handler<M>>(
    handler: &H,
    model: &mut M,
    event: &RecordedEvent,
) -> Result<(), HandlerError> {
    match AssertUnwindSafe(handler.apply(model, event)).catch_unwind().await {
        Ok(applied) => applied,
        Err(panic) => Err(format!("the handler panicked: {}", words_of(panic.as_ref())).into()),
    }
}

/// Returns the message of a panic.
pub(super) fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Returns true if an error, or one of its causes, is one of the database and not of the event.
pub(super) fn is_transient<S: Store>(error: &HandlerError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if S::is_transient(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns the record of a parked event.
pub(super) fn parked_event(event: &RecordedEvent, attempts: u32, error: &HandlerError) -> Parked {
    let mut reason = error.to_string();
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or_default());
    }
    Parked {
        position: event.position.0,
        stream: event.stream.to_string(),
        version: event.version.0,
        kind: event.kind.to_string(),
        attempts,
        reason,
    }
}
