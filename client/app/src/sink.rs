//! Sinks: a consumer group drives a destination outside of the store, at least once and in order per stream.
//!
//! ```no_run
//! use std::time::Duration;
//! use quorate_app::sink::{Sink, SinkError, SinkRunner};
//! use quorate_client::{Client, Query, RecordedEvent, Strategy};
//!
//! /// Prints what happens.
//! struct Printer;
//!
//! impl Sink for Printer {
//!     async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
//!         println!("{} {} {}", event.position, event.stream, event.kind);
//!         Ok(())
//!     }
//! }
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let group = client.group("printer");
//! group.create(Query::category("order")).strategy(Strategy::ByStream).attempts(20).send().await?;
//! SinkRunner::new(group, Printer).window(16).run().await?;
//! # Ok(()) }
//! ```
//!
//! The group keeps the outcome of each event, in the cluster. An event is acknowledged after it was delivered, so a
//! crash repeats the deliveries under way; a destination recognizes a repetition by the event's id. A failed event is
//! tried again after the group's delay, up to the group's number of attempts, and is then parked with its reason: the
//! dead letters, which `quorate group parked` lists and `quorate group replay` tries again. While an event waits for
//! its next attempt, a group that goes [by stream](quorate_client::Strategy::ByStream) hands out nothing else of its
//! stream; parked events are skipped. A delivery that takes longer than the group's timeout keeps its event, up to a
//! limit: [`SinkRunner::deliver_within`]. The group's `attempts` and delay set how long an outage of the destination
//! may last.

mod consumer;
mod deliveries;
mod error;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
mod runner;
mod stream_queues;
#[cfg(feature = "webhook")]
mod webhook;

pub use error::SinkError;
#[cfg(feature = "kafka")]
pub use kafka::{Kafka, KafkaError};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsError};
pub use quorate_client::json_line;
pub use runner::{Sink, SinkRunner};
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookError};

#[cfg(test)]
mod tests;
