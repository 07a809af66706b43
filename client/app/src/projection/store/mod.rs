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

/// Where read models lie, with the bookmarks of the projections that make them.
///
/// A store for another database than those given here has to keep these:
/// - What a model changes and its step are committed together or not at all, and what is committed stays committed
///   at least as long as its step does.
/// - A step is taken only by the owner of the projection and only from where the bookmark stands; whoever else tries
///   gets [`StoreError::Moved`], at the latest when it commits, and then nothing of it is there.
/// - A model that is dropped before it was committed leaves nothing behind.
pub trait Store: Send + Sync + 'static {
    /// What a handler changes, within one transaction.
    type Model: Send;

    /// Makes what the store keeps of its own, if it is not there.
    fn prepare(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is known of a projection; `None` if it never began.
    fn record(
        &self,
        slot: &Slot,
    ) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Begins the transaction that sets a projection up: whoever commits it owns the projection. Its bookmarks all
    /// stand at `after`. It is [`StoreError::Moved`] if the projection is there already.
    fn create(
        &self,
        creation: &Creation<'_>,
    ) -> impl Future<Output = Result<Self::Model, StoreError>> + Send;

    /// Makes `owner` the only one who may take steps, unless another one's lease has not run out.
    fn claim(
        &self,
        slot: &Slot,
        owner: &str,
        lease: Duration,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Prolongs the lease of the owner. False if another one owns the projection.
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

    /// Where a bookmark stands; `None` if another one owns the projection.
    fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// Writes one bookmark for each partition of another partitioning; the old ones are forgotten. It is
    /// [`StoreError::Moved`] if they do not all stand at `position` or if another one owns the projection.
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

    /// Says that what the model is told from now on comes of the event at this position.
    fn next_event(&self, _model: &mut Self::Model, _position: u64) {}

    /// Adds a parked event to the transaction.
    fn park(
        &self,
        model: &mut Self::Model,
        parked: &Parked,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Begins a transaction that takes a parked event out, for it to be applied. It is [`StoreError::Moved`] if it is
    /// not parked any more.
    fn unpark(
        &self,
        slot: &Slot,
        generation: u64,
        position: u64,
    ) -> impl Future<Output = Result<Self::Model, StoreError>> + Send;

    /// Ends a transaction. After an error it may be committed or not, unless that is [`StoreError::Moved`].
    fn commit(&self, model: Self::Model) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Up to `limit` parked events after a position, in order.
    fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// How many events are parked.
    fn count_parked(&self, slot: &Slot) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Forgets a parked event. False if it is not parked.
    fn drop_parked(
        &self,
        slot: &Slot,
        position: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Puts the rebuilt model in the place of the live one, with its bookmarks and parked events, in one step and
    /// without an owner, if it is not behind the live one (see [`Record::is_not_behind`]).
    fn swap(&self, name: &str) -> impl Future<Output = Result<Swap, StoreError>> + Send;

    /// Removes a model that was being rebuilt, with all that is known of it.
    fn discard_rebuild(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether an error, which a handler may have passed on, says that the database could not be asked or could not
    /// do it now, and so nothing about the event.
    fn is_transient(error: &(dyn Error + 'static)) -> bool;
}

/// Which of a projection's models is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that is read.
    Live,
    /// The one that is made beside it.
    Rebuild,
}

impl Side {
    /// How it is told in a database.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Live => "live",
            Side::Rebuild => "rebuild",
        }
    }
}

/// A model of a projection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The projection.
    pub projection: String,
    /// Which of its models.
    pub side: Side,
}

/// What a store knows of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the projection was when the model was set up; compared as a whole.
    pub definition: String,
    /// How its events are shared among its partitions.
    pub partitioning: String,
    /// Counts the rebuilds: 1 for the first.
    pub generation: u64,
    /// The bookmark of each partition: everything up to there is in the model.
    pub bookmarks: Vec<u64>,
}

impl Record {
    /// Up to where everything is in the model.
    pub fn position(&self) -> u64 {
        self.bookmarks.iter().copied().min().unwrap_or_default()
    }

    /// Whether nothing that is in `live` is missing here, so that its readers do not go back in time.
    pub fn is_not_behind(&self, live: &Record) -> bool {
        if self.partitioning == live.partitioning && self.bookmarks.len() == live.bookmarks.len() {
            return self.bookmarks.iter().zip(&live.bookmarks).all(|(own, other)| own >= other);
        }
        self.position() >= live.bookmarks.iter().copied().max().unwrap_or_default()
    }
}

/// What a projection begins with.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// Its model.
    pub slot: &'a Slot,
    /// See [`Record::definition`].
    pub definition: &'a str,
    /// See [`Record::partitioning`].
    pub partitioning: &'a str,
    /// See [`Record::generation`].
    pub generation: u64,
    /// How many bookmarks.
    pub partitions: u32,
    /// Where they stand.
    pub after: u64,
    /// Who sets it up, and goes on with it.
    pub owner: &'a str,
    /// For how long it is its own, unless renewed.
    pub lease: Duration,
}

/// A move of one bookmark.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Of which model.
    pub slot: &'a Slot,
    /// Which life of it.
    pub generation: u64,
    /// Of which partition.
    pub partition: u32,
    /// Who moves it.
    pub owner: &'a str,
    /// Where it stands.
    pub from: u64,
    /// Where it is put: everything up to there is in the model when the transaction is committed.
    pub to: u64,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is no such model.
    Missing,
    /// It is the claimant's now, as long as the lease is renewed.
    Owned(Record),
    /// Another one's lease has not run out.
    Held {
        /// Who.
        owner: String,
        /// Until when, by the database's clock, in milliseconds: to be compared with itself only.
        until: i64,
    },
}

/// What became of a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The rebuilt model is the live one.
    Done,
    /// The live model knows of more: nothing was changed.
    Behind,
}

/// An event that could not be applied, and was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub position: u64,
    /// Its stream.
    pub stream: String,
    /// Its place there.
    pub version: u64,
    /// Its type.
    pub kind: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What the handler said last; at most 4,096 bytes.
    pub reason: String,
}

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bookmark is not where it was, or another one owns the projection.
    #[error("the bookmark was moved by another")]
    Moved,
    /// The database cannot be asked, or cannot do it now: the same may be tried again.
    #[error("the database of the read model cannot be reached: {0}")]
    Lost(#[source] BoxError),
    /// The database says no.
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
