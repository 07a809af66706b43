//! The events arrive in NATS and in Kafka, in order per account.

use std::collections::{BTreeMap, BTreeSet};

use accounts::account::CATEGORY;
use accounts::publish;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt;
use quorate_client::{Client, Query};
use rskafka::client::partition::UnknownTopicHandling;

use super::in_time;
use super::models::move_money;
use super::servers::{Kafka, Nats, PARTITIONS};

/// The versions of each stream, in the order in which they arrived.
pub(crate) type Arrived = BTreeMap<String, Vec<u64>>;

/// Returns the versions of each account's stream, as they are in the log.
pub(crate) async fn in_the_log(client: &Client) -> Arrived {
    let mut versions = Arrived::new();
    for event in client.read(Query::category(CATEGORY)).collect().await.expect("events").events {
        versions.entry(event.stream.to_string()).or_default().push(event.version.0);
    }
    versions
}

/// Returns true if the last event of each stream has arrived.
fn is_whole(arrived: &Arrived, expected: &Arrived) -> bool {
    expected.iter().all(|(stream, versions)| {
        arrived
            .get(stream)
            .is_some_and(|arrived| versions.last().is_none_or(|last| arrived.contains(last)))
    })
}

/// Leaves out what arrived again.
pub(crate) fn without_repetitions(mut arrived: Arrived) -> Arrived {
    for versions in arrived.values_mut() {
        let mut seen = BTreeSet::new();
        versions.retain(|version| seen.insert(*version));
    }
    arrived
}

fn arrive(arrived: &mut Arrived, json: &[u8]) {
    let event: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let stream = event["stream"].as_str().expect("a stream").to_owned();
    arrived.entry(stream).or_default().push(event["version"].as_u64().expect("a version"));
}

/// Reads what is in NATS until all events are there.
pub(crate) async fn in_nats(server: &Nats, expected: &Arrived) -> Arrived {
    let context = jetstream::new(async_nats::connect(&server.url).await.expect("connected"));
    // The sink makes the stream.
    let stream = loop {
        match context.get_stream("accounts").await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    // By default the server waits after a thousand messages until some are acknowledged.
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut arrived = Arrived::new();
    while !is_whole(&arrived, expected) {
        let message = messages.next().await.expect("there are more");
        arrive(&mut arrived, &message.expect("a message").payload);
    }
    arrived
}

/// Reads what is in Kafka until all events are there.
pub(crate) async fn in_kafka(broker: &Kafka, expected: &Arrived) -> Arrived {
    let mut arrived = Arrived::new();
    let mut offsets = [0; PARTITIONS as usize];
    while !is_whole(&arrived, expected) {
        for (partition, offset) in (0..PARTITIONS).zip(&mut offsets) {
            let unknown = UnknownTopicHandling::Retry;
            let reader = broker.client.partition_client(publish::TOPIC, partition, unknown);
            let reader = reader.await.expect("a partition");
            let (records, _) =
                reader.fetch_records(*offset, 1..1_000_000, 100).await.expect("records");
            for found in records {
                *offset = found.offset + 1;
                arrive(&mut arrived, &found.record.value.expect("a value"));
            }
        }
    }
    arrived
}

#[tokio::test]
async fn the_events_arrive_in_nats() {
    let Some(server) = Nats::start().await else { return };
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    move_money(&client).await;
    let expected = in_the_log(&client).await;
    let all_arrive = async { assert_eq!(in_nats(&server, &expected).await, expected) };
    let publishing = publish::to_nats(&client, &server.url, all_arrive);
    in_time("all events arrive", publishing).await.expect("it stops");
}

#[tokio::test]
async fn the_events_arrive_in_kafka() {
    let Some(broker) = Kafka::start().await else { return };
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    move_money(&client).await;
    let expected = in_the_log(&client).await;
    let all_arrive = async { assert_eq!(in_kafka(&broker, &expected).await, expected) };
    let brokers = [broker.address.clone()];
    let publishing = publish::to_kafka(&client, &brokers, all_arrive);
    in_time("all events arrive", publishing).await.expect("it stops");
}
