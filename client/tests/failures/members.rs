//! A client finds a node among many that are silent, and learns of the members of a cluster.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use crate::fake::{Node, Read};
use crate::reads::point;
use quorate_client::{Client, ErrorKind, Event, Expect, Query};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::read_response::Message as Wire;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

/// The longest time to wait: much longer than any of the tests takes.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(600);
/// The time within which a call must end: much shorter than asking all the nodes one after the other takes.
const ENOUGH: Duration = Duration::from_secs(6);
const MANY: usize = 60;

/// Endpoints that take connections and never answer.
struct Silent(Vec<TcpListener>);

impl Silent {
    async fn start(count: usize) -> Silent {
        let mut listeners = Vec::new();
        for _ in 0..count {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        }
        Silent(listeners)
    }

    fn addresses(&self) -> Vec<String> {
        let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        self.0.iter().map(address).collect()
    }
}

#[tokio::test]
async fn a_client_connects_within_its_deadline_although_most_endpoints_are_silent() {
    let silent = Silent::start(MANY).await;
    let begun = Instant::now();
    let builder = Client::builder().endpoints(silent.addresses()).in_order(true).deadline(SHORT);
    let refused = builder.connect().await.expect_err("nobody answers");
    assert!(matches!(refused.kind, ErrorKind::Unavailable | ErrorKind::Deadline), "{refused:?}");
    assert!(begun.elapsed() < ENOUGH, "{:?}", begun.elapsed());

    let node = Node::start().await;
    node.members.set(1, &[&node.address]);
    let silent = Silent::start(8).await;
    let endpoints = silent.addresses().into_iter().chain([node.address.clone()]);
    let begun = Instant::now();
    let builder = Client::builder().endpoints(endpoints).in_order(true).deadline(ENOUGH);
    builder.connect().await.expect("the last one answers");
    assert!(begun.elapsed() < 2 * ENOUGH, "{:?}", begun.elapsed());
}

/// Checks that a call ends with an error by its deadline.
async fn ends<T, E: std::fmt::Debug>(what: &str, call: impl Future<Output = Result<T, E>>) {
    let begun = Instant::now();
    let ended = timeout(ENOUGH, call).await.unwrap_or_else(|_| panic!("{what} goes on"));
    assert!(ended.is_err(), "{what}: nobody can have answered");
    assert!(begun.elapsed() >= SHORT / 2, "{what}: another node might have answered");
}

#[tokio::test]
async fn calls_end_by_their_deadline_however_many_nodes_are_silent() {
    let silent = Silent::start(MANY).await;
    let builder = Client::builder().endpoints(silent.addresses()).in_order(true).deadline(SHORT);
    let client = builder.build().expect("a client");
    ends("status", client.status()).await;
    ends("a read", client.read("order-1").collect()).await;
    ends("a list", client.streams().collect()).await;
    ends("settings", client.stream("order-1").show()).await;
    ends("groups", client.group("mail").show()).await;
    let event = Event::new("Made", "1").expect("an event");
    ends("an append", client.append("order-1", Expect::Any, [event])).await;
    ends("a change", client.stream("order-1").delete(Expect::Any)).await;
}

/// Answers a read with no events.
async fn serve(read: Read) {
    point(&read, 0, None).await;
    read.send(Wire::End(v1::Empty {})).await;
}

async fn connect(endpoint: &str) -> Client {
    Client::connect([endpoint]).await.expect("it answers")
}

/// Clients that were all given the same endpoint once kept reading there.
#[tokio::test]
async fn clients_that_are_given_one_endpoint_spread_over_the_members() {
    let mut nodes = [Node::start().await, Node::start().await, Node::start().await];
    let addresses = nodes.each_ref().map(|node| node.address.clone());
    for (place, node) in nodes.iter().enumerate() {
        let mut members = addresses.each_ref().map(String::as_str);
        members.swap(0, place);
        node.members.set(1, &members);
    }
    let reading = async {
        let mut read_at = BTreeSet::new();
        let mut clients = Vec::new();
        while read_at.len() < nodes.len() {
            // Each client chooses at random.
            clients.push(connect(&addresses[0]).await);
            for client in &clients {
                let [first, second, third] = &mut nodes;
                let reading = tokio::spawn(client.read(Query::everything()).collect());
                let (place, read) = tokio::select! {
                    read = first.read() => (0, read),
                    read = second.read() => (1, read),
                    read = third.read() => (2, read),
                };
                read_at.insert(place);
                serve(read).await;
                reading.await.expect("it ran").expect("an answer");
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("some clients read at each of the nodes");
}

/// Through a forwarded port, the cluster's addresses lead nowhere from here, or to another cluster.
#[tokio::test]
async fn members_that_cannot_be_reached_or_belong_to_another_cluster_are_not_read_from() {
    let (mut node, mut stranger) = (Node::start().await, Node::start().await);
    stranger.members.set(2, &[&stranger.address]);
    node.members.set(1, &["10.1.2.3:7701", "127.0.0.1:1", &stranger.address]);
    let reading = async {
        for number in 1..=8 {
            let client = connect(&node.address).await;
            stranger.members.until_asked(number).await;
            for _ in 0..4 {
                let mut subscription = client.read(Query::everything()).follow();
                let following = tokio::spawn(async move { subscription.try_next().await });
                let reading = tokio::spawn(client.read(Query::everything()).collect());
                for _ in 0..2 {
                    tokio::select! {
                        read = node.read() => serve(read).await,
                        _ = stranger.read() => panic!("it reads from another cluster"),
                    }
                }
                assert_eq!(following.await.expect("it ran").expect("no problem"), None);
                reading.await.expect("it ran").expect("an answer");
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("all is read from the node that was given");
}

#[tokio::test]
async fn every_request_has_the_headers_that_are_set_at_the_moment() {
    let node = Node::start().await;
    node.members.set(1, &[&node.address]);
    let token = std::sync::Arc::new(std::sync::Mutex::new("first"));
    let current = std::sync::Arc::clone(&token);
    let builder = Client::builder().url(format!("quorate://{}?pinned=true", node.address));
    let builder = builder.expect("a URL").headers(move |headers| {
        let token = quorate_client::http::HeaderValue::from_static(
            *current.lock().expect("no panic before"),
        );
        headers.insert(quorate_client::http::header::AUTHORIZATION, token);
    });
    assert!(!format!("{builder:?}").contains("first"), "secrets are not shown");
    let client = builder.connect().await.expect("it answers");
    *token.lock().expect("no panic before") = "second";
    client.status().await.expect("it answers");
    let tokens = node.members.tokens();
    assert_eq!(tokens.first().map(String::as_str), Some("first"), "{tokens:?}");
    assert_eq!(tokens.last().map(String::as_str), Some("second"), "{tokens:?}");
}

#[tokio::test]
async fn a_subscription_and_a_consumer_are_streams() {
    use futures_util::TryStreamExt;
    let silent = Silent::start(1).await;
    let client = Client::builder().endpoints(silent.addresses()).build().expect("a client");
    let mut subscription = client.read("no\nname").follow().into_stream();
    assert_eq!(subscription.try_next().await.expect_err("no name").kind, ErrorKind::Invalid);
    assert!(subscription.try_next().await.expect("it has ended").is_none());
    let consumer = client.group("").consume().start();
    let consumed: Result<Vec<_>, _> = futures_util::StreamExt::boxed(consumer).try_collect().await;
    assert_eq!(consumed.expect_err("no name").kind, ErrorKind::Invalid);
}
