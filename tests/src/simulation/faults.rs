//! The faults of a run, and their times: drawn from the seed, so that every run is different.

use std::time::Duration;

use super::damage::Damage;
use crate::random::Random;

/// The bytes of room on a full disk: from none at all to enough for a few more writes.
const ROOMS: [u64; 4] = [0, 100 * 1024, 220 * 1024, 400 * 1024];

const SECOND_US: i64 = 1_000_000;
pub(super) const YEAR_US: i64 = 365 * 24 * 3600 * SECOND_US;
/// The offsets that a wrong clock is set to, in microseconds.
const SKEWS: [i64; 6] =
    [10 * SECOND_US, 3600 * SECOND_US, YEAR_US, -10 * SECOND_US, -3600 * SECOND_US, -YEAR_US];

/// A fault that lasts for a while. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power of one node is cut, after at most `changes` more changes to its disk.
    Crash {
        /// The node.
        node: usize,
        /// The number of changes that are still made.
        changes: u64,
    },
    /// The power of all nodes is cut at once.
    CrashAll,
    /// No message passes between two nodes.
    Partition(usize, usize),
    /// No message passes between a node and the others.
    Isolate(usize),
    /// No message passes from the first node to the second; in the other direction all pass.
    OneWay(usize, usize),
    /// No message passes between a node and the others; at the end all of them arrive at once.
    Hold(usize),
    /// The links between a node and the others stall; then, link after link, all messages arrive at once.
    Stall {
        /// The node.
        node: usize,
        /// The time that each link stalls longer than the one before.
        apart: Duration,
    },
    /// A stalled link: all messages between two nodes arrive at the end of the fault.
    Stalled(usize, usize),
    /// Messages between two nodes take up to this time.
    Delay(usize, usize, Duration),
    /// A bit flips in a sealed chunk of the node whose disk is bad.
    Flip,
    /// The disk of a node has room for `room` more bytes.
    Full {
        /// The node.
        node: usize,
        /// The number of bytes.
        room: u64,
    },
    /// The clock of the node whose clock is bad is set to `ahead_us` microseconds ahead of the true time.
    Clock {
        /// The number of microseconds.
        ahead_us: i64,
    },
    /// A node is switched off, and its files are damaged before it is switched on.
    Damage {
        /// The node.
        node: usize,
        /// The damage to its files.
        damage: Damage,
    },
}

/// The number of faults of each kind that took place.
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
    /// Flipped bits.
    pub flips: u64,
    /// Disks without room.
    pub full_disks: u64,
    /// Clocks that were set wrong.
    pub clocks: u64,
    /// Nodes whose files were damaged while they were off.
    pub damages: u64,
    /// Nodes that refused to start with damaged files.
    pub refusals: u64,
}

impl Counts {
    /// The number of all faults.
    pub fn total(&self) -> u64 {
        let Counts { crashes, power_cuts, partitions, delays, .. } = self;
        let Counts { flips, full_disks, clocks, damages, refusals: _, .. } = self;
        crashes + power_cuts + partitions + delays + flips + full_disks + clocks + damages
    }

    /// Counts one more fault.
    pub fn count(&mut self, fault: Fault) {
        let of_its_kind = match fault {
            Fault::Crash { .. } => &mut self.crashes,
            Fault::CrashAll => &mut self.power_cuts,
            Fault::Partition(..) | Fault::Isolate(_) | Fault::OneWay(..) => &mut self.partitions,
            Fault::Hold(_) | Fault::Stall { .. } | Fault::Stalled(..) | Fault::Delay(..) => {
                &mut self.delays
            }
            Fault::Flip => &mut self.flips,
            Fault::Full { .. } => &mut self.full_disks,
            Fault::Clock { .. } => &mut self.clocks,
            Fault::Damage { .. } => &mut self.damages,
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
        self.flips += other.flips;
        self.full_disks += other.full_disks;
        self.clocks += other.clocks;
        self.damages += other.damages;
        self.refusals += other.refusals;
    }
}

impl Fault {
    /// Returns true if messages between two nodes are held back while this fault lasts.
    pub fn holds(self, one: usize, two: usize) -> bool {
        match self {
            Fault::Hold(node) => node == one || node == two,
            Fault::Stalled(node, other) => [(one, two), (two, one)].contains(&(node, other)),
            _ => false,
        }
    }

    /// Returns true if the fault damages files or sets a clock wrong.
    pub fn is_of_files_or_clocks(self) -> bool {
        matches!(self, Fault::Flip | Fault::Damage { .. } | Fault::Clock { .. })
    }

    /// Draws the next fault of a run over `nodes` nodes, and the time that it lasts.
    pub fn draw(random: &mut Random, nodes: usize) -> (Fault, Duration) {
        let node = random.below(nodes as u64) as usize;
        let other = (node + random.between(1, nodes as u64 - 1) as usize) % nodes;
        let fault = match random.below(163) {
            0..35 => Fault::Crash { node, changes: random.below(12) },
            35..47 => Fault::CrashAll,
            47..60 => Fault::Partition(node, other),
            60..73 => Fault::Isolate(node),
            73..83 => Fault::OneWay(node, other),
            83..92 => Fault::Hold(node),
            92..100 => Fault::Delay(node, other, Duration::from_millis(random.between(20, 400))),
            100..109 => Fault::Flip,
            109..129 => {
                let apart = Duration::from_millis(random.between(1, 12));
                // Longer than a lease, and shorter than the time that ends connections.
                let lasts = Duration::from_millis(random.between(500, 1_900));
                return (Fault::Stall { node, apart }, lasts);
            }
            129..135 => Fault::Full { node, room: *random.pick(&ROOMS) },
            135..145 => Fault::Clock { ahead_us: *random.pick(&SKEWS) },
            _ => Fault::Damage { node, damage: Damage::draw(random) },
        };
        // Some faults are over before anybody noticed, some outlast every deadline.
        let ms = match random.below(10) {
            0..4 => random.between(5, 300),
            4..9 => random.between(300, 2_500),
            _ => random.between(2_500, 8_000),
        };
        (fault, Duration::from_millis(ms))
    }
}
