//! A real cluster of Quorate inside a test: in memory, without ports and processes, within milliseconds.
//!
//! The nodes run the code of the `quorate` binary. Only the machine beneath them is another: files are in memory, and
//! connections are pipes within the process. So a test has a real [`Client`](quorate_client::Client), with versions,
//! conditions, subscriptions, groups and snapshots, and each test has a log of its own.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use quorate_client::{Event, Expect};
//!
//! let cluster = quorate_testing::start().await?;
//! let client = cluster.client();
//! let placed = Event::json("OrderPlaced", &["tea"])?;
//! client.append("order-42", Expect::None, [placed]).await?;
//! assert_eq!(client.read("order-42").collect().await?.events.len(), 1);
//! # Ok(()) }
//! ```
//!
//! [`Cluster::start`] makes several nodes, of which [`Cluster::cut_power`] stops one at any moment and
//! [`Cluster::start_again`] brings it back, so that a test shows how an application lives through the loss of a leader.
//!
//! A power cut loses what was not synced, as on a real machine. Nothing outlives the [`Cluster`].

mod cluster;
mod error;
mod host;
mod network;
mod node;
#[cfg(test)]
mod tests;

pub use cluster::{Cluster, start};
pub use error::StartError;
