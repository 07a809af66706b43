//! The founding of a cluster, and its status.

use quorate_proto::wire::SILENCE_MAX;
use quorate_proto::wire::v1::{self, InitRequest, ScavengeRequest};
use quorate_proto::{ErrorKind, Outcome, Problem, Timestamp};
use serde::{Serialize, Serializer};
use tokio::time::timeout;
use uuid::Uuid;

use crate::client::Client;
use crate::incoming::Incoming;
use crate::nodes::problem;
use crate::trouble::{late, not_appended};

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The id that the cluster gave it, and never uses twice.
    pub id: u64,
    /// The address for clients.
    #[serde(rename = "address")]
    pub client_address: String,
    /// The address for the other nodes.
    pub peer_address: String,
    /// True if it has no vote: it serves reads, and nothing waits for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
}

/// A cluster that was just founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// The cluster's id.
    pub cluster: Uuid,
    /// Its members.
    pub members: Vec<Member>,
}

/// The status of a cluster's nodes, as they report it.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let status = client.status().await?;
/// let silent = status.nodes.iter().filter(|node| node.role == "unreachable");
/// println!("{} of {} nodes do not answer", silent.count(), status.nodes.len());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The cluster's id; `None` if the asked node belongs to no cluster.
    pub cluster: Option<Uuid>,
    /// The bytes of log after which a chunk is sealed.
    pub chunk_bytes: u64,
    /// The status of each member, members that do not answer included.
    pub nodes: Vec<NodeStatus>,
}

/// The status of one node, as it reports it. As JSON it is what `quorate cluster status --json` prints.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// for node in client.status().await?.nodes.iter().filter(|node| node.low_on_space) {
///     println!("{} has {} bytes left, and takes no appends", node.address, node.free_bytes);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// The id that the cluster gave it, and never uses twice.
    pub id: u64,
    /// The address for clients.
    pub address: String,
    /// The address for the other nodes.
    #[serde(skip)]
    pub peer_address: String,
    /// `leader`, `follower`, `candidate`, `learner`, `unreachable`, or `waiting` for a cluster.
    pub role: String,
    /// The newest Raft term that it knows.
    pub term: u64,
    /// The log index up to which it knows entries to be committed.
    pub committed: u64,
    /// The log index up to which it has applied them.
    pub applied: u64,
    /// The log index of its newest checkpoint.
    pub checkpointed: u64,
    /// The position of the newest event that it has applied.
    pub last_position: u64,
    /// The position of the newest event in its newest checkpoint.
    pub checkpointed_position: u64,
    /// The size of its folder on disk, in bytes.
    pub disk_bytes: u64,
    /// The version of its program.
    pub version: String,
    /// The id of its process.
    pub pid: u32,
    /// True if it listens beyond loopback without TLS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// A notice for the operator; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub notice: String,
    /// The bytes that can still be written to its disk.
    pub free_bytes: u64,
    /// With fewer free bytes than this it takes no appends, with fewer than half of this no entries at all.
    pub reserve_bytes: u64,
    /// True if `free_bytes` is less than `reserve_bytes`.
    pub low_on_space: bool,
    /// The chunks whose bytes are not as written; the node fetches them from other nodes by itself.
    #[serde(flatten, serialize_with = "count_and_list")]
    pub damaged: Vec<DamagedChunk>,
    /// The bytes that its scrubber verified since it started.
    pub scrubbed_bytes: u64,
    /// The time at which the scrubber's last whole round ended, by the node's clock.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time_as_text")]
    pub scrubbed_at: Option<Timestamp>,
    /// The newest scavenge since it started, under way or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scavenged: Option<Scavenged>,
    /// The lag of the consumer groups, as far as the node knows it, by name; the first 1,000 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupLag>,
    /// Log time: the time stamp of the newest command that it applied; none before the first.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time_as_text")]
    pub log_time: Option<Timestamp>,
    /// The reason why it cannot answer a linearizable read, as of at most 10 seconds ago; empty if it can.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unready: String,
}

/// The lag of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupLag {
    /// Its name.
    pub name: String,
    /// The position up to which every matching event is settled, except those that failed or are parked.
    pub floor: u64,
    /// The positions of the log after the floor, without those settled above it.
    pub lag: u64,
    /// The events that consumers hold; 0 if the node does not lead.
    pub in_flight: u64,
    /// The events that failed and are to be tried again.
    pub failed: u64,
    /// The parked events.
    pub parked: u64,
}

/// A chunk whose bytes are not as written. Reads that need it fail until it is repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedChunk {
    /// Its number.
    pub chunk: u64,
    /// The file, the place in it, and the damage there.
    pub why: String,
    /// The reason why the last attempt to fetch it from another node failed; empty before the first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failed: String,
}

/// The progress of a scavenge, or its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scavenged {
    /// The chunks that were checked.
    pub chunks: u64,
    /// The chunks that were written anew, without the removed events.
    pub rewritten: u64,
    /// The events that were removed.
    pub events_removed: u64,
    /// The bytes of disk that were freed.
    pub bytes_freed: u64,
    /// The newest event of the checkpoint that the scavenge goes by, which it makes first where it can: what was
    /// removed up to this position is gone from the node's chunks when the scavenge ends. 0 before the first event.
    #[serde(skip)]
    pub checkpointed_position: u64,
}

/// Writes the number of the damaged chunks, and the chunks if there are any.
fn count_and_list<S: Serializer>(damaged: &[DamagedChunk], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Damaged<'a> {
        damaged_chunks: usize,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        damaged: &'a [DamagedChunk],
    }
    Damaged { damaged_chunks: damaged.len(), damaged }.serialize(to)
}

fn time_as_text<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(to)
}

impl Client {
    /// Founds a cluster of the nodes that listen for peers at these addresses; the first of the client's endpoints must
    /// be one of them. `chunk_bytes` of log make a chunk; 0 stands for 64 MiB. A repetition with the same addresses
    /// finishes what was interrupted.
    ///
    /// # Errors
    /// `AlreadyExists` if a node belongs to another cluster.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let founded = client.init(["127.0.0.1:7801", "127.0.0.1:7802", "127.0.0.1:7803"], 0).await?;
    /// println!("cluster {}", founded.cluster);
    /// # Ok(()) }
    /// ```
    pub async fn init<A: Into<String>>(
        &self,
        peers: impl IntoIterator<Item = A>,
        chunk_bytes: u64,
    ) -> Result<Founded, Problem> {
        let nodes = &self.shared.nodes;
        let address = nodes.given();
        let peers = peers.into_iter().map(Into::into).collect();
        let mut cluster = nodes.cluster(&address)?;
        let asking = cluster.init(InitRequest { peers, chunk_bytes });
        let answer = timeout(self.deadline, asking).await.map_err(|_| {
            let message = format!("{address} did not answer in time; the same command goes on");
            Problem::new(ErrorKind::Deadline, Outcome::Unknown, message)
        })?;
        let founded = answer.map_err(|status| problem(&address, &status))?.into_inner();
        Ok(Founded {
            cluster: Uuid::from_slice(&founded.cluster).unwrap_or_default(),
            members: founded.members.into_iter().map(Member::from).collect(),
        })
    }

    /// Frees the disk space of events that are gone, on one node: the first of the client's endpoints. `progress` is
    /// called when there is progress. The scavenge goes on if the future is dropped.
    ///
    /// # Errors
    /// `Deadline`: the node does not begin to answer within the client's deadline, or has given no sign of life for 15
    /// s, though it may answer pings. A long scavenge is not ended for its length: a node that works on it sends a sign
    /// of life every 5 s.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quorate_client::Problem> {
    /// use quorate_client::Client;
    /// let node = Client::builder().endpoints(["127.0.0.1:7702"]).pinned(true).connect().await?;
    /// let done = node.scavenge(|now| println!("{} chunks", now.chunks)).await?;
    /// println!("{} bytes came back", done.bytes_freed);
    /// # Ok(()) }
    /// ```
    pub async fn scavenge(
        &self,
        mut progress: impl FnMut(&Scavenged),
    ) -> Result<Scavenged, Problem> {
        let nodes = &self.shared.nodes;
        let address = nodes.given();
        let mut cluster = nodes.cluster(&address)?;
        let asking = cluster.scavenge(ScavengeRequest {});
        let asked = timeout(self.deadline, asking).await.map_err(|_| late(&address))?;
        let messages =
            asked.map_err(|status| not_appended(problem(&address, &status)))?.into_inner();
        let mut incoming = Incoming::new(address, messages);
        let mut last = Scavenged::default();
        while let Some(message) = incoming.next_or_end(SILENCE_MAX).await.map_err(not_appended)? {
            let now = message.into();
            // A message without news is a sign of life.
            if now != last {
                last = now;
                progress(&last);
            }
        }
        Ok(last)
    }

    /// Returns the status of each member, asked by the first node that answers.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// for node in client.status().await?.nodes {
    ///     println!("{} is {} at position {}", node.address, node.role, node.last_position);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn status(&self) -> Result<ClusterStatus, Problem> {
        let (_, status) = self.ask_in_turn(false, self.deadline).await?;
        Ok(status.into())
    }
}

impl From<v1::Member> for Member {
    fn from(member: v1::Member) -> Member {
        let v1::Member { id, client_address, peer_address, is_learner } = member;
        Member { id, client_address, peer_address, is_learner }
    }
}

impl From<v1::DamagedChunk> for DamagedChunk {
    fn from(damaged: v1::DamagedChunk) -> DamagedChunk {
        let v1::DamagedChunk { chunk, why, failed } = damaged;
        DamagedChunk { chunk, why, failed }
    }
}

impl From<v1::GroupLag> for GroupLag {
    fn from(group: v1::GroupLag) -> GroupLag {
        let v1::GroupLag { name, floor, lag, in_flight, failed, parked } = group;
        GroupLag { name, floor, lag, in_flight, failed, parked }
    }
}

impl From<v1::ScavengeProgress> for Scavenged {
    fn from(progress: v1::ScavengeProgress) -> Scavenged {
        Scavenged {
            chunks: progress.chunks,
            rewritten: progress.rewritten,
            events_removed: progress.events_removed,
            bytes_freed: progress.bytes_freed,
            checkpointed_position: progress.checkpointed_position,
        }
    }
}

impl From<v1::StatusResponse> for ClusterStatus {
    fn from(status: v1::StatusResponse) -> ClusterStatus {
        ClusterStatus {
            cluster: Uuid::from_slice(&status.cluster).ok(),
            chunk_bytes: status.chunk_bytes,
            nodes: status.nodes.into_iter().map(NodeStatus::from).collect(),
        }
    }
}

impl From<v1::NodeStatus> for NodeStatus {
    fn from(status: v1::NodeStatus) -> NodeStatus {
        NodeStatus {
            id: status.id,
            address: status.address,
            peer_address: status.peer_address,
            role: status.role,
            term: status.term,
            committed: status.committed,
            applied: status.applied,
            checkpointed: status.checkpointed,
            last_position: status.last_position,
            checkpointed_position: status.checkpointed_position,
            disk_bytes: status.disk_bytes,
            version: status.version,
            pid: status.pid,
            insecure: status.insecure,
            notice: status.notice,
            free_bytes: status.free_bytes,
            reserve_bytes: status.reserve_bytes,
            low_on_space: status.low_on_space,
            damaged: status.damaged.into_iter().map(DamagedChunk::from).collect(),
            scrubbed_bytes: status.scrubbed_bytes,
            scrubbed_at: status.scrubbed_at.map(Timestamp),
            scavenged: status.scavenged.map(Scavenged::from),
            groups: status.groups.into_iter().map(GroupLag::from).collect(),
            log_time: status.log_time.filter(|time| *time != 0).map(Timestamp),
            unready: status.unready,
        }
    }
}
