//! `quorate demo`: the main job, shown step by step on a cluster of its own.

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::Args;
use quorate_client::{AppendError, Client, Event, Expect};
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::{Exit, Stop};
use crate::local::{self, LocalNode, Process, free_addresses};

/// The number of nodes in the demo.
const NODES: usize = 3;

/// See a three-node cluster append, read, and survive its leader's death; ends by itself.
#[derive(Args, Debug)]
pub struct DemoArgs {}

/// Runs the command.
pub async fn run(_args: DemoArgs) -> Result<(), Exit> {
    let mut stop = Stop::listen()?;
    let folder = tempfile::Builder::new().prefix("quorate-demo-").tempdir()?;
    let free = free_addresses(2 * NODES)?;
    let ports =
        free.iter().map(SocketAddr::port).zip(free.iter().skip(NODES).map(SocketAddr::port));
    let nodes = local::lay_out(folder.path(), &ports.collect::<Vec<_>>());
    say("A cluster of three nodes, each a process with a folder of its own:")?;
    let mut processes = tokio::select! {
        started = local::start_all(&nodes, CHUNK_BYTES_DEFAULT) => started?,
        () = stop.requested() => return Ok(()),
    };
    let played = tokio::select! {
        played = play(&nodes, &mut processes) => played,
        () = stop.requested() => Ok(()),
    };
    local::stop_all(&mut processes).await;
    played?;
    say(
        "\nThe nodes are stopped and their folders removed. `quorate dev` runs a cluster to try things on.",
    )
}

async fn play(nodes: &[LocalNode], processes: &mut [Process]) -> Result<(), Exit> {
    let client = connect(nodes).await?;
    introduce(nodes, processes).await?;
    append(&client).await?;
    read_everywhere(nodes).await?;
    let survivors = kill_the_leader(nodes, processes).await?;
    let position = append_after(&client, &survivors).await?;
    read_everywhere(&survivors).await?;
    bring_back(nodes, processes, &survivors, position).await
}

async fn introduce(nodes: &[LocalNode], processes: &[Process]) -> Result<(), Exit> {
    let leader = local::leader(nodes).await?.number;
    for (node, process) in nodes.iter().zip(processes) {
        let role = if node.number == leader { "leader" } else { "follower" };
        say(&format!("  node {}  {}  pid {}  {role}", node.number, node.address, process.pid()))?;
    }
    Ok(())
}

/// Makes appends that check the version which their writer saw, and one that comes too late.
async fn append(client: &Client) -> Result<(), Exit> {
    say("\nAn order is placed. Its stream must have no event yet:")?;
    let placed = Event::json("OrderPlaced", &json!({ "items": ["book"], "total": 50 }));
    let placed = placed.map_err(Exit::failed)?;
    let done = client.append("order-42", Expect::None, [placed]).await.map_err(ended)?;
    say(&format!("  appended OrderPlaced: version {}, position {}", done.version, done.position))?;

    say("Two people act on what they saw, version 1. The first pays:")?;
    let paid = Event::json("OrderPaid", &json!({ "total": 50 })).map_err(Exit::failed)?;
    let seen = Expect::version(1);
    let done = client.append("order-42", seen, [paid]).await.map_err(ended)?;
    say(&format!("  appended OrderPaid: version {}, position {}", done.version, done.position))?;

    say("The second cancels, and learns that the order has changed:")?;
    let cancelled = Event::json("OrderCancelled", &json!({})).map_err(Exit::failed)?;
    match client.append("order-42", Expect::version(1), [cancelled]).await {
        Err(AppendError::Conflict(conflict)) => say(&format!("  {conflict}")),
        Err(other) => Err(ended(other)),
        Ok(_) => Err(Exit::failed("the second append was not refused")),
    }
}

/// Shows that every node gives the same answer, and none an old one.
async fn read_everywhere(nodes: &[LocalNode]) -> Result<(), Exit> {
    say("\nThe order, read from each node:")?;
    for node in nodes {
        let client = connect(std::slice::from_ref(node)).await?;
        let order = client.read("order-42").collect().await?;
        let events: Vec<String> = order.events.iter().map(|event| event.kind.to_string()).collect();
        say(&format!("  node {}  version {}: {}", node.number, order.version, events.join(", ")))?;
    }
    Ok(())
}

async fn kill_the_leader(
    nodes: &[LocalNode],
    processes: &mut [Process],
) -> Result<Vec<LocalNode>, Exit> {
    let leader = local::leader(nodes).await?.number;
    for (node, process) in nodes.iter().zip(processes) {
        if node.number == leader {
            say(&format!("\nThe leader, node {leader}, is killed: kill -9 {}", process.pid()))?;
            process.kill().await?;
        }
    }
    Ok(nodes.iter().filter(|node| node.number != leader).cloned().collect())
}

/// Appends while a new leader is being elected; the client does the waiting.
async fn append_after(client: &Client, survivors: &[LocalNode]) -> Result<u64, Exit> {
    let since = Instant::now();
    let shipped = Event::json("OrderShipped", &json!({ "by": "post" })).map_err(Exit::failed)?;
    let done = client.append("order-42", Expect::version(2), [shipped]).await.map_err(ended)?;
    let seconds = since.elapsed().as_secs_f64();
    let leader = local::leader(survivors).await?.number;
    say(&format!(
        "  appended OrderShipped: version {}, position {}, {seconds:.1} s later; node {leader} leads now",
        done.version, done.position
    ))?;
    Ok(done.position.0)
}

/// Starts the dead node again and waits until it has what it missed.
async fn bring_back(
    nodes: &[LocalNode],
    processes: &mut [Process],
    survivors: &[LocalNode],
    position: u64,
) -> Result<(), Exit> {
    let is_dead = |node: &LocalNode| survivors.iter().all(|other| other.number != node.number);
    for (node, process) in nodes.iter().zip(processes).filter(|(node, _)| is_dead(node)) {
        say(&format!("\nNode {} starts again on its old folder and catches up:", node.number))?;
        *process = node.start()?;
        node.answers(process).await?;
        let client = connect(std::slice::from_ref(node)).await?;
        let order = client.read("order-42").at_least(position).collect().await?;
        let (count, as_of) = (order.events.len(), order.as_of);
        say(&format!("  node {}  {count} events, as of position {as_of}", node.number))?;
    }
    Ok(())
}

async fn connect(nodes: &[LocalNode]) -> Result<Client, Exit> {
    let endpoints = nodes.iter().map(|node| node.address.clone());
    Ok(Client::builder().endpoints(endpoints).pinned(nodes.len() == 1).connect().await?)
}

fn ended(error: AppendError) -> Exit {
    Exit::from(&error)
}

fn say(line: &str) -> Result<(), Exit> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
