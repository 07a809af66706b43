//! The errors of a projection.

use quorate_client::{Invalid, Problem};

use super::store::{BoxError, StoreError};
use crate::status::State;

/// The reason why a projection ended, or did not do what was requested.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, Projection, ProjectionError, Store};
/// # async fn example<S: Store, H: Handler<S::Model>>(orders: Projection<S, H>, client: quorate_client::Client) {
/// match orders.start(client).wait().await {
///     Err(ProjectionError::Handler { position, kind, source, .. }) => {
///         eprintln!("the `{kind}` at position {position} needs a fix: {source}");
///     }
///     Err(ProjectionError::Changed { .. }) => eprintln!("the model has to be rebuilt"),
///     ended => println!("{ended:?}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// An event cannot be applied. The model holds everything before it; the projection begins with this event when it
    /// is started again, with a handler that can apply it.
    #[error(
        "projection `{projection}` stopped at position {position} (`{stream}` version {version}, type `{kind}`), \
         tried {attempts} times: {source}"
    )]
    Handler {
        /// The projection.
        projection: String,
        /// The position of the event.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its version in the stream.
        version: u64,
        /// Its type.
        kind: String,
        /// The number of attempts.
        attempts: u32,
        /// The handler's error.
        #[source]
        source: BoxError,
    },
    /// The model could not be set up; nothing of it is stored.
    #[error("the model of projection `{projection}` cannot be set up: {source}")]
    SetUp {
        /// The projection.
        projection: String,
        /// The handler's error.
        #[source]
        source: BoxError,
    },
    /// Another process runs the projection, or took it over; uncommitted changes of this one are undone.
    #[error("another process runs projection `{projection}` (`{owner}`); this one does not")]
    RunsElsewhere {
        /// The projection.
        projection: String,
        /// The random id of the other process.
        owner: String,
    },
    /// The model was made by another definition (version, query, cluster): it has to be rebuilt.
    #[error(
        "the model of projection `{projection}` was made as ({stored}), and this is ({current}): rebuild it, or run \
         what it was made by"
    )]
    Changed {
        /// The projection.
        projection: String,
        /// The definition that the model was made by.
        stored: String,
        /// The current definition.
        current: String,
    },
    /// The partitions are at different positions, and the key that shared the events is not known any more.
    #[error(
        "projection `{projection}` cannot go from partitions {stored} to {current}: they stand at different positions, \
         and what shares the events among them has changed; rebuild it, or let it run as it was until it is idle"
    )]
    Partitions {
        /// The projection.
        projection: String,
        /// The partitioning that is stored.
        stored: String,
        /// The partitioning that is set now.
        current: String,
    },
    /// The model holds events that the cluster's log does not: the next appended events would be skipped. For example,
    /// data of the cluster was lost, and restored from an older copy.
    #[error(
        "the bookmark of projection `{projection}` is {bookmark}, ahead of the cluster's log: find out what the log \
         lost, and rebuild the model; {source}"
    )]
    Ahead {
        /// The projection.
        projection: String,
        /// The bookmark of its model.
        bookmark: u64,
        /// The cluster's answer.
        #[source]
        source: Problem,
    },
    /// Too many events are parked: that many point to a broken handler.
    #[error("projection `{projection}` has {parked} parked events, as many as it may have: {last}")]
    TooManyParked {
        /// The projection.
        projection: String,
        /// The number of parked events.
        parked: usize,
        /// The reason why the next one cannot be applied.
        last: String,
    },
    /// The time is over before the model has reached the position.
    #[error(
        "projection `{projection}` is at position {actual} and has not reached {wanted} in time"
    )]
    NotReached {
        /// The projection.
        projection: String,
        /// The position of the model.
        actual: u64,
        /// The position to reach.
        wanted: u64,
    },
    /// The projection ended before its model had reached the position.
    #[error(
        "projection `{projection}` ended at position {actual} and has not reached {wanted}: {state}"
    )]
    Ended {
        /// The projection.
        projection: String,
        /// The position of the model.
        actual: u64,
        /// The position to reach.
        wanted: u64,
        /// The state in which it ended.
        state: State,
    },
    /// A parked event is not in the log any more.
    #[error(
        "the event at position {position} (`{stream}` version {version}) is not in the log any more"
    )]
    Gone {
        /// The position of the event.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its version in the stream.
        version: u64,
    },
    /// The projection's task panicked outside of the handling of an event, or its runtime ended.
    #[error("projection `{projection}` panicked: {why}")]
    Panicked {
        /// The projection.
        projection: String,
        /// The message of the panic.
        why: String,
    },
    /// A name or a number breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The cluster refuses a request.
    #[error("the cluster refuses what the projection asks for: {0}")]
    Source(#[from] Problem),
    /// The database failed or refuses a request.
    #[error(transparent)]
    Store(#[from] StoreError),
}
