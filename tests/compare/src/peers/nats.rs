//! NATS JetStream: a subject for each stream, appended to if its newest message is the expected one.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Programs, program, version};
use crate::columns::{Column, json, random};
use crate::peer::{About, Event, Mark, Peer, Place, Store, Tally};
use crate::servers::Servers;

const DURABLE: &str = "no: versions before 2.10 answer first and flush every two minutes; newer ones have `sync_interval: always` here";
const CHECKED: &str = "sequence of the subject's newest message";
const ORDER: &str = "one log of the JetStream stream";
const NO_TRANSACTION: &str = "a message is appended by itself, not several at once";
const LACKS: &[(Column, &str)] = &[
    (random(16, 10), NO_TRANSACTION),
    (random(16, 100), NO_TRANSACTION),
    (json(16, 10), NO_TRANSACTION),
];

pub(crate) static THREE: About = About {
    name: "nats-3",
    title: "NATS JetStream, 3 nodes (see *durable*)",
    durable: DURABLE,
    replicated: "3 nodes, a majority before the answer",
    checked: CHECKED,
    order: ORDER,
    lacks: LACKS,
};

pub(crate) static ONE: About = About {
    name: "nats-1",
    title: "NATS JetStream, *1 node* (see *durable*)",
    replicated: "no",
    ..THREE
};

/// The name of the JetStream stream that holds everything.
const LOG: &str = "log";
/// The number of messages that are requested at once.
const PAGE: usize = 5000;
/// The time after which the server forgets a consumer that nobody uses.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

struct Nats {
    about: &'static About,
    nodes: u16,
    program: PathBuf,
}

pub(crate) fn three(_: &Programs) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Nats { about: &THREE, nodes: 3, program: program("nats-server", None)? }))
}

pub(crate) fn one(_: &Programs) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Nats { about: &ONE, nodes: 1, program: program("nats-server", None)? }))
}

#[async_trait(?Send)]
impl Peer for Nats {
    fn about(&self) -> &'static About {
        self.about
    }

    fn version(&self) -> Result<String> {
        version(&self.program, "--version")
    }

    async fn start(&self, place: &Place) -> Result<Servers> {
        let mut servers = Servers::default();
        let can_flush = flushes_always(&self.version()?);
        for node in 0..self.nodes {
            let path = place.folder.join(format!("n{node}.conf"));
            fs::write(&path, self.config(place, node, can_flush))?;
            let mut command = place.command(&self.program);
            command.arg("--config").arg(&path);
            servers.spawn(command, &place.folder)?;
        }
        servers.wait_for(async || self.log(place).await.map(drop)).await?;
        Ok(servers)
    }

    async fn connect(&self, place: &Place, _: usize) -> Result<Arc<dyn Store>> {
        let (context, log) = self.log(place).await?;
        Ok(Arc::new(Session { context, log }))
    }
}

impl Nats {
    fn config(&self, place: &Place, node: u16, can_flush: bool) -> String {
        let (folder, port) = (place.folder.display(), place.port);
        let flush = if can_flush { "sync_interval: always" } else { "" };
        let mut text = format!(
            "listen: \"{}\"\nserver_name: n{node}\n\
             jetstream {{ store_dir: \"{folder}/n{node}\", max_file_store: 100G\n{flush}\n}}\n",
            place.address(node)
        );
        if self.nodes > 1 {
            let routes: Vec<String> = (0..self.nodes)
                .map(|n| format!("\"nats://127.0.0.1:{}\"", port + 100 + n))
                .collect();
            let listen = port + 100 + node;
            let routes = routes.join(", ");
            text += &format!(
                "cluster {{ name: compare, listen: \"127.0.0.1:{listen}\", routes: [{routes}] }}\n"
            );
        }
        text
    }

    /// Returns the stream that holds everything; it is made if it is not there.
    async fn log(&self, place: &Place) -> Result<(Context, Stream)> {
        let addresses: Vec<String> = (0..self.nodes).map(|node| place.address(node)).collect();
        let client = async_nats::connect(addresses).await?;
        let context = jetstream::new(client);
        let config = Config {
            name: LOG.to_owned(),
            subjects: vec!["ev.>".to_owned()],
            storage: StorageType::File,
            num_replicas: usize::from(self.nodes),
            ..Config::default()
        };
        let log = context.get_or_create_stream(config).await?;
        answers(&context).await?;
        Ok((context, log))
    }
}

/// Succeeds once messages reach the leader: one that expects what cannot be is refused by it.
async fn answers(context: &Context) -> Result<()> {
    for _ in 0..100 {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, i64::MAX.to_string().as_str());
        let sent = context.publish_with_headers("ev.nothing", headers, Bytes::new()).await?;
        match sent.await {
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return Ok(()),
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
    bail!("the log has no leader")
}

/// Returns true if a server of that version can flush before it answers: `nats-server: v2.9.10` cannot.
fn flushes_always(version: &str) -> bool {
    let number = version.rsplit('v').next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    (parts.next(), parts.next()) >= (Some(2), Some(10))
}

/// A connection, which pipelines the messages of all clients.
struct Session {
    context: Context,
    log: Stream,
}

#[async_trait]
impl Store for Session {
    async fn append(
        &self,
        _: usize,
        stream: &str,
        mut mark: Mark,
        events: Vec<Event>,
    ) -> Result<Mark> {
        let subject = format!("ev.{stream}");
        for event in events {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, mark.to_string().as_str());
            headers.insert("Id", event.id.to_string().as_str());
            headers.insert("Type", &*event.kind);
            let sent =
                self.context.publish_with_headers(subject.clone(), headers, event.data).await?;
            mark = sent.await?.sequence;
        }
        Ok(mark)
    }

    async fn read_stream(&self, stream: &str) -> Result<Tally> {
        self.read(format!("ev.{stream}"), None, None).await
    }

    async fn replay(&self, deadline: Instant) -> Result<Tally> {
        self.read(String::new(), None, Some(deadline)).await
    }

    async fn catch_up(&self, events: u64, deadline: Instant) -> Result<Tally> {
        self.read(String::new(), Some(events), Some(deadline)).await
    }
}

impl Session {
    /// Reads through a consumer of its own: so many messages, or those that are there when it begins.
    async fn read(
        &self,
        filter_subject: String,
        events: Option<u64>,
        deadline: Option<Instant>,
    ) -> Result<Tally> {
        let config = pull::Config {
            filter_subject,
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = self.log.create_consumer(config).await?;
        let events = events.unwrap_or(consumer.cached_info().num_pending);
        let mut messages = consumer.stream().max_messages_per_batch(PAGE).messages().await?;
        let mut tally = Tally::default();
        while tally.events < events && !tally.is_late(deadline) {
            let next = match deadline {
                Some(deadline) => timeout_at(deadline, messages.next()).await,
                None => Ok(messages.next().await),
            };
            let Ok(next) = next else { break };
            let message = next.context("the consumer has ended")??;
            ensure!(message.headers.is_some(), "a message has no headers");
            tally.take(&message.payload);
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_cannot_flush_before_they_answer() {
        let known = ["nats-server: v2.9.10", "nats-server: v2.10.0", "nats-server: v2.14.6-rc", ""];
        assert_eq!(known.map(flushes_always), [false, true, true, false]);
    }
}
