//! Tests of the sink for NATS with a real server, if one is installed.

use std::future::pending;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use crate::sink::nats::Nats;
use crate::sink::runner::drive;
use crate::sink::tests::group::{Group, events};
use crate::sink::tests::{free_port, skipped};

/// A server with a folder of its own; it ends with the test.
struct Server {
    child: Child,
    address: String,
    folder: std::path::PathBuf,
}

impl Server {
    async fn start() -> Option<Server> {
        let is_there = Command::new("nats-server").arg("--version").stdout(Stdio::null()).status();
        if is_there.is_err() {
            skipped("there is no `nats-server` here (Debian: apt-get install nats-server)");
            return None;
        }
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("quorate-nats-{port}"));
        let child = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(&folder)
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let server = Server { child, address: format!("nats://127.0.0.1:{port}"), folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while async_nats::connect(&server.address).await.is_err() {
            assert!(Instant::now() < deadline, "the server does not come up");
            sleep(Duration::from_millis(20)).await;
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn events_reach_a_real_server_once_and_in_order() {
    let Some(server) = Server::start().await else { return };
    let client = async_nats::connect(&server.address).await.expect("a connection");
    let context = jetstream::new(client.clone());
    let nats = Nats::connect(&server.address, "events.{category}.{type}").await.expect("a sink");

    // While no stream takes the subject the event is tried again, and parked after the last attempt.
    let all = events(100, 5);
    let (group, settled) = Group::of(all[..1].to_vec(), 2);
    drive(&nats, group, pending()).await.expect("it ends");
    let outcomes = std::mem::take(&mut *settled.lock().expect("no panic"));
    assert_eq!(outcomes.delays.len(), 2);
    assert!(outcomes.parked[&1].contains("no stream found"), "{:?}", outcomes.parked);

    let subjects = vec!["events.>".to_owned()];
    let config = stream::Config { name: "events".to_owned(), subjects, ..Default::default() };
    let mut stream = context.create_stream(config).await.expect("a stream");
    // The second time the server recognizes each event by its id.
    for _ in 0..2 {
        let (group, settled) = Group::of(all.clone(), 3);
        drive(&nats, group, pending()).await.expect("it ends");
        assert_eq!(settled.lock().expect("no panic").acknowledged.len(), 100);
    }
    assert_eq!(stream.info().await.expect("an answer").state.messages, 100);

    let config = jetstream::consumer::pull::Config::default();
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages").take(100);
    let mut versions = std::collections::BTreeMap::<String, Vec<u64>>::new();
    while let Some(message) = messages.next().await {
        let message = message.expect("a message");
        assert_eq!(message.subject.as_str(), "events.order.Paid");
        let event: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        let headers = message.headers.as_ref().expect("headers");
        let header = |name: &str| headers.get(name).expect(name).as_str().to_owned();
        assert_eq!(header("Nats-Msg-Id"), event["id"].as_str().expect("an id"));
        assert_eq!(header("Quorate-Position"), event["position"].to_string());
        assert_eq!(header("Quorate-Type"), "Paid");
        let version = header("Quorate-Version").parse().expect("a number");
        versions.entry(header("Quorate-Stream")).or_default().push(version);
    }
    assert_eq!(versions.len(), 5);
    for versions in versions.values() {
        assert_eq!(*versions, (1..=20).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn what_is_larger_than_the_server_allows_is_parked() {
    let Some(server) = Server::start().await else { return };
    let nats = Nats::connect(&server.address, "events").await.expect("a sink");
    let mut large = events(1, 1);
    large[0].event.data = vec![0xff; 1_000_000].into();
    let (group, settled) = Group::of(large, 3);
    drive(&nats, group, pending()).await.expect("it ends");
    let settled = settled.lock().expect("no panic");
    assert!(settled.delays.is_empty(), "it was tried again");
    assert!(settled.parked[&1].contains("max payload"), "{:?}", settled.parked);
}
