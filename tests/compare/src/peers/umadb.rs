//! UmaDB with its defaults, through its gRPC interface.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};

use super::{Programs, program, version};
use crate::peer::{About, Event, Mark, Peer, Place, Store, Tally};
use crate::servers::Servers;

/// The generated code.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod v1 {
    tonic::include_proto!("umadb.v1");
}

use v1::dcb_client::DcbClient;

pub(crate) static ABOUT: About = About {
    name: "umadb",
    title: "UmaDB, *1 node*",
    durable: "fdatasync before the answer",
    replicated: "no",
    checked: "append condition: no event with the stream's tag after a position",
    order: "one log without gaps, linearizable",
    lacks: &[],
};

/// One connection carries so many clients.
const CLIENTS_OF_A_CONNECTION: usize = 64;
/// The largest message: a page of events.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

struct UmaDb(PathBuf);

pub(crate) fn find(programs: &Programs) -> Result<Box<dyn Peer>> {
    Ok(Box::new(UmaDb(program("umadb", programs.umadb.as_deref())?)))
}

#[async_trait(?Send)]
impl Peer for UmaDb {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn version(&self) -> Result<String> {
        version(&self.0, "--version")
    }

    async fn start(&self, place: &Place) -> Result<Servers> {
        let mut servers = Servers::default();
        let mut command = place.command(&self.0);
        command.args(["--listen", &place.address(0), "--db-path"]).arg(&place.folder);
        servers.spawn(command, &place.folder)?;
        servers
            .wait_for(async || {
                connect(place).await?.head(v1::HeadRequest {}).await?;
                Ok(())
            })
            .await?;
        Ok(servers)
    }

    async fn connect(&self, place: &Place, clients: usize) -> Result<Arc<dyn Store>> {
        let mut connections = Vec::new();
        for _ in 0..clients.div_ceil(CLIENTS_OF_A_CONNECTION) {
            connections.push(connect(place).await?);
        }
        Ok(Arc::new(Connections(connections)))
    }
}

async fn connect(place: &Place) -> Result<DcbClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", place.address(0)))?;
    let channel = endpoint.tcp_nodelay(true).connect().await?;
    Ok(DcbClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// HTTP/2 connections, each of which carries the calls of many clients.
struct Connections(Vec<DcbClient<Channel>>);

impl Connections {
    fn of(&self, client: usize) -> DcbClient<Channel> {
        self.0[client % self.0.len()].clone()
    }
}

#[async_trait]
impl Store for Connections {
    async fn append(
        &self,
        client: usize,
        stream: &str,
        mark: Mark,
        events: Vec<Event>,
    ) -> Result<Mark> {
        let tag = format!("stream:{stream}");
        let events = events.into_iter().map(|event| v1::Event {
            event_type: (*event.kind).to_owned(),
            tags: vec![tag.clone()],
            data: event.data,
            uuid: event.id.to_string(),
        });
        let request = v1::AppendRequest {
            events: events.collect(),
            condition: Some(v1::AppendCondition {
                fail_if_events_match: Some(of_stream(stream)),
                after: (mark > 0).then_some(mark),
            }),
        };
        Ok(self.of(client).append(request).await?.into_inner().position)
    }

    async fn read_stream(&self, stream: &str) -> Result<Tally> {
        self.read(Some(of_stream(stream)), None).await
    }

    async fn replay(&self, deadline: Instant) -> Result<Tally> {
        self.read(None, Some(deadline)).await
    }

    async fn catch_up(&self, events: u64, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let request = v1::SubscribeRequest::default();
        let mut pages = self.of(0).subscribe(request).await?.into_inner();
        while tally.events < events {
            let Ok(page) = timeout_at(deadline, pages.message()).await else { break };
            let page = page?.ok_or_else(|| anyhow!("the subscription has ended"))?;
            take(&mut tally, &page.events);
        }
        Ok(tally)
    }
}

impl Connections {
    async fn read(&self, query: Option<v1::Query>, deadline: Option<Instant>) -> Result<Tally> {
        let mut tally = Tally::default();
        let request = v1::ReadRequest { query, ..v1::ReadRequest::default() };
        let mut pages = self.of(0).read(request).await?.into_inner();
        while let Some(page) = pages.message().await? {
            take(&mut tally, &page.events);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(tally)
    }
}

fn of_stream(stream: &str) -> v1::Query {
    let item = v1::QueryItem { types: Vec::new(), tags: vec![format!("stream:{stream}")] };
    v1::Query { items: vec![item] }
}

fn take(tally: &mut Tally, events: &[v1::SequencedEvent]) {
    let data = events.iter().filter_map(|event| Some(&event.event.as_ref()?.data));
    data.for_each(|data| tally.take(data));
}
