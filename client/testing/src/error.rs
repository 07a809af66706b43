//! The reasons why a cluster in memory does not start.

use std::io;

use quorate_client::{Invalid, Problem};
use quorate_node::server::ServerError;

/// The reason why a cluster or a node did not start.
///
/// ```
/// use quorate_testing::{Cluster, StartError};
///
/// /// Starts a cluster, and once more if the machine was too busy for an election.
/// async fn patient() -> Result<Cluster, StartError> {
///     match quorate_testing::start().await {
///         Err(StartError::Cluster(_)) => quorate_testing::start().await,
///         started => started,
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system gave no thread.
    #[error("the system starts no thread for a node: {0}")]
    Thread(#[from] io::Error),
    /// The server refused to start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The client could not be made.
    #[error(transparent)]
    Client(#[from] Invalid),
    /// The nodes did not form a cluster, or did not choose a leader in time.
    #[error("the nodes form no cluster: {0}")]
    Cluster(#[from] Problem),
    /// The server ended before it listened.
    #[error("the node ended while it started; its panic is in the test's output")]
    Ended,
}
