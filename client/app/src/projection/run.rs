//! A running projection: it owns its model, follows its query, and shares the events among its partitions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_client::ErrorKind;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dispatch::{Dispatch, room_bytes};
use super::error::ProjectionError;
use super::handler::Handler;
use super::partition::Partitioning;
use super::retry::LOST;
use super::store::{Claim, Creation, Record, Side, Slot, Store, StoreError};
use super::worker::{Halt, Held, Work, Worker, is_transient, words_of};
use super::{Projection, bar};
use crate::source::EventSource;
use crate::status::{Board, State};

/// The attempts that a lost set-up counts as for the rest after it: the true number is not worth counting.
const LOST_ATTEMPTS: u32 = 3;
/// The time between two measurements of the rate while nothing happens.
const MEASURE_INTERVAL: Duration = Duration::from_millis(500);
/// The time between two requests for the length of the log while catching up.
const HEAD_INTERVAL: Duration = Duration::from_secs(2);

/// The state that everything in one start shares.
pub(super) struct Run<S: Store, H, E> {
    pub(super) projection: Projection<S, H>,
    pub(super) source: Arc<E>,
    pub(super) board: Arc<Board>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) definition: String,
}

/// The reason why a model was given up.
pub(super) enum Ended {
    /// The projection was stopped, or there are no more events.
    Stopped,
    /// Another process owns the model, or the model was swapped.
    Moved,
    /// The position to arrive at was reached.
    Arrived,
}

impl<S: Store, H: Handler<S::Model>, E: EventSource> Run<S, H, E> {
    /// Checks the settings and opens the store; `None` if the projection was stopped before that.
    pub(super) async fn begin(
        projection: Projection<S, H>,
        source: Arc<E>,
        board: Arc<Board>,
        stop: watch::Receiver<bool>,
    ) -> Result<Option<Run<S, H, E>>, ProjectionError> {
        projection.check()?;
        let definition = String::new();
        let mut run = Run { projection, source, board, stop, definition };
        let mut attempts = 0;
        loop {
            let asked = run.projection.definition(run.source.as_ref()).await;
            match asked {
                Ok(definition) => break run.definition = definition,
                Err(problem)
                    if !problem.kind.is_transient() && problem.kind != ErrorKind::NotReady =>
                {
                    return Err(problem.into());
                }
                Err(problem) => {
                    attempts += 1;
                    if !run.rest(LOST.after(attempts), &problem.to_string()).await {
                        return Ok(None);
                    }
                }
            }
        }
        run.ask(|store| store.prepare()).await?;
        if let Ok(head) = run.source.head().await {
            run.board.head(head);
        }
        Ok(Some(run))
    }

    /// Calls the store, again and again while it cannot be reached.
    pub(super) async fn ask<'a, T, F>(
        &'a self,
        ask: impl Fn(&'a S) -> F,
    ) -> Result<T, ProjectionError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut attempts = 0;
        loop {
            match ask(&self.projection.store).await {
                Err(StoreError::Lost(error)) => {
                    attempts += 1;
                    if !self.rest(LOST.after(attempts), &error.to_string()).await {
                        return Err(StoreError::Lost(error).into());
                    }
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// Waits before another attempt. Returns false if the projection was stopped.
    async fn rest(&self, time: Duration, why: &str) -> bool {
        tracing::warn!(projection = %self.projection.name, why, ?time, "tries again");
        self.board.enter(State::Retrying(why.to_owned()));
        self.pause(time).await
    }

    /// Waits. Returns false if the projection was stopped.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    pub(super) fn changed(&self, record: Record) -> ProjectionError {
        ProjectionError::Changed {
            projection: self.projection.name.clone(),
            stored: record.definition,
            current: self.definition.clone(),
        }
    }

    /// Makes this process the owner of a model, which is set up if it does not exist; `None` if the projection was
    /// stopped before, or if the rebuild of another process, for which this one waited, is over.
    ///
    /// A lease that is not renewed during the wait belongs to a process that is gone.
    pub(super) async fn claim(
        &self,
        slot: &Slot,
        generation: u64,
    ) -> Result<Option<(Held, Record)>, ProjectionError> {
        let (owner, lease) = (new_owner(), self.projection.settings.lease);
        let mut seen = None;
        while !self.is_stopped() {
            match self.ask(|store| store.claim(slot, &owner, lease)).await? {
                Claim::Owned(record) => {
                    let held = Held { slot: slot.clone(), generation: record.generation, owner };
                    return Ok(Some((held, record)));
                }
                Claim::Missing if slot.side == Side::Rebuild && seen.is_some() => return Ok(None),
                Claim::Missing => self.create(slot, generation, &owner).await?,
                Claim::Held { owner, until } => {
                    let is_renewed = seen.is_some_and(|before| before != until);
                    if is_renewed && !self.projection.settings.standby {
                        let projection = self.projection.name.clone();
                        return Err(ProjectionError::RunsElsewhere { projection, owner });
                    }
                    if is_renewed {
                        self.board.enter(State::StandingBy);
                    }
                    seen = Some(until);
                    self.pause(lease / 6).await;
                }
            }
        }
        Ok(None)
    }

    /// Sets a model up, unless another process is quicker.
    async fn create(
        &self,
        slot: &Slot,
        generation: u64,
        owner: &str,
    ) -> Result<(), ProjectionError> {
        let Projection { store, handler, settings, .. } = &self.projection;
        let partitioning = self.projection.partitioning();
        let creation = Creation {
            slot,
            definition: &self.definition,
            partitioning: &partitioning.to_string(),
            generation,
            partitions: partitioning.count(),
            after: settings.after,
            owner,
            lease: settings.lease,
        };
        let created = async {
            let mut model = store.create(&creation).await?;
            handler.set_up(&mut model).await.map_err(|source| {
                if is_transient::<S>(&source) {
                    return StoreError::Lost(source).into();
                }
                ProjectionError::SetUp { projection: self.projection.name.clone(), source }
            })?;
            Ok(store.commit(model).await?)
        };
        match created.await {
            Err(ProjectionError::Store(StoreError::Moved)) => Ok(()),
            // The model may be set up all the same: the next claim shows it.
            Err(ProjectionError::Store(StoreError::Lost(error))) => {
                self.rest(LOST.after(LOST_ATTEMPTS), &error.to_string()).await;
                Ok(())
            }
            created => created,
        }
    }

    pub(super) async fn release(&self, held: &Held) {
        if let Err(error) = self.projection.store.release(&held.slot, &held.owner).await {
            tracing::debug!(projection = %self.projection.name, %error, "the lease is left to run out");
        }
    }

    /// Works on a model that this process owns, after its partitions are as set.
    pub(super) async fn work(
        &self,
        held: &Held,
        mut record: Record,
    ) -> Result<Ended, ProjectionError> {
        let configured = self.projection.partitioning();
        let ended = loop {
            if record.partitioning == configured.to_string() {
                break self.drive(held, &record, configured, None).await;
            }
            match self.repartition(held, &record, configured).await {
                Ok(Some(changed)) => record = changed,
                Ok(None) => break Ok(Ended::Stopped),
                Err(Halt::Moved) => break Ok(Ended::Moved),
                Err(Halt::Failed(error)) => break Err(error),
            }
        };
        if !matches!(ended, Ok(Ended::Moved)) {
            self.release(held).await;
        }
        ended
    }

    /// Brings all partitions, as they are, to the position of the foremost one, and then replaces them by others.
    /// `None` if the projection was stopped before.
    async fn repartition(
        &self,
        held: &Held,
        record: &Record,
        configured: Partitioning,
    ) -> Result<Option<Record>, Halt> {
        let foremost = record.bookmarks.iter().copied().max().unwrap_or_default();
        if record.position() != foremost {
            let has_key = self.projection.settings.key_of.is_some();
            let as_it_was = Partitioning::parse(&record.partitioning)
                .filter(|was| has_key || !matches!(was, Partitioning::Keys(_)))
                .filter(|was| was.count() as usize == record.bookmarks.len())
                .ok_or_else(|| ProjectionError::Partitions {
                    projection: self.projection.name.clone(),
                    stored: record.partitioning.clone(),
                    current: configured.to_string(),
                })?;
            match self.drive(held, record, as_it_was, Some(foremost)).await? {
                Ended::Arrived => {}
                Ended::Stopped => return Ok(None),
                Ended::Moved => return Err(Halt::Moved),
            }
        }
        let (partitioning, count) = (configured.to_string(), configured.count());
        let changed = self.ask(|store| {
            store.repartition(&held.slot, &held.owner, &partitioning, count, foremost)
        });
        match changed.await {
            Ok(()) => {}
            Err(ProjectionError::Store(StoreError::Moved)) => return Err(Halt::Moved),
            Err(error) => return Err(error.into()),
        }
        let bookmarks = vec![foremost; count as usize];
        Ok(Some(Record { partitioning, bookmarks, ..record.clone() }))
    }

    /// Refuses bookmarks that the log has not reached. If the cluster cannot answer now, the subscription asks later.
    async fn refuse_if_ahead(&self, bookmarks: &[u64]) -> Result<(), ProjectionError> {
        let bookmark = bookmarks.iter().copied().max().unwrap_or_default();
        match self.source.holds(bookmark).await {
            Err(source) if source.kind == ErrorKind::Invalid => Err(ProjectionError::Ahead {
                projection: self.projection.name.clone(),
                bookmark,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Follows the query and keeps the partitions busy, until the model is lost, all have reached a position, or the
    /// projection is stopped.
    pub(super) async fn drive(
        &self,
        held: &Held,
        record: &Record,
        partitioning: Partitioning,
        until: Option<u64>,
    ) -> Result<Ended, ProjectionError> {
        self.refuse_if_ahead(&record.bookmarks).await?;
        self.board.go_on(&record.bookmarks);
        // However this function ends, the workers end too, each after its current transaction.
        let (halt, halted) = watch::channel(false);
        let (mark, marked) = watch::channel(0);
        let (mut workers, queues) = self.workers(held, record, &halted, &marked);
        let subscription = self.source.follow(&self.projection.query, record.position());
        let settings = &self.projection.settings;
        let room_bytes = room_bytes(settings.batch_bytes, partitioning.count());
        let dispatch = Dispatch {
            board: &self.board,
            partitioning,
            key_of: settings.key_of.as_ref(),
            room_bytes,
            room: Arc::new(Semaphore::new(room_bytes)),
            queues,
            mark,
            bookmarks: record.bookmarks.clone(),
            until,
        };
        let dispatched = dispatch.run(subscription).fuse();
        let (renewed, observed) = (self.renew(held), self.observe());
        let bar = bar::show(&self.projection, self.board.watch());
        tokio::pin!(dispatched, renewed, observed, bar);
        let mut stop = self.stop.clone();
        let mut arrives = false;
        let ended = loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break Ok(Ended::Stopped),
                Some(joined) = workers.join_next() => match joined {
                    Ok(Ok(())) if workers.is_empty() => {
                        break Ok(if arrives && until.is_some() { Ended::Arrived } else { Ended::Stopped });
                    }
                    Ok(Ok(())) => {}
                    Ok(Err(Halt::Moved)) => break Ok(Ended::Moved),
                    Ok(Err(Halt::Failed(error))) => break Err(error),
                    Err(error) => break Err(self.panicked(error)),
                },
                () = &mut renewed => break Ok(Ended::Moved),
                has_arrived = &mut dispatched => match has_arrived {
                    Ok(has_arrived) => arrives = has_arrived,
                    Err(problem) => break Err(problem.into()),
                },
                never = &mut observed => match never {},
                never = &mut bar => match never {},
            }
        };
        halt.send_replace(true);
        // A database that does not answer is not waited for: the bookmark shows later what became of the transaction.
        let ending = async { while workers.join_next().await.is_some() {} };
        let _is_late = tokio::time::timeout(settings.lease, ending).await;
        ended
    }

    fn workers(
        &self,
        held: &Held,
        record: &Record,
        halted: &watch::Receiver<bool>,
        marked: &watch::Receiver<u64>,
    ) -> (JoinSet<Result<(), Halt>>, Vec<mpsc::Sender<Work>>) {
        let mut workers = JoinSet::new();
        let mut queues = Vec::new();
        for (partition, position) in (0..).zip(&record.bookmarks) {
            let (queue, work) =
                mpsc::channel(self.projection.settings.batch_events.min(10_000) * 2);
            let worker = Worker {
                projection: self.projection.clone(),
                held: held.clone(),
                partition,
                position: *position,
                queue: work,
                mark: marked.clone(),
                stop: halted.clone(),
                board: Arc::clone(&self.board),
            };
            workers.spawn(worker.work());
            queues.push(queue);
        }
        (workers, queues)
    }

    fn panicked(&self, error: tokio::task::JoinError) -> ProjectionError {
        let why = match error.try_into_panic() {
            Ok(panic) => words_of(panic.as_ref()),
            Err(cancelled) => cancelled.to_string(),
        };
        ProjectionError::Panicked { projection: self.projection.name.clone(), why }
    }

    /// Renews the lease for as long as the model is this process's own.
    async fn renew(&self, held: &Held) {
        let Projection { store, name, settings, .. } = &self.projection;
        loop {
            tokio::time::sleep(settings.lease / 3).await;
            match store.renew(&held.slot, &held.owner, settings.lease).await {
                Ok(true) => {}
                Ok(false) | Err(StoreError::Moved) => return,
                Err(error) => tracing::warn!(projection = %name, %error, "cannot renew its lease"),
            }
        }
    }

    /// Keeps the rate and the length of the log up to date.
    async fn observe(&self) -> std::convert::Infallible {
        let status = self.board.watch();
        let mut asked = Instant::now();
        loop {
            tokio::time::sleep(MEASURE_INTERVAL).await;
            self.board.measure();
            let is_behind = status.borrow().state != State::Live;
            if is_behind && asked.elapsed() >= HEAD_INTERVAL {
                if let Ok(head) = self.source.head().await {
                    self.board.head(head);
                }
                asked = Instant::now();
            }
        }
    }
}

/// Returns a mark of this start. Randomness is banned only in code whose runs the simulation must repeat.
#[allow(clippy::disallowed_methods)]
fn new_owner() -> String {
    uuid::Uuid::now_v7().to_string()
}
