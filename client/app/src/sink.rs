//! Sinks: a consumer group drives a destination outside, at least once and in order per stream.
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
//! The group keeps what is settled and what is not, in the cluster. An event is acknowledged after it was
//! delivered, so a crash repeats what was under way; a destination recognizes a repetition by the event's id.
//! What fails is tried again after the group's delay, at most as often as the group says, and is then parked
//! with its reason: the dead letters, which `quorate group parked` lists and `quorate group replay` tries
//! again. While an event waits to be tried again, a group that goes [by
//! stream](quorate_client::Strategy::ByStream) hands out nothing else of its stream; what is parked is passed
//! over. A delivery that takes longer than the group's timeout keeps its event, up to a bound:
//! [`SinkRunner::deliver_within`]. The group's `attempts` and delay are how long an outage of the destination may last.

mod consumer;
mod deliveries;
mod error;
mod json;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
mod runner;
mod stream_queues;
#[cfg(feature = "webhook")]
mod webhook;

pub use error::SinkError;
pub use json::json_line;
#[cfg(feature = "kafka")]
pub use kafka::{Kafka, KafkaError};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsError};
pub use runner::{Sink, SinkRunner};
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookError};

#[cfg(test)]
mod tests;
