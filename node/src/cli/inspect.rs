//! Asks one node, by its address, for its status, or to found a cluster.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use quorate_client::{ClusterStatus, Founded, Member, NodeStatus};
use quorate_proto::wire::problem_of;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_raft::host::TokioHost;
use quorate_raft::transport;
use tokio::time::timeout;
use tonic::Status;
use uuid::Uuid;

use super::{Exit, Global};

/// The time within which a node must answer; otherwise it counts as unreachable.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// The time that founding may take: it reaches every peer and waits until the peer has written its identity.
const FOUNDED_WITHIN: Duration = Duration::from_secs(30);

/// Returns what a node knows about itself, or about all members.
pub(crate) async fn status(address: &str, only_self: bool) -> Result<ClusterStatus, Exit> {
    status_within(address, only_self, None).await
}

/// Does the same as [`status`], with the timeout that a person gave.
pub(crate) async fn status_within(
    address: &str,
    only_self: bool,
    within: Option<Duration>,
) -> Result<ClusterStatus, Exit> {
    let mut client = client(address)?;
    let asked = client.status(v1::StatusRequest { only_self });
    Ok(answered(address, within.unwrap_or(ANSWERED_WITHIN), asked).await?.into())
}

/// Returns the status from the first node that sees a leader with a majority, or else from the first that belongs to a
/// cluster, or else from the first that answers; the last error if none does. All are asked at once.
pub(crate) async fn best_answer(global: &Global) -> Result<ClusterStatus, Exit> {
    let (addresses, within) = (global.addresses(), global.timeout);
    let count = addresses.len().max(1);
    let asked = addresses
        .into_iter()
        .map(|address| async move { status_within(&address, false, within).await });
    let mut answers = stream::iter(asked).buffered(count);
    let mut best: Result<ClusterStatus, Exit> = Err(Exit::usage("--endpoints names no node"));
    while let Some(answer) = answers.next().await {
        match (&answer, &best) {
            (Ok(status), _) if sees_a_leader(status) => return answer,
            (Ok(status), Ok(before)) if status.cluster.is_some() && before.cluster.is_none() => {
                best = answer;
            }
            (_, Err(_)) => best = answer,
            _ => {}
        }
    }
    best
}

fn sees_a_leader(status: &ClusterStatus) -> bool {
    status.nodes.iter().any(|node| node.role == "leader" && node.unready.is_empty())
}

/// Returns a node's status of itself; none if the node does not answer.
pub(crate) async fn node(address: &str) -> Option<NodeStatus> {
    status(address, true).await.ok()?.nodes.into_iter().next()
}

/// Founds a cluster of the nodes at these peer addresses.
pub(crate) async fn bootstrap(
    address: &str,
    peers: Vec<String>,
    chunk_bytes: u64,
    within: Option<Duration>,
) -> Result<Founded, Exit> {
    let mut client = client(address)?;
    let asked = client.init(v1::InitRequest { peers, chunk_bytes });
    let founded = answered(address, within.unwrap_or(FOUNDED_WITHIN), asked).await?;
    let cluster = Uuid::from_slice(&founded.cluster).map_err(Exit::failed)?;
    let members = founded.members.into_iter().map(Member::from).collect();
    Ok(Founded { cluster, members })
}

fn client(address: &str) -> Result<ClusterClient<tonic::transport::Channel>, Exit> {
    let channel = transport::channel(&TokioHost::new(), address)
        .map_err(|error| Exit::usage(format!("`{address}` is no address: {error}")))?;
    Ok(ClusterClient::new(channel))
}

async fn answered<T>(
    address: &str,
    within: Duration,
    asked: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Exit> {
    match timeout(within, asked).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(match problem_of(&status) {
            Some(problem) => problem.into(),
            None => Exit::failed(format!("no answer from {address}: {}", status.message())),
        }),
        Err(_) => Err(Exit::failed(format!("no answer from {address} within {within:?}"))),
    }
}
