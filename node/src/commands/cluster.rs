//! `quorate cluster`: founds a cluster and shows how it is.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use quorate_client::{
    ClusterStatus, DamagedChunk, Founded, GroupLag, Member, NodeStatus, Scavenged,
};
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use serde::Serialize;

use crate::cli::{self, Addresses, Global};
use crate::exit::Exit;
use crate::output::write_json;
use crate::{inspect, size};

/// Found a cluster, or see how it is.
#[derive(Args, Debug)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Found a cluster of nodes that wait for it.
    ///
    /// Its nodes are those of --endpoints, unless --peers names them. Repeating the command with the same
    /// nodes finishes what was interrupted, and does nothing when all is done.
    Init(InitArgs),
    /// Show how each node is.
    Status,
}

#[derive(Args, Debug)]
struct InitArgs {
    /// Where the nodes listen for each other; the node that is asked must be one of them.
    #[arg(long, value_name = "ADDR,…", value_parser = cli::addresses)]
    peers: Vec<Addresses>,
    /// How much log makes a chunk; cannot be changed later.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "64MiB")]
    chunk_size: u64,
}

/// Runs the command.
pub async fn run(args: ClusterArgs, global: &Global) -> Result<(), Exit> {
    match args.command {
        ClusterCommand::Init(args) => init(args, global).await,
        ClusterCommand::Status => status(global).await,
    }
}

#[derive(Serialize)]
struct InitLine {
    cluster: String,
    nodes: Vec<MemberLine>,
    chunk_bytes: u64,
}

#[derive(Serialize)]
struct MemberLine {
    id: u64,
    address: String,
    peer_address: String,
}

async fn init(args: InitArgs, global: &Global) -> Result<(), Exit> {
    let addresses = global.addresses();
    let asked = addresses.first().ok_or_else(|| Exit::usage("--endpoints names no node"))?;
    let peers = match cli::shown(&args.peers) {
        peers if peers.is_empty() => peers_of(&addresses).await?,
        peers => peers,
    };
    let found = inspect::found(asked, peers.clone(), args.chunk_size).await;
    let (founded, chunk_bytes) = match found {
        Ok(founded) => (founded, args.chunk_size),
        Err(refused) => {
            let there = founded_already(asked, &peers).await.ok_or(refused)?;
            refuse_if_outside(&there.0).await?;
            there
        }
    };
    Exit::told(Ok(()), report_founded(global, founded, chunk_bytes))
}

fn report_founded(global: &Global, founded: Founded, chunk_bytes: u64) -> io::Result<()> {
    let cluster = founded.cluster.to_string();
    let mut output = io::stdout().lock();
    if global.json() {
        let member = |member: Member| MemberLine {
            id: member.id,
            address: member.client_address,
            peer_address: member.peer_address,
        };
        let nodes = founded.members.into_iter().map(member).collect();
        return write_json(&mut output, &InitLine { cluster, nodes, chunk_bytes });
    }
    let count = founded.members.len();
    writeln!(output, "cluster {cluster} of {count} nodes, {} a chunk", size::show(chunk_bytes))?;
    for member in founded.members {
        writeln!(output, "node {}  {}", member.id, member.client_address)?;
    }
    Ok(())
}

/// The cluster that is there, if it is the one that was asked for: then there is nothing to do.
async fn founded_already(asked: &str, peers: &[String]) -> Option<(Founded, u64)> {
    let ClusterStatus { nodes, cluster, chunk_bytes } = inspect::status(asked, false).await.ok()?;
    let same =
        nodes.len() == peers.len() && nodes.iter().all(|node| peers.contains(&node.peer_address));
    let members = nodes.into_iter().map(|node| Member {
        id: node.id,
        client_address: node.address,
        peer_address: node.peer_address,
    });
    let founded = Founded { cluster: cluster?, members: members.collect() };
    same.then_some((founded, chunk_bytes))
}

/// Refuses to call a cluster founded of which a member does not take part: its folder was lost, say, and it waits to
/// be founded.
async fn refuse_if_outside(founded: &Founded) -> Result<(), Exit> {
    let ours = founded.cluster;
    for Member { id, client_address, .. } in &founded.members {
        // One that does not answer now may be stopped, and is a member all the same.
        let Ok(there) = inspect::status(client_address, true).await else { continue };
        if there.cluster == Some(ours) {
            continue;
        }
        let where_it_is = match there.cluster {
            Some(other) => format!("is a node of another cluster, {other}"),
            None => "belongs to no cluster: its folder is a new one".to_owned(),
        };
        return Err(Exit::failed(format!(
            "the cluster {ours} is founded already, but the node at {client_address}, where its node {id} must be, \
             {where_it_is}. Start it on the folder of node {id}. If that is lost, the cluster goes on without the \
             node as long as a majority is there; a new node cannot be taken in yet: `quorate export` and \
             `quorate import` bring the events into a new cluster"
        )));
    }
    Ok(())
}

/// Asks each node where it listens for the others.
async fn peers_of(addresses: &[String]) -> Result<Vec<String>, Exit> {
    let mut peers = Vec::new();
    for address in addresses {
        let node = inspect::status(address, true).await?.nodes.into_iter().next();
        peers.extend(node.map(|node| node.peer_address));
    }
    Ok(peers)
}

/// A node as a JSON line.
#[derive(Serialize)]
struct NodeLine {
    id: u64,
    address: String,
    role: String,
    /// Nothing more is known of a node that cannot be reached.
    #[serde(flatten)]
    known: Option<Known>,
}

#[derive(Serialize)]
struct Known {
    term: u64,
    committed: u64,
    applied: u64,
    checkpointed: u64,
    last_position: u64,
    checkpointed_position: u64,
    disk_bytes: u64,
    version: String,
    pid: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    notice: String,
    free_bytes: u64,
    reserve_bytes: u64,
    low_on_space: bool,
    damaged_chunks: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<DamagedLine>,
    scrubbed_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scrubbed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scavenged: Option<ScavengedLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupLine>,
}

/// How far behind a consumer group is, as the node knows it.
#[derive(Serialize)]
struct GroupLine {
    name: String,
    floor: u64,
    lag: u64,
    in_flight: u64,
    failed: u64,
    parked: u64,
}

impl From<GroupLag> for GroupLine {
    fn from(group: GroupLag) -> GroupLine {
        let GroupLag { name, floor, lag, in_flight, failed, parked } = group;
        GroupLine { name, floor, lag, in_flight, failed, parked }
    }
}

#[derive(Serialize)]
struct DamagedLine {
    chunk: u64,
    why: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    failed: String,
}

/// How far a scavenge is, or what it came to.
#[derive(Serialize)]
pub(crate) struct ScavengedLine {
    chunks: u64,
    rewritten: u64,
    events_removed: u64,
    bytes_freed: u64,
}

impl From<Scavenged> for ScavengedLine {
    fn from(scavenged: Scavenged) -> ScavengedLine {
        let Scavenged { chunks, rewritten, events_removed, bytes_freed } = scavenged;
        ScavengedLine { chunks, rewritten, events_removed, bytes_freed }
    }
}

impl From<DamagedChunk> for DamagedLine {
    fn from(damaged: DamagedChunk) -> DamagedLine {
        let DamagedChunk { chunk, why, failed } = damaged;
        DamagedLine { chunk, why, failed }
    }
}

impl From<NodeStatus> for NodeLine {
    fn from(node: NodeStatus) -> NodeLine {
        let unreachable = node.role == "unreachable";
        let known = Known {
            term: node.term,
            committed: node.committed,
            applied: node.applied,
            checkpointed: node.checkpointed,
            last_position: node.last_position,
            checkpointed_position: node.checkpointed_position,
            disk_bytes: node.disk_bytes,
            version: node.version,
            pid: node.pid,
            insecure: node.insecure,
            notice: node.notice,
            free_bytes: node.free_bytes,
            reserve_bytes: node.reserve_bytes,
            low_on_space: node.low_on_space,
            damaged_chunks: node.damaged.len() as u64,
            damaged: node.damaged.into_iter().map(DamagedLine::from).collect(),
            scrubbed_bytes: node.scrubbed_bytes,
            scrubbed_at: node.scrubbed_at.map(|time| time.to_string()),
            scavenged: node.scavenged.map(ScavengedLine::from),
            groups: node.groups.into_iter().map(GroupLine::from).collect(),
        };
        let known = Some(known).filter(|_| !unreachable);
        NodeLine { id: node.id, address: node.address, role: node.role, known }
    }
}

async fn status(global: &Global) -> Result<(), Exit> {
    let status = first_answer(&global.addresses()).await?;
    let chunk_bytes = status.chunk_bytes;
    let cluster = status.cluster;
    let nodes: Vec<NodeLine> = status.nodes.into_iter().map(NodeLine::from).collect();
    let mut output = io::stdout().lock();
    if global.json() {
        for node in &nodes {
            write_json(&mut output, node)?;
        }
        return Ok(());
    }
    match cluster {
        Some(cluster) => {
            writeln!(output, "cluster {cluster}, {} a chunk", size::show(chunk_bytes))?
        }
        None => writeln!(output, "no cluster yet; found one with `quorate cluster init`")?,
    }
    write_table(&mut output, &nodes)?;
    write_groups(&mut output, &nodes)?;
    Ok(())
}

/// The status that the first node gives that answers; the last error if none does.
pub(crate) async fn first_answer(addresses: &[String]) -> Result<ClusterStatus, Exit> {
    let mut answer = Err(Exit::usage("--endpoints names no node"));
    for address in addresses {
        answer = inspect::status(address, false).await;
        if answer.is_ok() {
            break;
        }
    }
    answer
}

fn write_table(output: &mut impl Write, nodes: &[NodeLine]) -> io::Result<()> {
    let wide = nodes.iter().map(|node| node.address.len()).max().unwrap_or_default();
    writeln!(
        output,
        "{:>3}  {:wide$}  {:11}  {:>5}  {:>10}  {:>10}  {:>12}  {:>10}  {:>7}",
        "id", "address", "role", "term", "committed", "applied", "position", "disk", "pid"
    )?;
    for NodeLine { id, address, role, known } in nodes {
        write!(output, "{id:>3}  {address:wide$}  {role:11}")?;
        if let Some(known) = known {
            let Known { term, committed, applied, last_position, pid, .. } = known;
            let disk = size::show(known.disk_bytes);
            write!(output, "  {term:>5}  {committed:>10}  {applied:>10}  {last_position:>12}")?;
            write!(output, "  {disk:>10}  {pid:>7}")?;
            if known.insecure {
                write!(output, "  INSECURE: open beyond loopback without encryption")?;
            }
            if known.low_on_space {
                let (free, reserve) =
                    (size::show(known.free_bytes), size::show(known.reserve_bytes));
                write!(output, "  NO ROOM: {free} free, {reserve} are kept in reserve")?;
            }
            for DamagedLine { chunk, why, failed } in &known.damaged {
                write!(output, "  DAMAGED: chunk {chunk}: {why}")?;
                if !failed.is_empty() {
                    write!(output, " (not repaired yet: {failed})")?;
                }
            }
            if !known.notice.is_empty() {
                write!(output, "  {}", known.notice)?;
            }
        }
        writeln!(output)?;
    }
    Ok(())
}

/// The groups as the leader knows them, or else the first node that knows any.
fn write_groups(output: &mut impl Write, nodes: &[NodeLine]) -> io::Result<()> {
    let leader = nodes.iter().find(|node| node.role == "leader");
    let mut known = leader.into_iter().chain(nodes).filter_map(|node| node.known.as_ref());
    let Some(Known { groups, .. }) = known.find(|known| !known.groups.is_empty()) else {
        return Ok(());
    };
    for GroupLine { name, lag, in_flight, failed, parked, .. } in groups {
        write!(output, "group `{name}`: {lag} behind, {in_flight} in flight")?;
        writeln!(output, ", {failed} to be tried again, {parked} parked")?;
    }
    Ok(())
}

const _: () = assert!(CHUNK_BYTES_DEFAULT == 64 << 20, "the default of --chunk-size");
