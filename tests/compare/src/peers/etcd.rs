//! etcd: a key for each event, put by a transaction that checks that its version is free and the one before is taken.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, future, stream};
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};

use super::{Programs, program, version};
use crate::peer::{About, Event, Mark, Peer, Place, Store, Tally};
use crate::servers::Servers;

/// The generated code.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod v3 {
    tonic::include_proto!("etcdserverpb");
}

use v3::compare::{CompareResult, CompareTarget, TargetUnion};
use v3::kv_client::KvClient;
use v3::maintenance_client::MaintenanceClient;
use v3::request_op::Request;
use v3::watch_client::WatchClient;

pub(crate) static ABOUT: About = About {
    name: "etcd-3",
    title: "etcd, 3 nodes",
    durable: "fdatasync on a majority before the answer",
    replicated: "3 nodes, a majority before the answer",
    checked: "transaction: the key of the version before exists, that of the version does not",
    order: "linearizable; a range comes in the order of keys, a watch in that of commits",
    lacks: &[],
};

const NODES: u16 = 3;
/// One connection carries so many clients.
const CLIENTS_OF_A_CONNECTION: usize = 64;
/// The largest message: a page of events.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The number of events that are read at once.
const PAGE: i64 = 5000;
/// The bytes before the type: the id, and the type's length.
const HEAD_BYTES: usize = 17;
/// The prefix of all keys, and the first key behind all of them.
const ALL: (&str, &str) = ("s/", "s0");

struct Etcd(PathBuf);

pub(crate) fn find(_: &Programs) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Etcd(program("etcd", None)?)))
}

#[async_trait(?Send)]
impl Peer for Etcd {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn version(&self) -> Result<String> {
        version(&self.0, "--version")
    }

    async fn start(&self, place: &Place) -> Result<Servers> {
        let mut servers = Servers::default();
        let peer_url = |node: u16| format!("http://127.0.0.1:{}", place.port + 100 + node);
        let members: Vec<String> =
            (0..NODES).map(|node| format!("n{node}={}", peer_url(node))).collect();
        for node in 0..NODES {
            let client_url = format!("http://{}", place.address(node));
            let mut command = place.command(&self.0);
            command.args(["--name", &format!("n{node}"), "--data-dir", &format!("n{node}")]);
            command.args(["--listen-client-urls", &client_url]);
            command.args(["--advertise-client-urls", &client_url]);
            command.args(["--listen-peer-urls", &peer_url(node)]);
            command.args(["--initial-advertise-peer-urls", &peer_url(node)]);
            command.args(["--initial-cluster", &members.join(","), "--logger", "zap"]);
            command.args(["--quota-backend-bytes", "8589934592"]);
            servers.spawn(command, &place.folder)?;
        }
        servers.wait_for(async || leader(place).await.map(drop)).await?;
        Ok(servers)
    }

    async fn connect(&self, place: &Place, clients: usize) -> Result<Arc<dyn Store>> {
        let leader = leader(place).await?;
        let mut channels = Vec::new();
        for _ in 0..clients.div_ceil(CLIENTS_OF_A_CONNECTION) {
            channels.push(channel(&leader).await?);
        }
        Ok(Arc::new(Connections(channels)))
    }
}

/// Returns the address of the leader once all nodes agree on it: it answers the fastest.
async fn leader(place: &Place) -> Result<String> {
    let mut leaders = Vec::new();
    let mut members = Vec::new();
    for node in 0..NODES {
        let address = place.address(node);
        let mut client = MaintenanceClient::new(channel(&address).await?);
        let status = client.status(v3::StatusRequest {}).await?.into_inner();
        leaders.push(status.leader);
        members.push((status.header.unwrap_or_default().member_id, address));
    }
    ensure!(leaders[0] != 0 && leaders.iter().all(|one| *one == leaders[0]), "there is no leader");
    let leader = members.into_iter().find(|(id, _)| *id == leaders[0]);
    leader.map(|(_, address)| address).context("the leader is none of the nodes")
}

async fn channel(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}

/// HTTP/2 connections to the leader, each of which carries the calls of many clients.
struct Connections(Vec<Channel>);

impl Connections {
    fn of(&self, client: usize) -> KvClient<Channel> {
        let channel = self.0[client % self.0.len()].clone();
        KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Reads all keys of a range, at one revision.
    async fn range(&self, from: String, to: String, deadline: Option<Instant>) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut client = self.of(0);
        let (mut key, range_end) = (Bytes::from(from), Bytes::from(to));
        let mut revision = 0;
        loop {
            let range_end = range_end.clone();
            let request = v3::RangeRequest { key, range_end, limit: PAGE, revision };
            let page = client.range(request).await?.into_inner();
            take(&mut tally, &page.kvs)?;
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let (true, false, Some(last)) = (page.more, late, page.kvs.last()) else { break };
            // The next key in the order of bytes.
            key = [&last.key[..], &[0]].concat().into();
            revision = match revision {
                0 => page.header.unwrap_or_default().revision,
                known => known,
            };
        }
        Ok(tally)
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
        let count = events.len() as u64;
        let mut compare = vec![demand(key(stream, mark + 1), false)];
        if mark > 0 {
            compare.push(demand(key(stream, mark), true));
        }
        let puts = events.iter().zip(mark + 1..).map(|(event, version)| {
            let put = v3::PutRequest { key: key(stream, version), value: encoded(event) };
            v3::RequestOp { request: Some(Request::RequestPut(put)) }
        });
        let request = v3::TxnRequest { compare, success: puts.collect() };
        let response = self.of(client).txn(request).await?.into_inner();
        match response.succeeded {
            true => Ok(mark + count),
            false => bail!("{stream} is not at {mark}"),
        }
    }

    async fn read_stream(&self, stream: &str) -> Result<Tally> {
        self.range(format!("s/{stream}/"), format!("s/{stream}0"), None).await
    }

    async fn replay(&self, deadline: Instant) -> Result<Tally> {
        let (from, to) = ALL;
        self.range(from.to_owned(), to.to_owned(), Some(deadline)).await
    }

    async fn catch_up(&self, events: u64, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let (from, to) = ALL;
        let create =
            v3::WatchCreateRequest { key: from.into(), range_end: to.into(), start_revision: 1 };
        let create = v3::watch_request::RequestUnion::CreateRequest(create);
        let request = v3::WatchRequest { request_union: Some(create) };
        // The watch ends when the stream of requests does.
        let requests = stream::once(future::ready(request)).chain(stream::pending());
        let client = WatchClient::new(self.0[0].clone());
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut answers = client.watch(requests).await?.into_inner();
        while tally.events < events {
            let Ok(answer) = timeout_at(deadline, answers.message()).await else { break };
            let answer = answer?.ok_or_else(|| anyhow!("the watch has ended"))?;
            ensure!(!answer.canceled, "the watch was cancelled");
            for event in &answer.events {
                take(&mut tally, event.kv.as_slice())?;
            }
        }
        Ok(tally)
    }
}

/// Keys of a stream are in the order of versions.
fn key(stream: &str, version: u64) -> Bytes {
    format!("s/{stream}/{version:020}").into()
}

/// Demands that a key is there, or that it is not.
fn demand(key: Bytes, is_there: bool) -> v3::Compare {
    let result = if is_there { CompareResult::Greater } else { CompareResult::Equal };
    v3::Compare {
        result: result.into(),
        target: CompareTarget::Version.into(),
        key,
        target_union: Some(TargetUnion::Version(0)),
    }
}

fn encoded(event: &Event) -> Bytes {
    let mut value = BytesMut::with_capacity(HEAD_BYTES + event.kind.len() + event.data.len());
    value.put_slice(event.id.as_bytes());
    value.put_u8(event.kind.len() as u8);
    value.put_slice(event.kind.as_bytes());
    value.put_slice(&event.data);
    value.freeze()
}

fn take(tally: &mut Tally, values: &[v3::KeyValue]) -> Result<()> {
    for value in values {
        let value = &value.value;
        let kind = usize::from(*value.get(HEAD_BYTES - 1).context("a value is too short")?);
        tally.take(value.get(HEAD_BYTES + kind..).context("a value is too short")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_found_behind_the_id_and_the_type() -> Result<()> {
        let id = uuid::Uuid::from_u128(7);
        let event = Event { id, kind: "Paid".into(), data: Bytes::from_static(b"12345") };
        let value = v3::KeyValue { value: encoded(&event), ..v3::KeyValue::default() };
        let mut tally = Tally::default();
        take(&mut tally, &[value])?;
        assert_eq!(tally, Tally { events: 1, bytes: 5 });
        assert!(take(&mut tally, &[v3::KeyValue::default()]).is_err());
        assert!(key("a", 9) < key("a", 10));
        Ok(())
    }
}
