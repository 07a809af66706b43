//! Events for others: every event of an account goes to NATS and to Kafka, at least once and in order per account.

use std::future::Future;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, stream};
use quorate_app::sink::{Kafka, Nats, SinkRunner};
use quorate_client::{Client, GroupRef, Query, Strategy};

use crate::account::CATEGORY;

/// The subject of each event in NATS.
const SUBJECT: &str = "accounts.{type}";
/// The topic of all events in Kafka; it must exist.
pub const TOPIC: &str = "accounts";

/// Publishes to a NATS server (`nats://host:port`) until `stop` is ready.
///
/// # Errors
/// The server is not reached at the beginning, or the group is refused.
pub async fn to_nats(client: &Client, url: &str, stop: impl Future<Output = ()>) -> Result<()> {
    let server = async_nats::connect(url).await.with_context(|| format!("no NATS at {url}"))?;
    let config = stream::Config {
        name: "accounts".to_owned(),
        subjects: vec!["accounts.>".to_owned()],
        ..stream::Config::default()
    };
    jetstream::new(server.clone()).get_or_create_stream(config).await?;
    let sink = Nats::with_client(server, SUBJECT)?;
    SinkRunner::new(group(client, "accounts-to-nats").await?, sink).run_until(stop).await?;
    Ok(())
}

/// Publishes to Kafka (brokers as `host:port`) until `stop` is ready.
///
/// # Errors
/// No broker is reached at the beginning, there is no topic [`TOPIC`], or the group is refused.
pub async fn to_kafka(
    client: &Client,
    brokers: &[String],
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let sink = Kafka::connect(brokers, TOPIC).await?;
    SinkRunner::new(group(client, "accounts-to-kafka").await?, sink).run_until(stop).await?;
    Ok(())
}

/// Returns the group with the progress of a destination; it is made if it is not there yet.
async fn group(client: &Client, name: &str) -> Result<GroupRef> {
    let group = client.group(name);
    group.create(Query::category(CATEGORY)).strategy(Strategy::ByStream).send().await?;
    Ok(group)
}
