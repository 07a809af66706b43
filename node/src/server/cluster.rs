//! The service that founds a cluster, changes its members, and reports their state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::v1::cluster_server::Cluster;
use quorate_proto::wire::{LIFE_SIGN_EVERY, v1};
use quorate_proto::{Address, Invalid, NoAddress, Problem};
use quorate_raft::host::Host;
use quorate_raft::{Damage, Member, Replica, Role, Scavenging, Status as ReplicaStatus, transport};
use quorate_store::vfs::{Open, Vfs};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::groups::Groups;
use super::health::Health;
use super::{members, problem};

/// The time within which a member must report its status; else it is shown as unreachable.
const STATUS_WITHIN: Duration = Duration::from_secs(1);
/// The time that founding a cluster may take before the caller gets the answer that it is under way.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// The folders of a node whose files count as its disk space, its own first.
const FOLDERS: [&str; 3] = ["", "log", "chunks"];

/// The service for operators.
pub(crate) struct ClusterService<H: Host> {
    pub(crate) replica: Replica<H>,
    pub(crate) groups: Arc<Groups<H>>,
    pub(crate) health: Health<H>,
    pub(crate) about: About,
}

/// The data of a node's status that its replica does not know.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) client_address: String,
    pub(crate) peer_address: String,
    pub(crate) directory: PathBuf,
    pub(crate) insecure: bool,
}

#[tonic::async_trait]
impl<H: Host> Cluster for ClusterService<H> {
    type ScavengeStream = BoxStream<'static, Result<v1::ScavengeProgress, Status>>;
    type ChangeMembersStream = BoxStream<'static, Result<v1::ChangeMembersProgress, Status>>;

    async fn change_members(
        &self,
        request: Request<v1::ChangeMembersRequest>,
    ) -> Result<Response<Self::ChangeMembersStream>, Status> {
        let progress = members::change(self.replica.clone(), request.into_inner())?;
        Ok(Response::new(with_signs_of_life(progress).boxed()))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let leader = members::transfer(&self.replica, request.into_inner()).await?;
        Ok(Response::new(v1::TransferLeadershipResponse { leader }))
    }

    async fn join_token(
        &self,
        _: Request<v1::JoinTokenRequest>,
    ) -> Result<Response<v1::JoinTokenResponse>, Status> {
        let token = self.replica.join_token().ok_or_else(problem::not_ready)?;
        Ok(Response::new(v1::JoinTokenResponse { token: token.to_string() }))
    }

    async fn scavenge(
        &self,
        _: Request<v1::ScavengeRequest>,
    ) -> Result<Response<Self::ScavengeStream>, Status> {
        if self.replica.identity().is_none() {
            return Err(problem::not_ready().into());
        }
        let (sender, progress) = mpsc::unbounded_channel();
        let replica = self.replica.clone();
        tokio::spawn(async move {
            let report = |now: &Scavenging| drop(sender.send(Ok(wire_scavenging(now))));
            // A caller that has left does not stop the scavenge: what is removed stays removed.
            let end = match replica.scavenge(report).await {
                Ok(done) => Ok(wire_scavenging(&done)),
                Err(error) => Err(problem::of_scavenge_error(&error).into()),
            };
            let _ = sender.send(end);
        });
        Ok(Response::new(with_signs_of_life(progress).boxed()))
    }

    async fn init(
        &self,
        request: Request<v1::InitRequest>,
    ) -> Result<Response<v1::InitResponse>, Status> {
        let v1::InitRequest { peers, chunk_bytes } = request.into_inner();
        let addresses: Result<Vec<Address>, NoAddress> =
            peers.iter().map(|peer| peer.parse()).collect();
        let addresses = addresses.map_err(|why| {
            Problem::from(Invalid::new("peers", format!("cannot be used: {why}")))
        })?;
        let peers: Vec<String> = addresses.iter().map(Address::to_string).collect();
        let chunk_bytes = if chunk_bytes == 0 { CHUNK_BYTES_DEFAULT } else { chunk_bytes };
        let count = peers.len();
        let founded = self.replica.bootstrap(peers, chunk_bytes).await;
        let identity = founded.map_err(|error| problem::of_bootstrap_error(&error))?;
        let mut status = self.replica.status();
        // The founding entry is committed; the members show as soon as it is applied.
        let shown = timeout(SHOWN_WITHIN, status.wait_for(|now| now.members.len() >= count)).await;
        let members = match shown {
            Ok(Ok(now)) => now.members.iter().map(wire_member).collect(),
            _ => Vec::new(),
        };
        let cluster = identity.cluster.to_vec().into();
        Ok(Response::new(v1::InitResponse { cluster, members }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let known = self.replica.status().borrow().clone();
        let own = self.own_status(&known).await;
        let mut nodes = vec![own];
        if !request.into_inner().only_self {
            let others = known.members.iter().filter(|member| Some(member.id) != known.id);
            let host = self.replica.host();
            let asked = others.map(|member| async move {
                let answer = ask(host, member, STATUS_WITHIN).await;
                answer.unwrap_or_else(|| unreachable(member))
            });
            nodes.extend(join_all(asked).await);
        }
        nodes.sort_by_key(|node| node.id);
        let identity = self.replica.identity();
        let cluster = identity.map(|identity| identity.cluster.to_vec().into());
        let chunk_bytes = identity.map(|identity| identity.chunk_bytes).unwrap_or_default();
        let cluster = cluster.unwrap_or_default();
        Ok(Response::new(v1::StatusResponse { nodes, cluster, chunk_bytes }))
    }
}

impl<H: Host> ClusterService<H> {
    async fn own_status(&self, known: &ReplicaStatus) -> v1::NodeStatus {
        let (vfs, directory) = (self.replica.host().vfs(), self.about.directory.clone());
        let disk_bytes = self.replica.host().run(move || disk_bytes(&*vfs, &directory)).await;
        v1::NodeStatus {
            id: known.id.unwrap_or_default(),
            address: self.about.client_address.clone(),
            role: known.role.as_str().to_owned(),
            term: known.term.0,
            committed: known.committed.unwrap_or_default().0,
            applied: known.applied.unwrap_or_default().0,
            checkpointed: known.checkpointed.unwrap_or_default().0,
            last_position: known.position.0,
            checkpointed_position: known.checkpointed_position.0,
            disk_bytes,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            insecure: self.about.insecure,
            notice: notice(known, &self.about),
            peer_address: self.about.peer_address.clone(),
            free_bytes: known.free_bytes,
            reserve_bytes: known.reserve_bytes,
            low_on_space: known.low_on_space,
            damaged: known.damaged.iter().map(wire_damage).collect(),
            scrubbed_bytes: known.scrub.verified_bytes,
            scrubbed_at: known.scrub.last_full.map(|time| time.0),
            scavenged: known.scavenged.as_ref().map(wire_scavenging),
            groups: self.groups.lags().await,
            log_time: self.replica.reader().map(|reader| reader.point().recorded_at.0),
            unready: self.health.ready().err().unwrap_or_default(),
        }
    }
}

/// Returns the messages about work, and the last one once more when there is no new one for long.
fn with_signs_of_life<T: Copy + Default + Send>(
    progress: mpsc::UnboundedReceiver<Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> + Send {
    let last = T::default();
    stream::unfold((progress, last), |(mut progress, mut last)| async move {
        let message = match timeout(LIFE_SIGN_EVERY, progress.recv()).await {
            Ok(message) => message?,
            Err(_) => Ok(last),
        };
        if let Ok(now) = &message {
            last = *now;
        }
        Some((message, (progress, last)))
    })
}

/// Returns a member's own status; none if the member does not answer in time.
async fn ask<H: Host>(host: &H, member: &Member, within: Duration) -> Option<v1::NodeStatus> {
    let asking = async {
        let channel = transport::channel(host, &member.client_address).ok()?;
        let request = v1::StatusRequest { only_self: true };
        let answer = ClusterClient::new(channel).status(request).await.ok()?.into_inner();
        answer.nodes.into_iter().find(|node| node.id == member.id)
    };
    timeout(within, asking).await.ok().flatten()
}

/// Returns the status of a member that does not answer.
fn unreachable(member: &Member) -> v1::NodeStatus {
    v1::NodeStatus {
        id: member.id,
        address: member.client_address.clone(),
        role: "unreachable".to_owned(),
        peer_address: member.peer_address.clone(),
        ..v1::NodeStatus::default()
    }
}

/// Returns the notices for an operator, in one line.
fn notice(known: &ReplicaStatus, about: &About) -> String {
    let refusals = known.refusals.iter();
    let mut notices: Vec<String> =
        refusals.map(|refusal| format!("peer {}: {}", refusal.peer, refusal.why)).collect();
    if known.id.is_some() && known.leader.is_none() && known.role != Role::Leader {
        notices.push("knows no leader".to_owned());
    }
    let own = known.members.iter().find(|member| Some(member.id) == known.id);
    if let Some(Member { client_address, peer_address, .. }) = own
        && (client_address, peer_address) != (&about.client_address, &about.peer_address)
    {
        notices.push(format!(
            "its cluster knows it at {client_address} and {peer_address}, and is told where it is"
        ));
    }
    if known.voters_change && known.role == Role::Leader {
        notices.push("the voters are changing: both majorities are needed".to_owned());
    }
    notices.extend(known.clock.wrong.clone());
    notices.extend(known.disagreement.clone());
    notices.join("; ")
}

fn wire_member(member: &Member) -> v1::Member {
    let Member { id, client_address, peer_address, is_voter } = member.clone();
    v1::Member { id, client_address, peer_address, is_learner: !is_voter }
}

fn wire_damage(damage: &Damage) -> v1::DamagedChunk {
    let Damage { chunk, why, failed } = damage.clone();
    v1::DamagedChunk { chunk, why, failed: failed.unwrap_or_default() }
}

fn wire_scavenging(scavenging: &Scavenging) -> v1::ScavengeProgress {
    v1::ScavengeProgress {
        chunks: scavenging.looked_at,
        rewritten: scavenging.rewritten,
        events_removed: scavenging.events_removed,
        bytes_freed: scavenging.bytes_freed,
        checkpointed_position: scavenging.checkpointed_position.0,
    }
}

/// Returns the bytes of all files of the node; a file that cannot be opened (just removed) counts nothing.
fn disk_bytes(vfs: &dyn Vfs, directory: &Path) -> u64 {
    let size = |path: &Path| vfs.open(path, Open::Read).and_then(|file| file.len()).unwrap_or(0);
    let in_folder = |folder: &str| {
        let folder = directory.join(folder);
        let names = vfs.list(&folder).unwrap_or_default();
        names.iter().map(|name| size(&folder.join(name))).sum::<u64>()
    };
    FOLDERS.iter().map(|folder| in_folder(folder)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scavenge_that_works_on_one_chunk_for_long_gives_signs_of_life() {
        let (sender, progress) = mpsc::unbounded_channel();
        let mut messages = std::pin::pin!(with_signs_of_life(progress));
        let sign = messages.next().await.expect("a message").expect("no error");
        assert_eq!(sign, v1::ScavengeProgress::default());
        let one = v1::ScavengeProgress { chunks: 1, ..v1::ScavengeProgress::default() };
        sender.send(Ok(one)).expect("it listens");
        for _ in 0..3 {
            assert_eq!(messages.next().await.expect("a message").expect("no error"), one);
        }
        drop(sender);
        assert!(messages.next().await.is_none());
    }
}
