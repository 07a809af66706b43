//! Quorate itself, as `quorate dev` runs it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use async_trait::async_trait;
use quorate_client::{Client, Event as NewEvent, Expect, Message, Query};
use tokio::time::{Instant, timeout_at};

use super::{Programs, program, version};
use crate::peer::{About, Event, Mark, Peer, Place, Store, Tally};
use crate::servers::Servers;

const DURABLE: &str = "fdatasync before the answer";
const CHECKED: &str =
    "exact version of the stream, transactions over streams, conditions over queries";
const ORDER: &str = "one log without gaps, linearizable";

pub(crate) static THREE: About = About {
    name: "quorate-3",
    title: "Quorate, 3 nodes",
    durable: "fdatasync on a majority before the answer",
    replicated: "3 nodes, a majority before the answer",
    checked: CHECKED,
    order: ORDER,
    lacks: &[],
};

pub(crate) static ONE: About = About {
    name: "quorate-1",
    title: "Quorate, *1 node*",
    durable: DURABLE,
    replicated: "no",
    checked: CHECKED,
    order: ORDER,
    lacks: &[],
};

struct Quorate {
    about: &'static About,
    nodes: u16,
    program: PathBuf,
}

pub(crate) fn three(programs: &Programs) -> Result<Box<dyn Peer>> {
    find(&THREE, 3, programs)
}

pub(crate) fn one(programs: &Programs) -> Result<Box<dyn Peer>> {
    find(&ONE, 1, programs)
}

fn find(about: &'static About, nodes: u16, programs: &Programs) -> Result<Box<dyn Peer>> {
    let program = program("quorate", programs.quorate.as_deref())?;
    Ok(Box::new(Quorate { about, nodes, program }))
}

#[async_trait(?Send)]
impl Peer for Quorate {
    fn about(&self) -> &'static About {
        self.about
    }

    fn version(&self) -> Result<String> {
        version(&self.program, "--version")
    }

    async fn start(&self, place: &Place) -> Result<Servers> {
        let mut servers = Servers::default();
        let mut command = place.command(&self.program);
        command.args(["dev", "--nodes", &self.nodes.to_string()]);
        command.args(["--port", &place.port.to_string(), "--data"]).arg(place.folder.join("data"));
        servers.spawn(command, &place.folder)?;
        servers.wait_for(async || self.answers(place).await).await?;
        Ok(servers)
    }

    async fn connect(&self, place: &Place, _: usize) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Session(Client::connect(self.endpoints(place)).await?)))
    }
}

impl Quorate {
    fn endpoints(&self, place: &Place) -> Vec<String> {
        (0..self.nodes).map(|node| place.address(node)).collect()
    }

    /// Succeeds once all nodes are there and a linearizable read is answered.
    async fn answers(&self, place: &Place) -> Result<()> {
        let client = Client::connect(self.endpoints(place)).await?;
        client.read("stream-1").collect().await?;
        let status = client.status().await?;
        if status.nodes.len() < usize::from(self.nodes) {
            bail!("{} of {} nodes answer", status.nodes.len(), self.nodes);
        }
        Ok(())
    }
}

/// A connection; all clients share its session, which pipelines their appends.
struct Session(Client);

#[async_trait]
impl Store for Session {
    async fn append(&self, _: usize, stream: &str, mark: Mark, events: Vec<Event>) -> Result<Mark> {
        // The client makes the ids, as it does for applications.
        let events: Result<Vec<NewEvent>, _> =
            events.into_iter().map(|event| NewEvent::new(event.kind, event.data)).collect();
        let done = self.0.append(stream, Expect::version(mark), events?).await;
        Ok(done.map_err(|error| anyhow!("{error}"))?.version.0)
    }

    async fn read_stream(&self, stream: &str) -> Result<Tally> {
        let mut tally = Tally::default();
        self.0
            .read(stream)
            .collect()
            .await?
            .events
            .iter()
            .for_each(|event| tally.take(&event.data));
        Ok(tally)
    }

    async fn replay(&self, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut events = self.0.read(Query::everything()).stream().await?;
        while let Some(event) = events.try_next().await? {
            tally.take(&event.data);
            if tally.is_late(Some(deadline)) {
                break;
            }
        }
        Ok(tally)
    }

    async fn catch_up(&self, events: u64, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut subscription = self.0.read(Query::everything()).follow();
        while tally.events < events {
            let Ok(message) = timeout_at(deadline, subscription.try_next()).await else { break };
            match message? {
                Some(Message::Event(event)) => tally.take(&event.data),
                Some(_) => {}
                None => break,
            }
        }
        Ok(tally)
    }
}
