//! What goes wrong in a run, and when: drawn from the seed, so that every run has its own story.

use std::time::Duration;

use crate::random::Random;

/// Something that goes wrong, for a while. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power of one node goes, after so many more changes to its disk at most.
    Crash {
        /// Which node.
        node: usize,
        /// How many changes are still made.
        changes: u64,
    },
    /// The power of all nodes goes at once.
    CrashAll,
    /// No message passes between two nodes.
    Partition(usize, usize),
    /// No message passes between a node and the others.
    Isolate(usize),
    /// No message passes from the first node to the second; the other way all do.
    OneWay(usize, usize),
    /// A node neither sends nor receives to and from the others, and then everything arrives at once.
    Hold(usize),
    /// Messages between two nodes take so long.
    Delay(usize, usize, Duration),
}

/// How often each kind of fault took place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Crashes of single nodes.
    pub crashes: u64,
    /// Power cuts of all nodes.
    pub power_cuts: u64,
    /// Partitions of any kind.
    pub partitions: u64,
    /// Held and delayed links.
    pub delays: u64,
}

impl Counts {
    /// All faults together.
    pub fn total(&self) -> u64 {
        self.crashes + self.power_cuts + self.partitions + self.delays
    }

    /// Counts one more.
    pub fn count(&mut self, fault: Fault) {
        let of_its_kind = match fault {
            Fault::Crash { .. } => &mut self.crashes,
            Fault::CrashAll => &mut self.power_cuts,
            Fault::Partition(..) | Fault::Isolate(_) | Fault::OneWay(..) => &mut self.partitions,
            Fault::Hold(_) | Fault::Delay(..) => &mut self.delays,
        };
        *of_its_kind += 1;
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.partitions += other.partitions;
        self.delays += other.delays;
    }
}

impl Fault {
    /// The next fault of a run over `nodes` nodes, and how long it lasts.
    pub fn draw(random: &mut Random, nodes: usize) -> (Fault, Duration) {
        let node = random.below(nodes as u64) as usize;
        let other = (node + random.between(1, nodes as u64 - 1) as usize) % nodes;
        let fault = match random.below(100) {
            0..35 => Fault::Crash { node, changes: random.below(12) },
            35..47 => Fault::CrashAll,
            47..60 => Fault::Partition(node, other),
            60..73 => Fault::Isolate(node),
            73..83 => Fault::OneWay(node, other),
            83..92 => Fault::Hold(node),
            _ => Fault::Delay(node, other, Duration::from_millis(random.between(20, 400))),
        };
        // Some are over before anybody noticed, some outlast every deadline.
        let ms = match random.below(10) {
            0..4 => random.between(5, 300),
            4..9 => random.between(300, 2_500),
            _ => random.between(2_500, 8_000),
        };
        (fault, Duration::from_millis(ms))
    }
}
