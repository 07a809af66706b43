//! Projections: read models made from events, each with its bookmark in the same transaction.
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
//! // Read your writes: the model holds everything up to the append at position 7.
//! running.reached(7, std::time::Duration::from_secs(5)).await?;
//!
//! // An application that serves from the model learns here when it is no longer kept up to date.
//! let ended = running.ended().await;
//! println!("orders: {ended}");
//! # Ok(()) }
//! ```
//!
//! **Its end.** The end of a projection is logged (an error of target `quorate_app`), shows in its
//! [status](Running::status), and ends [`Running::ended`] and [`Running::wait`]. An application that awaits neither
//! goes on with a model that stands still.
//!
//! **Its progress.** It reports to the cluster every five seconds, and when its state changes: `quorate progress` shows
//! its bookmark, its lag, and the error that it ended with. No work waits for the reports; only [`Running::stop`] and
//! [`Running::wait`] wait, half a second at most, until the cluster knows that it ended.
//!
//! **Its process.** One process at a time runs it: the process holds a lease in the database, and every step of a
//! bookmark checks that the process still owns it and that the bookmark is where it left it. A second process is
//! refused, or waits as a [standby](Projection::standby).
//!
//! **Failures.** An event that cannot be applied is tried again, and then [stops the projection](OnFailure) or is
//! parked beside the model. While the database cannot be reached, the projection waits for it.
//!
//! **Changes.** A model is bound to the projection's version, query and cluster. With another version the model is
//! [rebuilt](Projection::rebuild) beside the live one, which is read and kept up to date meanwhile, and swapped in one
//! transaction. Increase the version whenever the handler would make another model of the same events.

mod bar;
mod dispatch;
mod error;
mod handler;
mod live;
mod partition;
mod rebuild;
mod retry;
mod run;
mod running;
mod scenario;
mod script;
mod settings;
mod store;
mod typed;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Invalid, Position, Problem, Query, RecordedEvent};
use tokio::time::Instant;

pub use crate::evolution::typed;
pub use crate::source::{EventSource, EventSubscription};
pub use error::ProjectionError;
pub use handler::{Handler, HandlerError};
pub use retry::Backoff;
pub use running::Running;
pub use scenario::Scenario;
pub use script::{Script, ScriptSubscription};
pub use settings::OnFailure;
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
pub use typed::{Applying, Handlers};

pub use crate::status::{State, Status};

use partition::Partitioning;
use settings::Settings;

/// The longest name of a projection, in bytes: schemas and keys are named after it.
const NAME_BYTES_MAX: usize = 48;
/// The largest number of partitions of a projection.
const PARTITIONS_MAX: u32 = 256;
/// The rests between two reads of the bookmark of another process.
const BOOKMARK_RESTS: Backoff =
    Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(250) };
/// The number of parked events that are fetched together.
const PARKED_PAGE: usize = 100;

/// A projection before it is started: its name, its query, the store of its model, and the handler.
///
/// Nothing happens before [`start`](Projection::start) or [`rebuild`](Projection::rebuild); a broken rule (of the name,
/// for example) is also reported then.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, OnFailure, Projection, ProjectionError, Sqlite, SqliteModel};
/// # async fn example(client: quorate_client::Client, store: Sqlite, handler: impl Handler<SqliteModel>)
/// # -> Result<(), ProjectionError> {
/// let orders = Projection::new("orders", quorate_client::Query::category("order"), store, handler)
///     .version(3)
///     .partitions(4)
///     .on_failure(OnFailure::Park)
///     .rebuild_when_changed();
/// let running = orders.start(client);
/// running.wait().await?;
/// # Ok(()) }
/// ```
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
        let mut shown = f.debug_struct("Projection");
        shown.field("name", &self.name).field("query", &self.query).finish_non_exhaustive()
    }
}

impl<S, H> Projection<S, H> {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the store of the model.
    pub fn store(&self) -> &S {
        &self.store
    }
}

impl<S: Store, H: Handler<S::Model>> Projection<S, H> {
    /// Creates a projection; its name has 1 to 48 letters, digits, `_` and `-`, and is unique in the store.
    pub fn new(name: impl Into<String>, query: Query, store: S, handler: H) -> Projection<S, H> {
        let (store, handler) = (Arc::new(store), Arc::new(handler));
        Projection { name: name.into(), query, store, handler, settings: Settings::default() }
    }

    /// Sets the version of the handler; 1 by default. A model that was made by another version has to be rebuilt.
    #[must_use]
    pub fn version(mut self, version: u32) -> Projection<S, H> {
        self.settings.version = version;
        self
    }

    /// Sets the beginning of a new model: only events after this position are applied; 0 (everything) by default.
    #[must_use]
    pub fn after(mut self, position: u64) -> Projection<S, H> {
        self.settings.after = position;
        self
    }

    /// Sets the largest number of events, and of their bytes, in one transaction; 1,000 and 4 MiB by default. A
    /// transaction takes the events that wait, and waits for no more.
    #[must_use]
    pub fn batch(mut self, events: usize, bytes: usize) -> Projection<S, H> {
        self.settings.batch_events = events;
        self.settings.batch_bytes = bytes;
        self
    }

    /// Shares the events among this many workers, each with its own transactions and its own bookmark: the events of
    /// one stream go to the same worker, in order. 1 by default, at most 256.
    ///
    /// The model may show a later event of one stream and not yet an earlier one of another. SQLite has one writer, so
    /// more workers are no faster there. The number may be changed: the partitions are brought to one position first.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Projection<S, H> {
        self.settings.partitions = partitions;
        self
    }

    /// Shares the events among the partitions by this key instead of their stream. Another key makes another model:
    /// increase the [version](Projection::version) when it changes.
    #[must_use]
    pub fn by_key(
        mut self,
        key: impl Fn(&RecordedEvent) -> String + Send + Sync + 'static,
    ) -> Projection<S, H> {
        self.settings.key_of = Some(Arc::new(key));
        self
    }

    /// Sets the number of attempts before an event counts as failed, the first included, and the rest between them; by
    /// default 5, with 100 ms doubled up to 30 s.
    #[must_use]
    pub fn attempts(mut self, attempts: u32, backoff: Backoff) -> Projection<S, H> {
        self.settings.attempts = attempts;
        self.settings.backoff = backoff;
        self
    }

    /// Sets the action on an event that failed; by default the projection stops.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Projection<S, H> {
        self.settings.on_failure = on_failure;
        self
    }

    /// Sets the time without a renewal after which the process that runs the projection is thought dead; 6 s by
    /// default, 50 ms to an hour. A process that ends in order gives the projection up at once.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Projection<S, H> {
        self.settings.lease = lease;
        self
    }

    /// Waits while another process runs the projection, to continue it when that process ends.
    #[must_use]
    pub fn standby(mut self) -> Projection<S, H> {
        self.settings.standby = true;
        self
    }

    /// Rebuilds a model of another definition when the projection is started, instead of refusing it. An interrupted
    /// rebuild of the same definition is continued.
    #[must_use]
    pub fn rebuild_when_changed(mut self) -> Projection<S, H> {
        self.settings.rebuild_when_changed = true;
        self
    }

    /// Shows a progress bar, with an estimate of the time left, on standard error if that is a terminal.
    #[must_use]
    pub fn progress_bar(mut self) -> Projection<S, H> {
        self.settings.progress_bar = true;
        self
    }

    /// Runs the projection, as a task of tokio, until it is stopped or cannot go on. Dropping the returned value stops
    /// it too.
    pub fn start<E: EventSource>(&self, source: E) -> Running {
        let source = Arc::new(source);
        let running = Running::spawn(self.name.clone(), |board, stop| {
            live::run(self.clone(), Arc::clone(&source), board, stop)
        });
        running.reporting(source)
    }

    /// Makes the model anew beside the live one, from the beginning and with this handler, and swaps the two in one
    /// transaction when the new one is not behind any more; the returned value ends then. The live one is kept up to
    /// date meanwhile, here or in another process; its process then goes on with the new model if its
    /// definition is the same, and else ends with [`ProjectionError::Changed`]. Until the swap nothing changes in it.
    ///
    /// ```no_run
    /// # use quorate_app::projection::{Handler, Projection, ProjectionError, Store};
    /// # async fn example<S: Store, H: Handler<S::Model>>(orders: Projection<S, H>, client: quorate_client::Client)
    /// # -> Result<(), ProjectionError> {
    /// orders.progress_bar().rebuild(client).wait().await?;
    /// # Ok(()) }
    /// ```
    pub fn rebuild<E: EventSource>(&self, source: E) -> Running {
        self.rebuild_or_resume(source, false)
    }

    /// Continues an interrupted rebuild if it was begun with the same definition; else does the same as
    /// [`rebuild`](Projection::rebuild). Events that were applied before are not applied again, even if the handler was
    /// fixed since.
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

    /// Removes the rest of an interrupted rebuild.
    pub async fn discard_rebuild(&self) -> Result<(), ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        Ok(self.store.discard_rebuild(&self.name).await?)
    }

    /// Returns the position up to which everything is in the live model, in any process; 0 if it never began.
    pub async fn position(&self) -> Result<u64, ProjectionError> {
        self.check()?;
        self.store.prepare().await?;
        let record = self.store.record(&self.slot(Side::Live)).await?;
        Ok(record.map_or(0, |record| record.position()))
    }

    /// Waits until the live model has everything up to a position (of an append, for example), in whatever process it
    /// runs. It asks the database again and again; in the process that runs it, use [`Running::reached`].
    ///
    /// While no event matches the query the bookmark moves once a second.
    pub async fn reached(
        &self,
        position: impl Into<Position>,
        within: Duration,
    ) -> Result<(), ProjectionError> {
        let position = position.into().0;
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            let actual = self.position().await?;
            if actual >= position {
                return Ok(());
            }
            attempts += 1;
            let wait = BOOKMARK_RESTS.after(attempts);
            if begun.elapsed().saturating_add(wait) > within {
                let (projection, wanted) = (self.name.clone(), position);
                return Err(ProjectionError::NotReached { projection, actual, wanted });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Returns the events that could not be applied, in order.
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

    /// Applies parked events with this handler, in order, each in a transaction that also removes it from the parked
    /// ones. Ends at the first that fails again, which stays parked. Returns the number of events applied.
    ///
    /// An event is applied after later ones that did not fail: the handler must be able to bear that.
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
            let event = event.filter(|event| event.position.0 == one.position);
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

    /// Gives parked events up for good. Returns the number of events that were parked.
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

    /// Returns the definition that a model is bound to.
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
