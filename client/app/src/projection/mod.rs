//! Projections: read models made of events, each with its bookmark in the same transaction.
//!
//! A projection follows a [`Query`] and hands its events to a [`Handler`], which changes a read model within a
//! transaction of a database. The bookmark (the position up to which everything is in the model) is written by the
//! same transaction, so every event has its effect exactly once, whenever a process is killed.
//!
//! ```no_run
//! use quorate_app::projection::{Handler, HandlerError, Projection, Sqlite, SqliteModel, typed};
//! use quorate_app::sqlx;
//! use quorate_client::{Client, Query, RecordedEvent};
//!
//! #[derive(serde::Deserialize)]
//! enum OrderEvent {
//!     OrderPlaced { total: i64 },
//!     OrderPaid {},
//! }
//!
//! struct Orders;
//!
//! impl Handler<SqliteModel> for Orders {
//!     async fn set_up(&self, model: &mut SqliteModel) -> Result<(), HandlerError> {
//!         let table = model.table("orders");
//!         let create = format!("CREATE TABLE {table} (stream TEXT PRIMARY KEY, total INTEGER, paid INTEGER)");
//!         sqlx::query(&create).execute(&mut **model).await?;
//!         Ok(())
//!     }
//!
//!     async fn apply(&self, model: &mut SqliteModel, event: &RecordedEvent) -> Result<(), HandlerError> {
//!         let table = model.table("orders");
//!         let (change, total) = match typed(event)? {
//!             Some(OrderEvent::OrderPlaced { total }) => (format!("INSERT INTO {table} VALUES ($1, $2, 0)"), total),
//!             Some(OrderEvent::OrderPaid {}) => (format!("UPDATE {table} SET paid = 1 WHERE stream = $1"), 0),
//!             None => return Ok(()),
//!         };
//!         sqlx::query(&change).bind(event.stream.as_str()).bind(total).execute(&mut **model).await?;
//!         Ok(())
//!     }
//! }
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let store = Sqlite::open("shop.sqlite").await?;
//! let orders = Projection::new("orders", Query::category("order"), store, Orders);
//! let running = orders.start(client.clone());
//!
//! // Read your writes: the model has what was appended at position 7.
//! running.reached(7, std::time::Duration::from_secs(5)).await?;
//!
//! // An application that serves from the model hears when it is kept up to date no more.
//! let ended = running.ended().await;
//! println!("orders: {ended}");
//! # Ok(()) }
//! ```
//!
//! **Who hears that it ended.** The log (an error of target `quorate_app`), its [status](Running::status), and whoever
//! waits for [`Running::ended`] or [`Running::wait`]. An application that awaits neither goes on with a model that
//! stands still.
//!
//! **Who sees how far it is.** It tells the cluster every five seconds, and when its state changes: `quorate progress`
//! shows its bookmark, how far behind that is, and the error that it ended with. Nothing of its work waits for that; only
//! [`Running::stop`] and [`Running::wait`] wait, half a second at most, until the cluster knows that it ended.
//!
//! **Who runs it.** One process at a time: it holds a lease in the database, and every step of a bookmark checks that
//! it still owns it and that the bookmark is where it left it. A second process is refused, or waits as a
//! [standby](Projection::standby).
//!
//! **What failed.** An event that cannot be applied is tried again, and then [stops the projection](OnFailure) or is
//! parked beside the model. A database that cannot be reached is waited for.
//!
//! **What changed.** A model is bound to the projection's version, query and cluster. With another version the model
//! is [rebuilt](Projection::rebuild) beside the live one, which is read and kept up to date meanwhile, and swapped in
//! one transaction. Increase the version whenever the handler would make another model of the same events.

mod bar;
mod error;
mod handler;
mod partition;
mod rebuild;
mod retry;
mod run;
mod running;
mod source;
mod store;
mod typed;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Invalid, Problem, Query, RecordedEvent};
use tokio::time::Instant;

pub use error::ProjectionError;
pub use handler::{Handler, HandlerError};
pub use retry::Backoff;
pub use running::Running;
pub use source::{EventFeed, EventSource};
pub use store::{
    BoxError, Claim, Creation, Memory, MemoryModel, Parked, Record, Side, Slot, Step, Store,
    StoreError, Swap,
};
#[cfg(feature = "postgres")]
pub use store::{Postgres, PostgresModel};
#[cfg(feature = "redis")]
pub use store::{Redis, RedisModel};
#[cfg(feature = "sqlite")]
pub use store::{Sqlite, SqliteModel};
pub use typed::{Applying, Handlers, typed};

pub use crate::status::{State, Status};

use partition::{KeyOf, Partitioning};

/// Longest name of a projection, in bytes: it names schemas and keys.
const NAME_BYTES_MAX: usize = 48;
/// Most partitions of a projection.
const PARTITIONS_MAX: u32 = 256;
/// How often the bookmark of another process is looked at, first and then.
const LOOK: Backoff =
    Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(250) };
/// How many parked events are looked at together.
const PARKED_PAGE: usize = 100;

/// What happens to an event that cannot be applied, tried as often as was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The projection ends with [`ProjectionError::Handler`]. Nothing is passed over.
    #[default]
    Stop,
    /// The event is kept as [`Parked`] beside the bookmark, and the projection goes on after it: the model misses it
    /// until it is [replayed](Projection::replay). At most 10,000 events are parked; then the projection ends.
    Park,
}

/// How a projection works.
#[derive(Clone)]
struct Settings {
    version: u32,
    after: u64,
    batch_events: usize,
    batch_bytes: usize,
    partitions: u32,
    key_of: Option<KeyOf>,
    attempts: u32,
    backoff: Backoff,
    on_failure: OnFailure,
    lease: Duration,
    standby: bool,
    rebuild_when_changed: bool,
    progress_bar: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            version: 1,
            after: 0,
            batch_events: 1_000,
            batch_bytes: 4 * 1024 * 1024,
            partitions: 1,
            key_of: None,
            attempts: 5,
            backoff: Backoff::default(),
            on_failure: OnFailure::default(),
            lease: Duration::from_secs(6),
            standby: false,
            rebuild_when_changed: false,
            progress_bar: false,
        }
    }
}

/// A read model in the making: its name, its query, the store it lies in, and the handler that makes it.
///
/// Nothing happens before [`start`](Projection::start) or [`rebuild`](Projection::rebuild); what breaks a rule (the
/// name, say) is told then.
pub struct Projection<S, H> {
    name: String,
    query: Query,
    store: Arc<S>,
    handler: Arc<H>,
    settings: Settings,
}

impl<S, H> Clone for Projection<S, H> {
    fn clone(&self) -> Projection<S, H> {
        Projection {
            name: self.name.clone(),
            query: self.query.clone(),
            store: Arc::clone(&self.store),
            handler: Arc::clone(&self.handler),
            settings: self.settings.clone(),
        }
    }
}

impl<S, H> fmt::Debug for Projection<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("Projection");
        told.field("name", &self.name).field("query", &self.query).finish_non_exhaustive()
    }
}

impl<S, H> Projection<S, H> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store that its model lies in.
    pub fn store(&self) -> &S {
        &self.store
    }
}

impl<S: Store, H: Handler<S::Model>> Projection<S, H> {
    /// A projection of that name: 1 to 48 letters, digits, `_` and `-`. In a store there is only one of a name.
    pub fn new(name: impl Into<String>, query: Query, store: S, handler: H) -> Projection<S, H> {
        let (store, handler) = (Arc::new(store), Arc::new(handler));
        Projection { name: name.into(), query, store, handler, settings: Settings::default() }
    }

    /// Which version of the handler this is; 1 unless told. A model that was made by another version has to be
    /// rebuilt.
    #[must_use]
    pub fn version(mut self, version: u32) -> Projection<S, H> {
        self.settings.version = version;
        self
    }

    /// Where a new model begins: only events after this position; 0 (everything) unless told.
    #[must_use]
    pub fn after(mut self, position: u64) -> Projection<S, H> {
        self.settings.after = position;
        self
    }

    /// Most events and most bytes of events in one transaction; 1,000 and 4 MiB unless told. A transaction takes what
    /// is at hand and waits for nothing.
    #[must_use]
    pub fn batch(mut self, events: usize, bytes: usize) -> Projection<S, H> {
        self.settings.batch_events = events;
        self.settings.batch_bytes = bytes;
        self
    }

    /// Shares the events among so many workers, each with its own transactions and its own bookmark: the events of
    /// one stream go to the same one, in order. 1 unless told, at most 256.
    ///
    /// The model may show a later event of one stream and not yet an earlier one of another. SQLite has one writer,
    /// so that more workers are no faster there. The number may be changed: the partitions are brought to one
    /// position first.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Projection<S, H> {
        self.settings.partitions = partitions;
        self
    }

    /// Shares the events among the partitions by this key instead of by their stream. Another key makes another
    /// model: increase the [version](Projection::version) when it changes.
    #[must_use]
    pub fn by_key(
        mut self,
        key: impl Fn(&RecordedEvent) -> String + Send + Sync + 'static,
    ) -> Projection<S, H> {
        self.settings.key_of = Some(Arc::new(key));
        self
    }

    /// How often an event is tried before it counts as failed, the first time included, and how long it rests in
    /// between; 5 times, with 100 ms doubled up to 30 s, unless told.
    #[must_use]
    pub fn attempts(mut self, attempts: u32, backoff: Backoff) -> Projection<S, H> {
        self.settings.attempts = attempts;
        self.settings.backoff = backoff;
        self
    }

    /// What happens to an event that failed; the projection stops unless told.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Projection<S, H> {
        self.settings.on_failure = on_failure;
        self
    }

    /// How long after its last word a process that runs the projection is thought dead; 6 s unless told, 50 ms to an
    /// hour. A process that ends in order leaves at once.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Projection<S, H> {
        self.settings.lease = lease;
        self
    }

    /// Waits while another process runs the projection, to go on with it when that one ends.
    #[must_use]
    pub fn standby(mut self) -> Projection<S, H> {
        self.settings.standby = true;
        self
    }

    /// Rebuilds a model that was made by another definition when the projection is started, instead of refusing. An
    /// interrupted rebuild of the same definition is gone on with.
    #[must_use]
    pub fn rebuild_when_changed(mut self) -> Projection<S, H> {
        self.settings.rebuild_when_changed = true;
        self
    }

    /// Shows on standard error how far it is, and when it will have caught up, if that is a terminal.
    #[must_use]
    pub fn progress_bar(mut self) -> Projection<S, H> {
        self.settings.progress_bar = true;
        self
    }

    /// Runs it, as a task of tokio, until it is stopped or cannot go on. It is stopped too when what is returned is
    /// dropped.
    pub fn start<E: EventSource>(&self, source: E) -> Running {
        let source = Arc::new(source);
        let running = Running::spawn(self.name.clone(), |board, stop| {
            run::run(self.clone(), Arc::clone(&source), board, stop)
        });
        running.reporting(source)
    }

    /// Makes the model anew beside the live one, from the beginning and with this handler, and swaps the two in one
    /// transaction when it is not behind any more; what is returned ends then. The live one goes on meanwhile, here
    /// or in another process; after the swap a process goes on with the new model if its definition is the same, and
    /// ends with [`ProjectionError::Changed`] if not. Stopped or killed before, it leaves the live one as it is.
    pub fn rebuild<E: EventSource>(&self, source: E) -> Running {
        self.rebuild_or_resume(source, false)
    }

    /// Goes on with a rebuild that was interrupted, if this definition is the one it was begun with; else like
    /// [`rebuild`](Projection::rebuild). What was applied before is not applied again, also if the handler was mended
    /// since.
    pub fn resume_rebuild<E: EventSource>(&self, source: E) -> Running {
        self.rebuild_or_resume(source, true)
    }

    fn rebuild_or_resume<E: EventSource>(&self, source: E, resumes: bool) -> Running {
        let source = Arc::new(source);
        let running = Running::spawn(self.name.clone(), |board, stop| {
            rebuild::rebuild(self.clone(), Arc::clone(&source), resumes, board, stop)
        });
        running.reporting(source)
    }

    /// Removes what an interrupted rebuild left.
    pub async fn discard_rebuild(&self) -> Result<(), ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        Ok(self.store.discard_rebuild(&self.name).await?)
    }

    /// Up to where everything is in the live model, whoever makes it; 0 if it never began.
    pub async fn position(&self) -> Result<u64, ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        let record = self.store.record(&self.slot(Side::Live)).await?;
        Ok(record.map_or(0, |record| record.position()))
    }

    /// Waits until the live model has everything up to a position (an append's, say), whoever makes it. It asks the
    /// database again and again; in the process that runs it, [`Running::reached`] is cheaper and quicker.
    ///
    /// While no event matches the query the bookmark moves once a second.
    pub async fn reached(&self, position: u64, within: Duration) -> Result<(), ProjectionError> {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            let actual = self.position().await?;
            if actual >= position {
                return Ok(());
            }
            attempts += 1;
            let wait = LOOK.after(attempts);
            if begun.elapsed().saturating_add(wait) > within {
                let (projection, wanted) = (self.name.clone(), position);
                return Err(ProjectionError::NotReached { projection, actual, wanted });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The events that could not be applied, in order.
    pub async fn parked(&self) -> Result<Vec<Parked>, ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        let (slot, mut parked) = (self.slot(Side::Live), Vec::new());
        loop {
            let after = parked.last().map_or(0, |last: &Parked| last.position);
            let page = self.store.parked(&slot, after, PARKED_PAGE).await?;
            if page.is_empty() {
                return Ok(parked);
            }
            parked.extend(page);
        }
    }

    /// Applies parked events with this handler, in order, each in a transaction that takes it out of those that are
    /// parked. Ends at the first that fails again, which stays parked. Returns how many were applied.
    ///
    /// An event is applied after those that came later and did not fail: the handler must stand that.
    pub async fn replay<E: EventSource>(
        &self,
        source: &E,
        parked: &[Parked],
    ) -> Result<usize, ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        let slot = self.slot(Side::Live);
        let mut applied = 0;
        for one in parked {
            let event = source.event(&one.stream, one.version).await?;
            let event = event.filter(|event| event.position == one.position);
            let Some(event) = event else {
                let (position, stream, version) = (one.position, one.stream.clone(), one.version);
                return Err(ProjectionError::Gone { position, stream, version });
            };
            let record = self.store.record(&slot).await?;
            let generation = record.map_or(0, |record| record.generation);
            let mut model = match self.store.unpark(&slot, generation, one.position).await {
                Ok(model) => model,
                Err(StoreError::Moved) => continue,
                Err(error) => return Err(error.into()),
            };
            let failed = |source| ProjectionError::Handler {
                projection: self.name.clone(),
                position: one.position,
                stream: one.stream.clone(),
                version: one.version,
                kind: one.kind.clone(),
                attempts: 1,
                source,
            };
            self.store.next_event(&mut model, one.position);
            worker::apply(self.handler.as_ref(), &mut model, &event).await.map_err(failed)?;
            match self.store.commit(model).await {
                Err(StoreError::Moved) => {}
                committed => {
                    committed?;
                    applied += 1;
                }
            }
        }
        Ok(applied)
    }

    /// Gives parked events up for good. Returns how many were parked.
    pub async fn drop_parked(&self, parked: &[Parked]) -> Result<usize, ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        let (slot, mut dropped) = (self.slot(Side::Live), 0);
        for one in parked {
            dropped += usize::from(self.store.drop_parked(&slot, one.position).await?);
        }
        Ok(dropped)
    }

    fn slot(&self, side: Side) -> Slot {
        Slot { projection: self.name.clone(), side }
    }

    fn partitioning(&self) -> Partitioning {
        match (self.settings.partitions, &self.settings.key_of) {
            (1, _) => Partitioning::One,
            (count, None) => Partitioning::Streams(count),
            (count, Some(_)) => Partitioning::Keys(count),
        }
    }

    /// What a model is bound to.
    async fn definition<E: EventSource>(&self, source: &E) -> Result<String, Problem> {
        let cluster = source.cluster().await?;
        Ok(format!("version {}; query {}; cluster {cluster}", self.settings.version, self.query))
    }

    fn check(&self) -> Result<(), Invalid> {
        let Settings { batch_events, batch_bytes, partitions, attempts, lease, .. } = self.settings;
        let is_plain = |one: char| one.is_ascii_alphanumeric() || one == '_' || one == '-';
        if !(1..=NAME_BYTES_MAX).contains(&self.name.len()) || !self.name.chars().all(is_plain) {
            let why = format!(
                "`{}` is none: 1 to {NAME_BYTES_MAX} letters, digits, `_` and `-`",
                self.name
            );
            return Err(Invalid::new("name of the projection", why));
        }
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            let why = format!("are {partitions}; they must be from 1 to {PARTITIONS_MAX}");
            return Err(Invalid::new("partitions", why));
        }
        if batch_events == 0 || batch_bytes == 0 || attempts == 0 {
            return Err(Invalid::new("batch and attempts", "must be at least 1"));
        }
        if !(Duration::from_millis(50)..=Duration::from_secs(3_600)).contains(&lease) {
            return Err(Invalid::new(
                "lease",
                format!("is {lease:?}; it must be from 50 ms to an hour"),
            ));
        }
        Ok(())
    }
}
