//! The seam to a database: a read model and its bookmark, changed in one transaction.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod books;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::{Memory, MemoryModel};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresModel};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisModel};
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteModel};

/// Any error, as a database's library or a handler made it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A database of read models, with the bookmarks of the projections that make them.
///
/// A store for another database than those given here must keep these invariants:
/// - The changes of a model and their step are committed together or not at all, and the changes stay committed
///   at least as long as the step does.
/// - A step is taken only by the owner of the projection and only from where the bookmark stands; any other caller
///   gets [`StoreError::Moved`], at the latest at its commit, and then nothing of its step is stored.
/// - A model that is dropped before it was committed leaves nothing behind.
///
/// ```
/// # use std::time::Duration;
/// # use quorate_app::projection::{Claim, Creation, Memory, Side, Slot, Step, Store, StoreError};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Memory::<u64>::new();
/// let slot = Slot { projection: "orders".into(), side: Side::Live };
/// let lease = Duration::from_secs(6);
/// let creation = Creation {
///     slot: &slot,
///     definition: "version 1",
///     partitioning: "1",
///     generation: 1,
///     partitions: 1,
///     after: 0,
///     owner: "ann",
///     lease,
/// };
/// let model = store.create(&creation).await?;
/// store.commit(model).await?;
///
/// // The model and its bookmark change together.
/// let step = Step { slot: &slot, generation: 1, partition: 0, owner: "ann", from: 0, to: 7 };
/// let mut model = store.begin(&step).await?;
/// *model += 50;
/// store.commit(model).await?;
/// assert_eq!(store.bookmark(&slot, 0, "ann").await?, Some(7));
///
/// // Nobody takes the same step twice, and nobody else takes one while the lease lasts.
/// assert!(matches!(store.begin(&step).await, Err(StoreError::Moved)));
/// assert!(matches!(store.claim(&slot, "bob", lease).await?, Claim::Held { .. }));
/// # Ok(()) }
/// ```
pub trait Store: Send + Sync + 'static {
    /// The model that a handler changes, within one transaction.
    type Model: Send;

    /// Makes the store's own tables, if they are not there.
    fn prepare(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the record of a projection; `None` if it never began.
    fn record(
        &self,
        slot: &Slot,
    ) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Begins the transaction that sets a projection up: whoever commits it owns the projection. All its bookmarks
    /// are at `after`. Fails with [`StoreError::Moved`] if the projection is there already.
    fn create(
        &self,
        creation: &Creation<'_>,
    ) -> impl Future<Output = Result<Self::Model, StoreError>> + Send;

    /// Makes `owner` the only one who may take steps, unless the lease of another owner has not run out.
    fn claim(
        &self,
        slot: &Slot,
        owner: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Prolongs the lease of the owner. Returns false if another one owns the projection.
    fn renew(
        &self,
        slot: &Slot,
        owner: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Ends the lease of the owner, so that the next one need not wait.
    fn release(
        &self,
        slot: &Slot,
        owner: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the position of a bookmark; `None` if another one owns the projection.
    fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// Replaces the bookmarks by one for each partition of another partitioning. Fails with
    /// [`StoreError::Moved`] if they are not all at `position` or if another one owns the projection.
    fn repartition(
        &self,
        slot: &Slot,
        owner: &str,
        partitioning: &str,
        partitions: u32,
        position: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Begins a transaction that moves a bookmark.
    fn begin(
        &self,
        step: &Step<'_>,
    ) -> impl Future<Output = Result<Self::Model, StoreError>> + Send;

    /// Announces that the following changes of the model belong to the event at this position.
    fn next_event(&self, _model: &mut Self::Model, _position: u64) {}

    /// Adds a parked event to the transaction.
    fn park(
        &self,
        model: &mut Self::Model,
        parked: &Parked,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Begins a transaction that removes a parked event, so that it can be applied. Fails with [`StoreError::Moved`] if
    /// the event is not parked any more.
    fn unpark(
        &self,
        slot: &Slot,
        generation: u64,
        position: u64,
    ) -> impl Future<Output = Result<Self::Model, StoreError>> + Send;

    /// Ends a transaction. After an error it may be committed or not, unless the error is [`StoreError::Moved`].
    fn commit(&self, model: Self::Model) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns up to `limit` parked events after a position, in order.
    fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// Returns the number of parked events.
    fn count_parked(&self, slot: &Slot) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Removes a parked event from the records. Returns false if it is not parked.
    fn drop_parked(
        &self,
        slot: &Slot,
        position: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Replaces the live model by the rebuilt one, with its bookmarks and parked events, in one step and
    /// without an owner, if the rebuilt one is not behind the live one (see [`Record::is_not_behind`]).
    fn swap(&self, name: &str) -> impl Future<Output = Result<Swap, StoreError>> + Send;

    /// Removes a model that was being rebuilt, with all its records.
    fn discard_rebuild(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns true if an error, which a handler may have passed on, means that the database cannot be reached or
    /// cannot do this now, and so says nothing about the event.
    fn is_transient(error: &(dyn Error + 'static)) -> bool;
}

/// One of the two models that a projection may have.
///
/// ```
/// use quorate_app::projection::{Side, SqliteModel};
///
/// /// Returns true if readers see this model already.
/// fn is_read(model: &SqliteModel) -> bool {
///     model.side() == Side::Live
/// }
/// # let _ = is_read;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The model that is read.
    Live,
    /// The model that is made beside the live one.
    Rebuild,
}

impl Side {
    /// Returns the name of the side as databases store it.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Live => "live",
            Side::Rebuild => "rebuild",
        }
    }
}

/// A model of a projection.
///
/// ```
/// use quorate_app::projection::{Side, Slot};
/// let live = Slot { projection: "orders".into(), side: Side::Live };
/// let rebuilt = Slot { side: Side::Rebuild, ..live.clone() };
/// assert_ne!(live, rebuilt);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The projection.
    pub projection: String,
    /// The side of the model.
    pub side: Side,
}

/// The record of a model in a store.
///
/// ```
/// use quorate_app::projection::Record;
/// let record = |bookmarks| Record {
///     definition: "version 1".into(),
///     partitioning: "stream/2".into(),
///     generation: 1,
///     bookmarks,
/// };
/// assert_eq!(record(vec![9, 7]).position(), 7);
/// assert!(record(vec![9, 8]).is_not_behind(&record(vec![9, 7])));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The definition of the projection when the model was set up; compared as a whole.
    pub definition: String,
    /// The way in which the events are shared among the partitions.
    pub partitioning: String,
    /// The number of the rebuild, from 1.
    pub generation: u64,
    /// The bookmarks of the partitions: everything up to a bookmark is in the model.
    pub bookmarks: Vec<u64>,
}

impl Record {
    /// Returns the position up to which everything is in the model.
    pub fn position(&self) -> u64 {
        self.bookmarks.iter().copied().min().unwrap_or_default()
    }

    /// Returns true if everything in `live` is in this model too, so that its readers do not go back in time.
    pub fn is_not_behind(&self, live: &Record) -> bool {
        if self.partitioning == live.partitioning && self.bookmarks.len() == live.bookmarks.len() {
            return self.bookmarks.iter().zip(&live.bookmarks).all(|(own, other)| own >= other);
        }
        self.position() >= live.bookmarks.iter().copied().max().unwrap_or_default()
    }
}

/// The first record of a projection.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// The model.
    pub slot: &'a Slot,
    /// See [`Record::definition`].
    pub definition: &'a str,
    /// See [`Record::partitioning`].
    pub partitioning: &'a str,
    /// See [`Record::generation`].
    pub generation: u64,
    /// The number of bookmarks.
    pub partitions: u32,
    /// The position of all bookmarks.
    pub after: u64,
    /// The owner that sets the projection up, and continues with it.
    pub owner: &'a str,
    /// The duration of the owner's lease, unless it is renewed.
    pub lease: Duration,
}

/// A move of one bookmark.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The model of the bookmark.
    pub slot: &'a Slot,
    /// The generation of the model.
    pub generation: u64,
    /// The partition of the bookmark.
    pub partition: u32,
    /// The owner that moves the bookmark.
    pub owner: &'a str,
    /// The position of the bookmark before the step.
    pub from: u64,
    /// The position after the step: everything up to it is in the model when the transaction is committed.
    pub to: u64,
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is no such model.
    Missing,
    /// The claimant owns the model now, as long as it renews the lease.
    Owned(Record),
    /// The lease of another owner has not run out.
    Held {
        /// The other owner.
        owner: String,
        /// The end of the lease, in milliseconds by the database's clock: compare it only with other such ends.
        until: i64,
    },
}

/// The result of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The rebuilt model is the live one now.
    Done,
    /// The live model is ahead of the rebuilt one: nothing was changed.
    Behind,
}

/// An event that could not be applied, and was skipped.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, Parked, Projection, ProjectionError, Store};
/// # async fn example<S: Store, H: Handler<S::Model>>(orders: Projection<S, H>, client: quorate_client::Client)
/// # -> Result<(), ProjectionError> {
/// let parked = orders.parked().await?;
/// let (obsolete, mended): (Vec<Parked>, Vec<Parked>) =
///     parked.into_iter().partition(|event| event.kind == "OrderDiscounted");
/// orders.drop_parked(&obsolete).await?;
/// println!("{} of {} applied", orders.replay(&client, &mended).await?, mended.len());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The position of the event.
    pub position: u64,
    /// Its stream.
    pub stream: String,
    /// Its version in the stream.
    pub version: u64,
    /// Its type.
    pub kind: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The handler's last error; at most 4,096 bytes.
    pub reason: String,
}

/// The reason why a store did not do what was requested.
///
/// ```no_run
/// # async fn example() -> Result<(), quorate_app::projection::StoreError> {
/// use quorate_app::projection::{Sqlite, StoreError};
/// let store = match Sqlite::open("shop.sqlite").await {
///     Err(StoreError::Refused(why)) => panic!("`shop.sqlite` is no place for models: {why}"),
///     opened => opened?,
/// };
/// # let _ = store; Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bookmark is not where it was, or another one owns the projection.
    #[error("the bookmark was moved by another")]
    Moved,
    /// The database cannot be reached, or cannot do this now: the same may be tried again.
    #[error("the database of the read model cannot be reached: {0}")]
    Lost(#[source] BoxError),
    /// The database refuses the request.
    #[error("the database of the read model refuses: {0}")]
    Refused(#[source] BoxError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partitioning: &str, bookmarks: &[u64]) -> Record {
        let (definition, partitioning) = (String::new(), partitioning.to_owned());
        Record { definition, partitioning, generation: 1, bookmarks: bookmarks.to_vec() }
    }

    #[test]
    fn a_rebuilt_model_is_behind_while_it_misses_anything() {
        for (rebuilt, live, not_behind) in [
            (("1", &[5][..]), ("1", &[5][..]), true),
            (("1", &[4]), ("1", &[5]), false),
            (("stream/2", &[4, 9]), ("stream/2", &[4, 8]), true),
            (("stream/2", &[9, 4]), ("stream/2", &[4, 8]), false),
            (("1", &[8]), ("stream/2", &[4, 8]), true),
            (("1", &[7]), ("stream/2", &[4, 8]), false),
            (("key/2", &[4, 9]), ("stream/2", &[4, 8]), false),
        ] {
            let (rebuilt, live) = (record(rebuilt.0, rebuilt.1), record(live.0, live.1));
            assert_eq!(rebuilt.is_not_behind(&live), not_behind, "{rebuilt:?} {live:?}");
        }
    }
}
