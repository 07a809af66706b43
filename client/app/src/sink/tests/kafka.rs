//! Tests of the sink for Kafka with a broker that speaks its protocol, if one is installed.

use std::collections::BTreeMap;
use std::future::pending;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::partition::UnknownTopicHandling;
use rskafka::client::{Client, ClientBuilder};
use tokio::time::{Instant, sleep, timeout};

use crate::sink::kafka::{Kafka, KafkaError};
use crate::sink::runner::drive;
use crate::sink::tests::group::{Group, events};
use crate::sink::tests::{free_port, skipped};

const PARTITIONS: i32 = 3;

/// A broker that keeps everything in memory and ends with the test.
struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    async fn start() -> Option<(Broker, Client)> {
        let quiet = || Command::new("tansu");
        if quiet().arg("--help").stdout(Stdio::null()).status().is_err() {
            skipped("there is no `tansu`, a broker that speaks Kafka's protocol, here");
            return None;
        }
        let address = format!("127.0.0.1:{}", free_port());
        let url = format!("tcp://{address}");
        let child = quiet()
            .args(["broker", "--storage-engine", "memory://tansu/"])
            .args(["--listener-url", &url, "--advertised-listener-url", &url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a broker");
        let broker = Broker { child, address };
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(30), "the broker does not come up");
            let backoff = BackoffConfig {
                max_backoff: Duration::from_millis(100),
                deadline: Some(Duration::from_secs(1)),
                ..BackoffConfig::default()
            };
            let client = ClientBuilder::new(vec![broker.address.clone()]).backoff_config(backoff);
            match timeout(Duration::from_secs(2), client.build()).await {
                Ok(Ok(client)) => return Some((broker, client)),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn events_reach_a_broker_in_the_order_of_their_streams() {
    let Some((broker, client)) = Broker::start().await else { return };
    let missing = Kafka::connect([&broker.address], "events").await.expect_err("no topic");
    assert!(matches!(missing, KafkaError::NoTopic { .. }), "{missing}");
    let controller = client.controller_client().expect("a controller");
    controller.create_topic("events", PARTITIONS, 1, 5_000).await.expect("a topic");

    let kafka = Kafka::connect([&broker.address], "events").await.expect("a sink");
    let (group, settled) = Group::of(events(60, 6), 3);
    drive(&kafka, group, pending()).await.expect("it ends");
    {
        let settled = settled.lock().expect("no panic");
        assert_eq!(settled.acknowledged.len(), 60, "{:?}", settled.parked);
    }

    let mut versions = BTreeMap::<String, Vec<u64>>::new();
    for partition in 0..PARTITIONS {
        let reader = client.partition_client("events", partition, UnknownTopicHandling::Retry);
        let reader = reader.await.expect("a partition");
        let mut offset = 0;
        loop {
            let (records, end) =
                reader.fetch_records(offset, 1..1_000_000, 1_000).await.expect("records");
            for found in &records {
                let record = &found.record;
                let stream = String::from_utf8(record.key.clone().expect("a key")).expect("a name");
                let body = record.value.as_ref().expect("a value");
                let event: serde_json::Value = serde_json::from_slice(body).expect("JSON");
                assert_eq!(event["stream"], stream.as_str());
                assert_eq!(record.headers["id"], event["id"].as_str().expect("an id").as_bytes());
                let of_stream = versions.entry(stream).or_default();
                of_stream.push(event["version"].as_u64().expect("a version"));
                offset = found.offset + 1;
            }
            if offset >= end {
                break;
            }
        }
    }
    assert_eq!(versions.len(), 6);
    for of_stream in versions.values() {
        assert_eq!(*of_stream, (1..=10).collect::<Vec<u64>>());
    }
}
