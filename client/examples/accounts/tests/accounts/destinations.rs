//! The events arrive in NATS and in Kafka, in order per account.

use std::collections::BTreeMap;

use accounts::publish;
use async_nats::jetstream::{self, consumer::pull};
use futures_util::StreamExt;
use quorate_client::Client;
use rskafka::client::partition::UnknownTopicHandling;

use super::models::move_money;
use super::servers::{Kafka, Nats};
use super::{end_of_log, in_time};

/// The number of partitions of the topic.
const PARTITIONS: i32 = 3;

/// The versions of each stream, in the order in which they arrived.
type Arrived = BTreeMap<String, Vec<u64>>;

fn arrive(arrived: &mut Arrived, json: &[u8]) {
    let event: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let stream = event["stream"].as_str().expect("a stream").to_owned();
    arrived.entry(stream).or_default().push(event["version"].as_u64().expect("a version"));
}

/// Checks that each stream arrived from its first event to its last, without a repetition.
fn assert_whole(arrived: &Arrived) {
    for (stream, versions) in arrived {
        assert_eq!(*versions, (1..=versions.len() as u64).collect::<Vec<u64>>(), "{stream}");
    }
}

/// Moves money, and returns the number of events.
async fn events(client: &Client) -> usize {
    move_money(client).await;
    // There is nothing else in the log.
    end_of_log(client).await.0 as usize
}

#[tokio::test]
async fn the_events_arrive_in_nats() {
    let Some(server) = Nats::start().await else { return };
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    let count = events(&client).await;
    let mut arrived = Arrived::new();
    let all_arrive = async {
        let context = jetstream::new(async_nats::connect(&server.url).await.expect("connected"));
        // The sink makes the stream.
        let stream = loop {
            match context.get_stream("accounts").await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let consumer = stream.create_consumer(pull::Config::default()).await.expect("a consumer");
        let mut messages = consumer.messages().await.expect("messages").take(count);
        while let Some(message) = messages.next().await {
            arrive(&mut arrived, &message.expect("a message").payload);
        }
    };
    let publishing = publish::to_nats(&client, &server.url, all_arrive);
    in_time("all events arrive", publishing).await.expect("it stops");
    assert_whole(&arrived);
}

#[tokio::test]
async fn the_events_arrive_in_kafka() {
    let Some(broker) = Kafka::start().await else { return };
    let controller = broker.client.controller_client().expect("a controller");
    controller.create_topic(publish::TOPIC, PARTITIONS, 1, 5_000).await.expect("a topic");
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    let count = events(&client).await;
    let mut arrived = Arrived::new();
    let all_arrive = async {
        let mut read = 0;
        let mut offsets = [0; PARTITIONS as usize];
        while read < count {
            for (partition, offset) in (0..PARTITIONS).zip(&mut offsets) {
                let unknown = UnknownTopicHandling::Retry;
                let reader = broker.client.partition_client(publish::TOPIC, partition, unknown);
                let reader = reader.await.expect("a partition");
                let (records, _) =
                    reader.fetch_records(*offset, 1..1_000_000, 100).await.expect("records");
                for found in records {
                    *offset = found.offset + 1;
                    read += 1;
                    arrive(&mut arrived, &found.record.value.expect("a value"));
                }
            }
        }
    };
    let brokers = [broker.address.clone()];
    let publishing = publish::to_kafka(&client, &brokers, all_arrive);
    in_time("all events arrive", publishing).await.expect("it stops");
    assert_whole(&arrived);
}
