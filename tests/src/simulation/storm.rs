//! Applies the faults of a run to the simulated cluster, and takes them back.

use std::io;
use std::path::Path;
use std::time::Duration;

use turmoil::Sim;

use super::damage::{self, Copy, Damage, Damaged};
use super::disk::Disk;
use super::faults::{Counts, Fault, YEAR_US};
use super::host::Skew;
use super::trace::Trace;
use crate::random::Random;

/// The longest time that a message takes between two machines while nothing is wrong.
pub(super) const LATENCY_MAX: Duration = Duration::from_millis(4);

/// The folder in which a node keeps its chunks.
const CHUNKS: &str = "/node/chunks";

/// The power state of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// The disk fails during a change; soon afterwards the rest of the machine fails.
    Failing {
        dead_at: Duration,
        back_at: Duration,
    },
    Off {
        back_at: Duration,
    },
}

/// The faults of one run.
pub(super) struct Storm {
    random: Random,
    trace: Trace,
    names: Vec<String>,
    /// The machines of the clients, which have no faults.
    clients: Vec<String>,
    disks: Vec<Disk>,
    power: Vec<Power>,
    links: Vec<(Duration, Fault)>,
    /// The time until which the disk of each node is full.
    full: Vec<Option<Duration>>,
    /// The only node on whose disk bits flip, so that the others have the damaged chunks whole.
    flipper: usize,
    /// The only clock that is ever wrong, so that a majority shows the right time.
    bad_clock: Skew,
    /// The files of each node as they were at some earlier start.
    older: Vec<Option<Copy>>,
    /// The damage that will be done to the files of each node before it is started.
    planned: Vec<Option<Damage>>,
    /// The damage that was done to them, until the node has started or its files are put back.
    damaged: Vec<Option<Damaged>>,
    next_at: Duration,
    calm: bool,
    /// True if files and clocks have no faults.
    spares_files_and_clocks: bool,
    /// The faults that took place.
    pub(super) counts: Counts,
}

impl Storm {
    pub(super) fn new(
        mut random: Random,
        trace: Trace,
        nodes: Vec<(String, Disk)>,
        clients: Vec<String>,
    ) -> Storm {
        let (names, disks): (Vec<String>, Vec<Disk>) = nodes.into_iter().unzip();
        Storm {
            full: vec![None; names.len()],
            older: vec![None; names.len()],
            planned: vec![None; names.len()],
            damaged: names.iter().map(|_| None).collect(),
            flipper: random.below(names.len() as u64) as usize,
            random,
            trace,
            power: vec![Power::On; names.len()],
            names,
            clients,
            disks,
            links: Vec::new(),
            bad_clock: Skew::default(),
            next_at: Duration::ZERO,
            calm: false,
            spares_files_and_clocks: false,
            counts: Counts::default(),
        }
    }

    /// Draws the node whose clock is bad; in some runs the clock is wrong from the beginning.
    pub(super) fn take_clocks(&mut self, mut skews: Vec<Skew>) {
        let bad = self.random.below(skews.len() as u64) as usize;
        self.bad_clock = skews.swap_remove(bad);
        if self.random.below(4) == 0 {
            self.bad_clock.set(YEAR_US);
        }
    }

    /// Lets files and clocks be: no bit flips, no file is damaged, and no clock is wrong.
    pub(super) fn spare_files_and_clocks(&mut self) {
        self.spares_files_and_clocks = true;
    }

    /// Gives a machine whose node was removed from the cluster an empty disk, and starts it.
    pub(super) fn renew(&mut self, sim: &mut Sim<'_>, node: usize) {
        if self.power[node] != Power::On {
            // The node stops again when the machine is back.
            return;
        }
        self.trace.note(&self.names[node], format_args!("gets an empty disk"));
        self.make_room(node);
        self.crash(sim, node, sim.elapsed());
        self.disks[node].restart(self.random.next());
        let folders = ["/node", "/node/log", CHUNKS].map(Path::new);
        self.disks[node].wipe(&folders).expect("a disk in memory that is on");
        self.older[node] = None;
        self.start(sim, node);
    }

    /// Returns true if the node is on and its disk has room, so that it has no reason to stop.
    pub(super) fn is_well(&self, node: usize) -> bool {
        self.power[node] == Power::On && self.full[node].is_none()
    }

    /// Notes that a node stopped by itself because its disk was full: it is started again when there is room.
    pub(super) fn stopped(&mut self, node: usize, now: Duration) {
        if let (Power::On, Some(back_at)) = (self.power[node], self.full[node]) {
            self.power[node] = Power::Failing { dead_at: now, back_at };
        }
    }

    /// Notes that a node has started.
    ///
    /// # Errors
    /// If it must not start.
    pub(super) fn started(&mut self, node: usize) -> Result<(), String> {
        match self.damaged[node].take() {
            Some(Damaged { damage, must_refuse: true, .. }) => {
                Err(format!("node {} started after {damage:?}", node + 1))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a node did not start or go on; returns true if its files were damaged. Then they are put
    /// back, and it is started again.
    ///
    /// # Errors
    /// If the node did not report what to do.
    pub(super) fn refused(
        &mut self,
        node: usize,
        why: &str,
        now: Duration,
    ) -> Result<bool, String> {
        let Some(Damaged { damage, .. }) = &self.damaged[node] else { return Ok(false) };
        if self.power[node] == Power::On {
            if self.full[node].is_none() && !why.contains("add a new node") {
                return Err(format!("after {damage:?} node {} says only: {why}", node + 1));
            }
            self.counts.refusals += u64::from(self.full[node].is_none());
            self.power[node] = Power::Failing { dead_at: now, back_at: now };
        }
        Ok(true)
    }

    /// Returns true if [`Storm::end`] was called.
    pub(super) fn is_over(&self) -> bool {
        self.calm
    }

    /// Applies and ends the faults that are due by now.
    pub(super) fn step(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        for node in 0..self.power.len() {
            match self.power[node] {
                Power::Failing { dead_at, back_at } if dead_at <= now => {
                    self.crash(sim, node, back_at);
                }
                Power::Off { back_at } if back_at <= now => self.start(sim, node),
                _ => {}
            }
        }
        for node in 0..self.full.len() {
            if self.full[node].is_some_and(|until| until <= now) {
                self.make_room(node);
            }
        }
        let before = self.links.len();
        self.links.retain(|(until, _)| *until > now);
        if self.links.len() < before {
            self.relink(sim);
        }
        if !self.calm && self.next_at <= now {
            if self.next_at > Duration::ZERO {
                self.strike(sim, now);
            }
            self.next_at = now + Duration::from_millis(self.random.between(50, 1_800));
        }
    }

    /// Ends all faults: everything is mended and switched on.
    pub(super) fn end(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.calm = true;
        self.links.clear();
        self.relink(sim);
        for node in 0..self.power.len() {
            self.make_room(node);
            self.planned[node] = None;
            // A node that has not yet noticed that its files are damaged gets them back, too.
            let is_damaged = self.power[node] == Power::On && self.damaged[node].is_some();
            if is_damaged || matches!(self.power[node], Power::Failing { .. }) {
                self.crash(sim, node, now);
            }
            if let Power::Off { .. } = self.power[node] {
                self.start(sim, node);
            }
        }
    }

    fn strike(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let (mut fault, mut lasts) = Fault::draw(&mut self.random, self.names.len());
        while self.spares_files_and_clocks && fault.is_of_files_or_clocks() {
            (fault, lasts) = Fault::draw(&mut self.random, self.names.len());
        }
        self.trace.note("storm", format_args!("{fault:?} for {} ms", lasts.as_millis()));
        self.counts.count(fault);
        match fault {
            Fault::Crash { node, changes } => self.fail(node, changes, now, lasts),
            Fault::CrashAll => {
                for node in 0..self.names.len() {
                    let later = Duration::from_millis(self.random.below(500));
                    if self.power[node] == Power::On {
                        self.crash(sim, node, now + lasts + later);
                    }
                }
            }
            Fault::Flip => {
                let (disk, seed) = (&self.disks[self.flipper], self.random.next());
                // A node that lost files may leave the only other copy of a chunk on this disk.
                let is_whole =
                    |node: usize| self.planned[node].is_none() && self.damaged[node].is_none();
                let flipped = (0..self.names.len()).all(is_whole)
                    && disk.flip_in_a_chunk(Path::new(CHUNKS), seed);
                self.counts.flips -= u64::from(!flipped);
            }
            Fault::Full { node, room } => {
                self.disks[node].leave_room(Some(room));
                self.full[node] = Some(now + lasts);
            }
            Fault::Clock { ahead_us } => self.bad_clock.set(ahead_us),
            Fault::Damage { node, damage } => {
                if self.power[node] == Power::On && self.damaged[node].is_none() {
                    self.crash(sim, node, now + lasts);
                }
                self.planned[node] = Some(damage);
                // The damage is counted when it is done.
                self.counts.damages -= 1;
            }
            Fault::Stall { node, apart } => {
                let mut others: Vec<usize> = self.others(node).collect();
                if self.random.chance(50) {
                    others.reverse();
                }
                for (nth, other) in (0..).zip(others) {
                    let link = Fault::Stalled(node, other);
                    self.links.push((now + lasts + nth * apart, link));
                }
                self.relink(sim);
            }
            link => {
                self.links.push((now + lasts, link));
                self.relink(sim);
            }
        }
    }

    fn make_room(&mut self, node: usize) {
        if self.full[node].take().is_some() {
            self.trace.note(&self.names[node], format_args!("has room again"));
            self.disks[node].leave_room(None);
        }
    }

    fn fail(&mut self, node: usize, changes: u64, now: Duration, lasts: Duration) {
        if self.power[node] == Power::On {
            self.disks[node].cut_after(changes);
            let dead_at = now + Duration::from_millis(self.random.between(1, 30));
            self.power[node] = Power::Failing { dead_at, back_at: dead_at + lasts };
        }
    }

    /// Crashes a node without a last word: disk and network are off before the program is dropped. (The order
    /// in which the parts of a program are dropped is not decided by the seed, and must not show.)
    fn crash(&mut self, sim: &mut Sim<'_>, node: usize, back_at: Duration) {
        self.trace.note(&self.names[node], format_args!("crashes"));
        self.disks[node].cut();
        let name = self.names[node].as_str();
        let others = self.others(node).map(|other| self.names[other].as_str());
        let others: Vec<&str> = others.chain(self.clients.iter().map(String::as_str)).collect();
        others.iter().for_each(|other| sim.partition(name, *other));
        sim.crash(name);
        others.iter().for_each(|other| sim.repair(name, *other));
        self.relink(sim);
        self.power[node] = Power::Off { back_at };
    }

    fn start(&mut self, sim: &mut Sim<'_>, node: usize) {
        self.trace.note(&self.names[node], format_args!("starts"));
        self.disks[node].restart(self.random.next());
        self.change_files(node).expect("a disk in memory that is on");
        sim.bounce(self.names[node].as_str());
        self.power[node] = Power::On;
    }

    /// Damages the files of a node that is off, puts damaged files back, or keeps a copy of them.
    fn change_files(&mut self, node: usize) -> io::Result<()> {
        let name = &self.names[node];
        if let Some(Damaged { truth, damage, .. }) = self.damaged[node].take() {
            self.trace.note(name, format_args!("gets its files back after {damage:?}"));
            self.disks[node].leave_room(None);
            truth.put_back(self.disks[node].memory())?;
        }
        let disk = self.disks[node].memory();
        if let Some(planned) = self.planned[node].take() {
            let damaged = damage::damage(disk, planned, self.older[node].as_ref())?;
            self.trace.note(name, format_args!("{planned:?}: {}", damaged.is_some()));
            self.counts.damages += u64::from(damaged.is_some());
            self.damaged[node] = damaged;
        } else if self.older[node].is_none() || self.random.chance(30) {
            self.older[node] = Some(Copy::of(disk)?);
        }
        Ok(())
    }

    /// Sets the links as the faults that still last demand.
    fn relink(&self, sim: &mut Sim<'_>) {
        for (one, name) in self.names.iter().enumerate() {
            for (two, other) in self.names.iter().enumerate().skip(one + 1) {
                let (name, other) = (name.as_str(), other.as_str());
                // Messages stay held until the last fault that holds them is over.
                if !self.links.iter().any(|(_, fault)| fault.holds(one, two)) {
                    sim.release(name, other);
                }
                sim.repair(name, other);
                sim.set_link_max_message_latency(name, other, LATENCY_MAX);
            }
        }
        let name = |node: usize| self.names[node].as_str();
        for (_, fault) in &self.links {
            match *fault {
                Fault::Partition(one, other) => sim.partition(name(one), name(other)),
                Fault::OneWay(from, to) => sim.partition_oneway(name(from), name(to)),
                Fault::Delay(one, other, time) => {
                    sim.set_link_max_message_latency(name(one), name(other), time);
                }
                Fault::Isolate(node) => {
                    self.others(node).for_each(|other| sim.partition(name(node), name(other)));
                }
                Fault::Hold(node) => {
                    self.others(node).for_each(|other| sim.hold(name(node), name(other)));
                }
                Fault::Stalled(one, other) => sim.hold(name(one), name(other)),
                Fault::Crash { .. }
                | Fault::CrashAll
                | Fault::Stall { .. }
                | Fault::Flip
                | Fault::Full { .. }
                | Fault::Clock { .. }
                | Fault::Damage { .. } => {}
            }
        }
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> {
        (0..self.names.len()).filter(move |other| *other != node)
    }
}
