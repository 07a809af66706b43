//! Why a projection ended, or did not do what it was asked for.

use quorate_client::{Invalid, Problem};

use super::store::{BoxError, StoreError};
use crate::status::State;

/// Why a projection ended, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// An event cannot be applied. The model holds everything before it; the projection goes on with it when it is
    /// started again, with a handler that can.
    #[error(
        "projection `{projection}` stopped at position {position} (`{stream}` version {version}, type `{kind}`), \
         tried {attempts} times: {source}"
    )]
    Handler {
        /// The projection.
        projection: String,
        /// The event.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its place there.
        version: u64,
        /// Its type.
        kind: String,
        /// How often it was tried.
        attempts: u32,
        /// What the handler said.
        #[source]
        source: BoxError,
    },
    /// The model could not be set up; nothing of it is there.
    #[error("the model of projection `{projection}` cannot be set up: {source}")]
    SetUp {
        /// The projection.
        projection: String,
        /// What the handler said.
        #[source]
        source: BoxError,
    },
    /// Another process runs the projection, or took it over; what this one had not committed is undone.
    #[error("another process runs projection `{projection}` (`{owner}`); this one does not")]
    RunsElsewhere {
        /// The projection.
        projection: String,
        /// The other's mark.
        owner: String,
    },
    /// The model was made by another definition (version, query, cluster): it has to be rebuilt.
    #[error(
        "the model of projection `{projection}` was made as ({stored}), and this is ({told}): rebuild it, or run \
         what it was made by"
    )]
    Changed {
        /// The projection.
        projection: String,
        /// What the model was made by.
        stored: String,
        /// What it is now.
        told: String,
    },
    /// The partitions are not at one position, and the key that they were made by is not known any more.
    #[error(
        "projection `{projection}` cannot go from partitions {stored} to {told}: they stand at different positions, \
         and what shares the events among them has changed; rebuild it, or let it run as it was until it is idle"
    )]
    Partitions {
        /// The projection.
        projection: String,
        /// How events were shared.
        stored: String,
        /// How they are to be.
        told: String,
    },
    /// The model holds events that the cluster's log does not: what is appended next would be passed over. Data of the
    /// cluster was lost, say, and came back from an older copy.
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
    /// Too many events are parked: more could not be told apart from a broken handler.
    #[error("projection `{projection}` has {parked} parked events, as many as it may have: {last}")]
    TooManyParked {
        /// The projection.
        projection: String,
        /// How many.
        parked: usize,
        /// Why the next one cannot be applied.
        last: String,
    },
    /// The time is over and the model has not reached the position.
    #[error(
        "projection `{projection}` is at position {actual} and has not reached {wanted} in time"
    )]
    NotReached {
        /// The projection.
        projection: String,
        /// Where it is.
        actual: u64,
        /// Where it should be.
        wanted: u64,
    },
    /// It ended before its model had reached the position.
    #[error(
        "projection `{projection}` ended at position {actual} and has not reached {wanted}: {state}"
    )]
    Ended {
        /// The projection.
        projection: String,
        /// Where it was.
        actual: u64,
        /// Where it should have come.
        wanted: u64,
        /// How it ended.
        state: State,
    },
    /// A parked event is not in the log any more.
    #[error(
        "the event at position {position} (`{stream}` version {version}) is not in the log any more"
    )]
    Gone {
        /// The event.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its place there.
        version: u64,
    },
    /// The handler gave up the whole process rather than one event.
    #[error("projection `{projection}` panicked: {why}")]
    Panicked {
        /// The projection.
        projection: String,
        /// What it said.
        why: String,
    },
    /// A name or a number breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The cluster says no.
    #[error("the cluster refuses what the projection asks for: {0}")]
    Source(#[from] Problem),
    /// The database says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}
