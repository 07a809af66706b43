//! `quorate cluster`: founds a cluster, changes its members, and shows how it is.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand};
use quorate_client::{ClusterStatus, Founded, GroupLag, Member, NodeStatus};
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use serde::Serialize;

use crate::cli::{self, Addresses, Asking, Exit, Global, Nothing, Shared, inspect};
use crate::output::{Watch, remark, write_json, write_line};
use crate::values::size;

mod details;
mod health;
mod lag;
mod members;

use details::{NodeLine, write_details};
use health::is_known;

/// Found a cluster, change its members, or see how it is.
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
    Init(Asking<InitArgs>),
    /// Show how each node is.
    ///
    /// The first table: role, term, position, entries of the log that it has not applied yet, disk. The second: log
    /// indexes, lag behind the furthest node in events and in seconds of log time, version, health. It is shown without a
    /// majority too, as one node knows it: of several that answer, one that sees a leader. Exit code: 0 if a node
    /// answered, whatever it says (`quorate cluster health` judges); 1 if none did.
    Status(Asking<StatusArgs>),
    /// Tell in a word how the cluster is, with the reasons below.
    ///
    /// Exit codes: 0 healthy; 6 degraded: it takes appends, and somebody should look (a node is unreachable, not ready,
    /// damaged, without room or far behind, or its clock is wrong); 1 unavailable: it takes no appends (no leader with a
    /// majority, full disks, nothing founded yet), or no node answers; 2 the command line is wrong.
    Health(Asking<Nothing>),
    #[command(flatten)]
    Members(members::MembersCommand),
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// Show it again each second until Ctrl-C, also while no node answers; into a pipe or a file, whenever something
    /// changed.
    #[arg(long)]
    watch: bool,
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
pub async fn run(args: ClusterArgs) -> Result<(), Exit> {
    match args.command {
        ClusterCommand::Init(args) => args.run(init).await,
        ClusterCommand::Status(args) => args.run(status).await,
        ClusterCommand::Health(args) => args.run(health::run).await,
        ClusterCommand::Members(command) => members::run(command).await,
    }
}

#[derive(Serialize)]
struct InitLine {
    cluster: String,
    nodes: Vec<Member>,
    chunk_bytes: u64,
}

async fn init(args: InitArgs, global: &Global) -> Result<(), Exit> {
    let addresses = global.addresses();
    let asked = addresses.first().ok_or_else(|| Exit::usage("--endpoints names no node"))?;
    let peers = match cli::shown(&args.peers) {
        peers if peers.is_empty() => peers_of(&addresses, global.timeout).await?,
        peers => peers,
    };
    let found = inspect::bootstrap(asked, peers.clone(), args.chunk_size, global.timeout).await;
    let (founded, chunk_bytes) = match found {
        Ok(founded) => (founded, args.chunk_size),
        Err(refused) => {
            let there = founded_already(asked, &peers, global.timeout).await.ok_or(refused)?;
            refuse_if_outside(&there.0).await?;
            there
        }
    };
    Exit::after_report(Ok(()), report_founded(global, founded, chunk_bytes))
}

fn report_founded(global: &Global, founded: Founded, chunk_bytes: u64) -> io::Result<()> {
    let cluster = founded.cluster.to_string();
    let mut output = io::stdout().lock();
    if global.json() {
        let nodes = founded.members;
        return write_json(&mut output, &InitLine { cluster, nodes, chunk_bytes });
    }
    let count = founded.members.len();
    writeln!(output, "cluster {cluster} of {count} nodes, {} a chunk", size::show(chunk_bytes))?;
    for member in founded.members {
        writeln!(output, "node {}  {}", member.id, member.client_address)?;
    }
    Ok(())
}

/// Returns the cluster that is there if it has exactly the requested members: then there is nothing to do.
async fn founded_already(
    asked: &str,
    peers: &[String],
    timeout: Option<Duration>,
) -> Option<(Founded, u64)> {
    let ClusterStatus { nodes, cluster, chunk_bytes } =
        inspect::status_within(asked, false, timeout).await.ok()?;
    let same =
        nodes.len() == peers.len() && nodes.iter().all(|node| peers.contains(&node.peer_address));
    let members = nodes.into_iter().map(|node| Member {
        id: node.id,
        client_address: node.address,
        peer_address: node.peer_address,
        is_learner: node.role == "learner",
    });
    let founded = Founded { cluster: cluster?, members: members.collect() };
    same.then_some((founded, chunk_bytes))
}

/// Refuses to report a cluster as founded while one of its members does not take part: such a member may have lost
/// its folder and wait to be founded.
async fn refuse_if_outside(founded: &Founded) -> Result<(), Exit> {
    let ours = founded.cluster;
    for Member { id, client_address, .. } in &founded.members {
        // A member that does not answer now may be stopped, and is a member all the same.
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
             {where_it_is}. Start it on the folder of node {id}. If that is lost, put a new node in its place with \
             `quorate cluster replace {id}`"
        )));
    }
    Ok(())
}

/// Asks each node where it listens for the others.
async fn peers_of(addresses: &[String], timeout: Option<Duration>) -> Result<Vec<String>, Exit> {
    let mut peers = Vec::new();
    for address in addresses {
        let node = inspect::status_within(address, true, timeout).await?.nodes.into_iter().next();
        peers.extend(node.map(|node| node.peer_address));
    }
    Ok(peers)
}

/// A node that cannot be reached, as a JSON line: nothing else is known of it.
#[derive(Serialize)]
struct UnreachableLine<'a> {
    id: u64,
    address: &'a str,
    role: &'a str,
}

fn write_node_json(
    output: &mut impl Write,
    node: &NodeStatus,
    nodes: &[NodeStatus],
) -> io::Result<()> {
    if is_known(node) {
        return write_json(output, &NodeLine::new(node, nodes));
    }
    let NodeStatus { id, address, role, .. } = node;
    write_json(output, &UnreachableLine { id: *id, address, role })
}

async fn status(args: StatusArgs, global: &Global) -> Result<(), Exit> {
    let mut answer = Ok(inspect::best_answer(global).await?);
    let watch = args.watch.then(|| Watch::new(global.json()));
    let mut before = Vec::new();
    loop {
        let now = match &answer {
            Ok(status) => shown(status, global.json())?,
            Err(Exit { message, .. }) if watch.as_ref().is_some_and(Watch::is_drawn) => {
                format!("{message}\n").into_bytes()
            }
            Err(Exit { message, .. }) => {
                remark(message);
                Vec::new()
            }
        };
        let Some(watch) = &watch else {
            return Ok(io::stdout().lock().write_all(&now)?);
        };
        if watch.is_drawn() || now != before {
            watch.show(&now)?;
        }
        before = now;
        if !watch.goes_on().await {
            return Ok(());
        }
        answer = inspect::best_answer(global).await;
    }
}

/// Returns the text or the JSON lines that show the status.
fn shown(status: &ClusterStatus, json: bool) -> io::Result<Vec<u8>> {
    let ClusterStatus { cluster, chunk_bytes, nodes } = status;
    let mut output = Vec::new();
    if json {
        nodes.iter().try_for_each(|node| write_node_json(&mut output, node, nodes))?;
        return Ok(output);
    }
    match cluster {
        Some(cluster) => {
            writeln!(output, "cluster {cluster}, {} a chunk", size::show(*chunk_bytes))?
        }
        None => writeln!(output, "{}", advice(nodes))?,
    }
    write_table(&mut output, nodes)?;
    write_groups(&mut output, nodes)?;
    let has_colours = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    Ok(if has_colours { output } else { anstream::adapter::strip_bytes(&output).into_vec() })
}

/// Returns the advice for nodes that belong to no cluster.
fn advice(nodes: &[NodeStatus]) -> String {
    let waiting: Vec<&str> = nodes.iter().map(|node| node.address.as_str()).collect();
    let waiting = waiting.join(",");
    format!(
        "{waiting} waits for a cluster. To found one, tell all its nodes:\n\
         \x20 quorate cluster init --endpoints {waiting},…\n\
         A node of a cluster that is there waits like this when it is started on a new folder: start it on its own folder.\n\
         A cluster that is there takes in a node that was started with its join token: quorate cluster add"
    )
}

/// Writes the nodes as columns as wide as their cells, and below them the notices about single nodes.
fn write_table(output: &mut impl Write, nodes: &[NodeStatus]) -> io::Result<()> {
    let committed = nodes.iter().map(|node| node.committed).max().unwrap_or(0);
    let head = ["id", "address", "role", "term", "position", "behind", "disk"];
    let rows: Vec<[String; 7]> = nodes.iter().map(|node| cells(node, committed)).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].len()).fold(head[column].len(), usize::max)
    });
    write_row(output, &head.map(str::to_owned), &widths)?;
    rows.iter().try_for_each(|row| write_row(output, row, &widths))?;
    write_details(output, nodes)?;
    for node in nodes.iter().filter(|node| is_known(node)) {
        for notice in notices(node) {
            writeln!(output, "node {}: {notice}", node.id)?;
        }
    }
    Ok(())
}

/// Returns the table's cells for a node; `committed` is the highest entry that any node knows to be committed.
fn cells(node: &NodeStatus, committed: u64) -> [String; 7] {
    let [term, position, behind, disk] = match is_known(node) {
        true => [
            node.term.to_string(),
            node.last_position.to_string(),
            committed.saturating_sub(node.applied).to_string(),
            size::show(node.disk_bytes),
        ],
        false => Default::default(),
    };
    [node.id.to_string(), node.address.clone(), node.role.clone(), term, position, behind, disk]
}

fn write_row(output: &mut impl Write, row: &[String; 7], widths: &[usize; 7]) -> io::Result<()> {
    let [id, address, role, numbers @ ..] = row;
    let [id_width, address_width, role_width, number_widths @ ..] = widths;
    let style = match role.as_str() {
        "leader" => AnsiColor::Green.on_default(),
        "follower" | "learner" | "role" => Style::new(),
        _ => AnsiColor::Red.on_default(),
    };
    write!(
        output,
        "{id:>id_width$}  {address:address_width$}  {style}{role:role_width$}{style:#}"
    )?;
    if numbers.iter().any(|number| !number.is_empty()) {
        for (number, width) in numbers.iter().zip(number_widths) {
            write!(output, "  {number:>width$}")?;
        }
    }
    writeln!(output)
}

/// Returns the notices about a node that its columns do not show.
fn notices(node: &NodeStatus) -> Vec<String> {
    let mut notices = Vec::new();
    if node.insecure {
        notices.push("INSECURE: open beyond loopback without encryption".to_owned());
    }
    notices.extend(health::complaints(node));
    notices
}

/// Writes the groups as the leader knows them, or else as the first node that knows any.
fn write_groups(output: &mut impl Write, nodes: &[NodeStatus]) -> io::Result<()> {
    let leader = nodes.iter().find(|node| node.role == "leader");
    let mut all = leader.into_iter().chain(nodes);
    let Some(NodeStatus { groups, .. }) = all.find(|node| !node.groups.is_empty()) else {
        return Ok(());
    };
    for GroupLag { name, lag, in_flight, failed, parked, .. } in groups {
        let now = format_args!("{lag} behind, {in_flight} in flight");
        let later = format_args!("{failed} to be tried again, {parked} parked");
        write_line(output, format_args!("group `{name}`: {now}, {later}"))?;
    }
    Ok(())
}

const _: () = assert!(CHUNK_BYTES_DEFAULT == 64 << 20, "the default of --chunk-size");

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn node(id: u64, role: &str) -> NodeStatus {
        NodeStatus {
            id,
            address: format!("192.168.100.{id}:17701"),
            peer_address: String::new(),
            role: role.to_owned(),
            term: 99_999,
            committed: 9_999_999_999,
            applied: 9_999_900_000,
            checkpointed: 0,
            last_position: 9_999_999_999,
            checkpointed_position: 0,
            disk_bytes: 999 << 30,
            version: String::new(),
            pid: 0,
            insecure: true,
            notice: String::new(),
            free_bytes: 0,
            reserve_bytes: 0,
            low_on_space: false,
            damaged: Vec::new(),
            scrubbed_bytes: 0,
            scrubbed_at: None,
            scavenged: None,
            groups: Vec::new(),
            log_time: None,
            unready: String::new(),
        }
    }

    #[test]
    fn the_status_of_a_large_cluster_fits_into_80_columns() {
        let mut table = Vec::new();
        let nodes = [node(101, "leader"), node(102, "follower"), node(103, "unreachable")];
        write_table(&mut table, &nodes).expect("memory");
        let table = anstream::adapter::strip_bytes(&table).into_vec();
        let table = String::from_utf8(table).expect("text");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.contains("unreachable\n"), "{table}");
        assert!(table.contains("node 101: INSECURE: "), "{table}");
    }

    #[test]
    fn of_a_node_that_cannot_be_reached_there_is_no_state() {
        let mut line = Vec::new();
        write_node_json(&mut line, &node(3, "unreachable"), &[]).expect("memory");
        let expected = r#"{"id":3,"address":"192.168.100.3:17701","role":"unreachable"}"#;
        assert_eq!(String::from_utf8(line).expect("JSON is UTF-8").trim_end(), expected);
    }
}
