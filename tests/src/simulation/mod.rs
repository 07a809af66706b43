//! A whole cluster in one thread, from one seed: the node's own server, store and Raft log over a
//! simulated network and disks in memory, clients that race, and a storm of faults.
//!
//! A run founds a cluster of three nodes and lets clients work while nodes lose power in the middle of a write and
//! messages are lost, held and delayed. Then the faults end: every client must be served again at every node, all nodes
//! must hold the same log, and [`crate::checker`] must find an order that explains everything that clients saw. The
//! same seed gives the same run, byte for byte.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_proto::{Consistency, Query, Read, RecordedEvent, Strategy};
use turmoil::Sim;

use self::client::{Phase, Scavenges, Stamps, Worker};
use self::consumer::Member;
use self::follower::Follower;
use self::operator::{Joining, Operator};
use self::storm::{LATENCY_MAX, Storm};
use crate::checker::{self, Anomaly, Verdict};
use crate::history::Recorder;
use crate::random::Random;

mod client;
mod consumer;
mod damage;
mod disk;
mod faults;
mod follower;
mod hanging;
mod host;
mod lease;
mod node;
mod operator;
mod storm;
mod trace;

pub use damage::Damage;
pub use disk::Disk;
pub use faults::{Counts, Fault};
pub use hanging::{Hung, hang_the_leader};
pub use host::{Machine, SimulatedHost, Skew, true_time};
pub use trace::Trace;

const NODES: usize = 3;
/// The machines beside those of the founded cluster, from which an operator takes in nodes.
const SPARES: usize = 2;
const CLIENT_PORT: u16 = 7701;
const PEER_PORT: u16 = 7801;
/// The largest lead of a stamp over the true time: that of an honest clock, a leader's leeway, and half of the longest
/// round trip that counts.
const AHEAD_US_MAX: i64 = node::HONEST_US as i64 + 5_000_000 + 500_000;
/// The longest run: one that takes longer is stuck.
const LONGEST: Duration = Duration::from_secs(180);

/// A defect that is put back on purpose, to test that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Writes to the Raft log are reported as durable although they are not.
    AnswerBeforeSync,
    /// A repeated append is not recognized.
    NoRetryCheck,
    /// The ids of an append with an exact version are not looked up.
    RetryByVersion,
    /// A vote is not written to the Raft log.
    LostVote,
    /// One replica decides another outcome of one append.
    FlippedOutcome,
    /// Events that came after the leader looked do not violate an append's conditions.
    NoConditionCheck,
    /// A follower does not check which events were applied while it went from the store to the live ones.
    NoSecondLook,
    /// The floor of a consumer group passes events that consumers still hold.
    FloorAhead,
    /// A consumer that asks for more time for an event does not get it.
    IgnoredExtension,
    /// A leader stamps with its own clock, whatever the clocks of others show.
    RawClock,
    /// A node starts without asking how far its log must reach.
    NoReach,
}

/// The plan of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// The defect that is put back.
    pub defect: Option<Defect>,
    /// True if an operator changes the members meanwhile. Then files are not damaged and clocks are right: the operator
    /// may leave a single copy, or a single clock.
    pub with_operator: bool,
    /// The trace in which the run is noted.
    pub trace: Trace,
}

/// The report of a run in which all promises were kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// The checker's verdict on the requests and answers of the clients.
    pub verdict: Verdict,
    /// The faults during the run.
    pub faults: Counts,
    /// The changes of members and of the leader that an operator made.
    pub changes: u64,
    /// The chunks that scavenging wrote anew, and the events that left a disk by that.
    pub scavenged: (u64, u64),
    /// The simulated duration of the run.
    pub simulated: Duration,
}

/// The reason why a run failed.
#[derive(Clone, Debug)]
pub enum Failed {
    /// A promise was broken.
    Broken(Vec<Anomaly>),
    /// A name was registered by two appends, each of which had the condition that it is free.
    Twice(String),
    /// Two nodes, at least, led in a term.
    TwoLeaders {
        /// The term.
        term: u64,
        /// The nodes, counted from 0.
        nodes: Vec<usize>,
    },
    /// An event was stamped this many microseconds ahead of the true time.
    Ahead(i64),
    /// A node stopped without a reason.
    Stopped(String),
    /// A node started although its files were damaged while it was off, or stopped without advice about the damage.
    Overlooked(String),
    /// In calm weather the cluster did not serve, or did not agree.
    Stuck(String),
    /// Nothing was acknowledged, or nothing went wrong: the run proves nothing.
    Vacuous(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Broken(anomalies) => {
                write!(f, "{} promises broken:", anomalies.len())?;
                anomalies.iter().take(10).try_for_each(|anomaly| write!(f, "\n    {anomaly}"))
            }
            Failed::Twice(name) => write!(f, "`{name}` was registered twice"),
            Failed::TwoLeaders { term, nodes } => {
                write!(f, "nodes {nodes:?} all led in term {term}")
            }
            Failed::Ahead(us) => write!(f, "an event was stamped {us} µs ahead of the true time"),
            Failed::Stopped(why) => write!(f, "a node stopped: {why}"),
            Failed::Overlooked(why) => write!(f, "damage was overlooked: {why}"),
            Failed::Stuck(why) => write!(f, "stuck: {why}"),
            Failed::Vacuous(why) => write!(f, "proves nothing: {why}"),
        }
    }
}

/// Runs one seed.
pub fn run(plan: &Plan) -> Result<Report, Failed> {
    let _defect = node::PutBack::new(plan.defect);
    let mut random = Random::part(plan.seed, 0);
    let mut sim = turmoil::Builder::new()
        .rng_seed(random.next())
        .simulation_duration(3 * LONGEST)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(1 << 16)
        .enable_random_order()
        .build();
    let mut run = Run::new(plan, &mut random, &mut sim);
    let simulated = run.live_through(&mut sim)?;
    run.judge(simulated)
}

struct Run {
    storm: Storm,
    storm_lasts: Duration,
    phase: Phase,
    lives: node::Lives,
    /// The state of the operator, if there is one.
    joining: Option<Joining>,
    recorder: Recorder,
    scavenges: Scavenges,
    stamps: Stamps,
    replicas: Rc<RefCell<Vec<Vec<RecordedEvent>>>>,
}

impl Run {
    fn new(plan: &Plan, random: &mut Random, sim: &mut Sim<'_>) -> Run {
        let trace = &plan.trace;
        let machines = if plan.with_operator { NODES + SPARES } else { NODES };
        let joining = plan.with_operator.then(Joining::default);
        let names: Vec<String> = (1..=machines).map(|node| format!("node-{node}")).collect();
        let disks: Vec<Disk> = names.iter().map(|name| Disk::new(name, trace.clone())).collect();
        let lives = node::Lives::default();
        let skews: Vec<Skew> = names.iter().map(|_| Skew::default()).collect();
        for (number, (name, disk)) in names.iter().zip(&disks).enumerate() {
            if plan.defect == Some(Defect::AnswerBeforeSync) {
                disk.make_liar();
            }
            let machine = (disk.clone(), skews[number].clone(), trace.clone());
            let joining = joining.clone();
            node::add(sim, number, name, machine, random.next(), lives.clone(), joining);
        }
        let addresses = |port: u16| -> Vec<String> {
            names.iter().map(|name| format!("{name}:{port}")).collect()
        };
        let (phase, recorder) = (Phase::default(), Recorder::default());
        let (scavenges, stamps) = (Scavenges::default(), Stamps::default());
        let mut clients = vec!["founder".to_owned(), "auditor".to_owned()];
        let founders = |port| addresses(port).into_iter().take(NODES).collect::<Vec<_>>();
        sim.client("founder", found(founders(CLIENT_PORT), founders(PEER_PORT), phase.clone()));
        if let Some(joining) = &joining {
            let operator = Operator {
                random: Random::new(random.next()),
                trace: trace.clone(),
                phase: phase.clone(),
                joining: joining.clone(),
                names: names.clone(),
            };
            sim.client("operator", operator.run());
            clients.push("operator".to_owned());
        }
        for number in 1..=random.between(2, 4) as u32 {
            phase.begin();
            let worker = Worker {
                number,
                random: Random::new(random.next()),
                recorder: recorder.clone(),
                trace: trace.clone(),
                phase: phase.clone(),
                counts: scavenges.clone(),
                stamps: stamps.clone(),
                addresses: addresses(CLIENT_PORT),
            };
            let name = format!("client-{number}");
            sim.client(name.as_str(), worker.run());
            clients.push(name);
        }
        for number in 1..=2 {
            let follower = Follower {
                number,
                random: Random::new(random.next()),
                recorder: recorder.clone(),
                trace: trace.clone(),
                phase: phase.clone(),
                addresses: addresses(CLIENT_PORT),
            };
            let name = format!("follower-{number}");
            sim.client(name.as_str(), follower.run());
            clients.push(name);
        }
        let strategy = *random.pick(&Strategy::ALL);
        for number in 1..=2 {
            let member = Member {
                number,
                strategy,
                random: Random::new(random.next()),
                recorder: recorder.clone(),
                trace: trace.clone(),
                phase: phase.clone(),
                addresses: addresses(CLIENT_PORT),
            };
            let name = format!("consumer-{number}");
            sim.client(name.as_str(), member.run());
            clients.push(name);
        }
        let replicas = Rc::new(RefCell::new(Vec::new()));
        sim.client("auditor", audit(addresses(CLIENT_PORT), phase.clone(), replicas.clone()));
        let nodes = names.into_iter().zip(disks).collect();
        let mut storm = Storm::new(Random::new(random.next()), trace.clone(), nodes, clients);
        match plan.with_operator {
            true => storm.spare_files_and_clocks(),
            false => storm.take_clocks(skews),
        }
        let storm_lasts = Duration::from_millis(random.between(6_000, 16_000));
        Run { storm, storm_lasts, phase, lives, joining, recorder, scavenges, stamps, replicas }
    }

    /// Lets time pass until all clients are done; returns the time that it took.
    fn live_through(&mut self, sim: &mut Sim<'_>) -> Result<Duration, Failed> {
        let mut storm_ends = None;
        loop {
            let done = sim.step().map_err(|error| Failed::Stuck(error.to_string()))?;
            let now = sim.elapsed();
            if let Some((term, nodes)) = self.lives.led_twice() {
                return Err(Failed::TwoLeaders { term, nodes });
            }
            for node in self.lives.take_started() {
                self.storm.started(node).map_err(Failed::Overlooked)?;
            }
            for (node, why) in self.lives.take() {
                if self.joining.as_ref().is_some_and(|joining| joining.has_left(node, &why)) {
                    self.storm.renew(sim, node);
                    continue;
                }
                if self.storm.refused(node, &why, now).map_err(Failed::Overlooked)? {
                    continue;
                }
                if self.storm.is_well(node) {
                    return Err(Failed::Stopped(format!("node {}: {why}", node + 1)));
                }
                self.storm.stopped(node, now);
            }
            if done {
                return Ok(now);
            }
            let longest = if self.joining.is_some() { 2 * LONGEST } else { LONGEST };
            if now > longest {
                return Err(Failed::Stuck(format!("not done after {} s", longest.as_secs())));
            }
            if self.phase.is_founded() {
                let ends = *storm_ends.get_or_insert(now + self.storm_lasts);
                if now < ends {
                    self.storm.step(sim);
                } else if !self.storm.is_over() {
                    self.storm.end(sim);
                    match &self.joining {
                        Some(joining) => joining.storm_is_over(),
                        None => self.phase.calm(),
                    }
                } else if self.joining.as_ref().is_some_and(Joining::is_settled) {
                    self.phase.calm();
                }
            }
        }
    }

    fn judge(&self, simulated: Duration) -> Result<Report, Failed> {
        let faults = self.storm.counts;
        let replicas = self.replicas.borrow();
        let verdict =
            checker::check(&self.recorder.history(), &replicas).map_err(Failed::Broken)?;
        if let Some(name) = client::registered_twice(&replicas[0]) {
            return Err(Failed::Twice(name.to_string()));
        }
        if self.stamps.furthest() > AHEAD_US_MAX {
            return Err(Failed::Ahead(self.stamps.furthest()));
        }
        if verdict.acknowledged == 0 {
            return Err(Failed::Vacuous("no append was acknowledged".to_owned()));
        }
        if faults.total() == 0 {
            return Err(Failed::Vacuous("no fault took place".to_owned()));
        }
        let scavenged = self.scavenges.sum();
        let changes = self.joining.as_ref().map_or(0, Joining::changes);
        Ok(Report { verdict, faults, changes, scavenged, simulated })
    }
}

/// Founds the cluster.
async fn found(clients: Vec<String>, peers: Vec<String>, phase: Phase) -> turmoil::Result {
    let client = client::connect(&clients, false, Duration::from_secs(5));
    let mut tries = 0;
    while let Err(problem) = client.init(peers.clone(), CHUNK_BYTES_MIN).await {
        tries += 1;
        if tries == 20 {
            return Err(format!("the cluster cannot be founded: {problem}"))?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    phase.found();
    Ok(())
}

/// Reads the whole log from every node, up to the same position, when all clients are done.
async fn audit(
    addresses: Vec<String>,
    phase: Phase,
    replicas: Rc<RefCell<Vec<Vec<RecordedEvent>>>>,
) -> turmoil::Result {
    phase.all_done().await;
    let anywhere = client::connect(&addresses, false, Duration::from_secs(20));
    let read = Read { with_system: true, ..Read::query(Query::everything()) };
    let end = client::read_whole(&anywhere, &read).await?.as_of;
    for address in addresses {
        let node = client::connect(std::slice::from_ref(&address), true, Duration::from_secs(20));
        let read = Read { consistency: Consistency::AtLeast(end), ..read.clone() };
        let whole = client::read_whole(&node, &read).await?;
        replicas.borrow_mut().push(whole.events);
    }
    Ok(())
}
