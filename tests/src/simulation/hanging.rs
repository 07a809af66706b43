//! A disk that hangs under a node, in simulated time: another node leads, and in the end the node stops.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{Client, Event, Expect, Query};
use quorate_proto::limits::CHUNK_BYTES_MIN;
use tokio::time::Instant;
use turmoil::Sim;

use super::client::{self, Phase};
use super::disk::Disk;
use super::host::Skew;
use super::storm::LATENCY_MAX;
use super::trace::Trace;
use super::{CLIENT_PORT, Failed, LONGEST, NODES, PEER_PORT, found, node};
use crate::random::Random;

/// The result of a run in which the leader's disk began to hang.
#[derive(Clone, Debug)]
pub struct Hung {
    /// The time until another node led.
    pub handed_over: Duration,
    /// The time until the node stopped.
    pub stopped: Duration,
    /// The reason why it stopped.
    pub why: String,
}

/// The state of a run, shared by its parts.
#[derive(Clone, Debug, Default)]
struct Story {
    /// The node whose disk hangs.
    hung: Rc<Cell<Option<usize>>>,
    handed_over: Rc<Cell<Option<Duration>>>,
    /// The time at which the node stopped, and its reason.
    stopped: Rc<RefCell<Option<(Duration, String)>>>,
}

/// Lets the leader's disk hang until its node stops, while a client appends. Then starts the node again on a
/// healthy disk; in the end it must have all events.
pub fn hang_the_leader(seed: u64) -> Result<Hung, Failed> {
    let _no_defect = node::PutBack::new(None);
    let mut random = Random::part(seed, 1);
    let mut sim = turmoil::Builder::new()
        .rng_seed(random.next())
        .simulation_duration(2 * LONGEST)
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(1 << 16)
        .build();
    let names: Vec<String> = (1..=NODES).map(|node| format!("node-{node}")).collect();
    let disks: Vec<Disk> = names.iter().map(|name| Disk::new(name, Trace::new())).collect();
    let lives = node::Lives::default();
    for (number, (name, disk)) in names.iter().zip(&disks).enumerate() {
        let machine = (disk.clone(), Skew::default(), Trace::new());
        node::add(&mut sim, number, name, machine, random.next(), lives.clone(), None);
    }
    let addresses =
        |port: u16| -> Vec<String> { names.iter().map(|name| format!("{name}:{port}")).collect() };
    let (phase, story) = (Phase::default(), Story::default());
    sim.client("founder", found(addresses(CLIENT_PORT), addresses(PEER_PORT), phase.clone()));
    sim.client("writer", write(addresses(CLIENT_PORT), disks.clone(), phase, story.clone()));
    let begun = live_through(&mut sim, &names, &disks, &lives, &story)?;
    let stopped = story.stopped.borrow().clone();
    match (story.handed_over.get(), stopped) {
        (Some(handed_over), Some((at, why))) => {
            Ok(Hung { handed_over, stopped: at.saturating_sub(begun), why })
        }
        _ => Err(Failed::Vacuous("no disk hung to the end".to_owned())),
    }
}

/// Lets time pass until the writer is done; returns the time at which the disk began to hang.
fn live_through(
    sim: &mut Sim<'_>,
    names: &[String],
    disks: &[Disk],
    lives: &node::Lives,
    story: &Story,
) -> Result<Duration, Failed> {
    let mut begun = None;
    loop {
        let done = sim.step().map_err(|error| Failed::Stuck(error.to_string()))?;
        let now = sim.elapsed();
        if story.hung.get().is_some() {
            begun.get_or_insert(now);
        }
        for (node, why) in lives.take() {
            if story.hung.get() != Some(node) || story.stopped.borrow().is_some() {
                return Err(Failed::Stopped(format!("{}: {why}", names[node])));
            }
            *story.stopped.borrow_mut() = Some((now, why));
            // The node's program ends, and is started again.
            disks[node].cut();
            sim.crash(names[node].as_str());
            disks[node].hang(false);
            disks[node].restart(1);
            sim.bounce(names[node].as_str());
        }
        if done {
            return Ok(begun.unwrap_or(now));
        }
        if now > LONGEST {
            return Err(Failed::Stuck(format!("not done after {} s", LONGEST.as_secs())));
        }
    }
}

/// Appends all the while, lets the leader's disk hang, and checks the consequences.
async fn write(
    addresses: Vec<String>,
    disks: Vec<Disk>,
    phase: Phase,
    story: Story,
) -> turmoil::Result {
    phase.founded().await;
    let writer = client::connect(&addresses, false, Duration::from_secs(20));
    append(&writer).await?;
    let hung = loop {
        if let Some(leader) = leader(&writer, &addresses).await {
            break leader;
        }
    };
    disks[hung].hang(true);
    story.hung.set(Some(hung));
    let begun = Instant::now();
    let watching = async {
        // An append that was under way when the leader changed may wait for longer.
        while leader(&writer, &addresses).await.is_none_or(|leads| leads == hung) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        story.handed_over.set(Some(begun.elapsed()));
        Ok(())
    };
    let appending = async {
        let mut last = 0;
        while story.stopped.borrow().is_none() {
            last = append(&writer).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(last)
    };
    let (last, ()) = tokio::try_join!(appending, watching)?;
    let started_again = std::slice::from_ref(&addresses[hung]);
    let reader = client::connect(started_again, true, Duration::from_secs(20));
    let events = reader.read(Query::category("order")).at_least(last).collect().await?;
    match events.events.last() {
        Some(event) if event.position.0 >= last => Ok(()),
        _ => Err("the node that was started again lacks events")?,
    }
}

/// Appends a tenth of a chunk, a few times a second.
async fn append(writer: &Client) -> turmoil::Result<u64> {
    tokio::time::sleep(Duration::from_millis(250)).await;
    let event = Event::new("Made", vec![7; CHUNK_BYTES_MIN as usize / 10])?;
    Ok(writer.append("order-1", Expect::Any, [event]).await?.position.0)
}

/// Returns the index of the node that leads, by the status that the nodes report.
async fn leader(asked: &Client, addresses: &[String]) -> Option<usize> {
    let status = asked.status().await.ok()?;
    let leader = status.nodes.into_iter().filter(|node| node.role == "leader");
    let leader = leader.max_by_key(|node| node.term)?;
    addresses.iter().position(|address| *address == leader.address)
}
