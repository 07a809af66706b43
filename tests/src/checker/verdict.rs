//! The verdict on a history: how much of each kind was judged.

/// The sums over a history that was judged; a harness looks here for runs that prove nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The number of events in the log.
    pub events: u64,
    /// Appends that were acknowledged.
    pub acknowledged: u64,
    /// Appends that were rejected because of an expectation.
    pub conflicts: u64,
    /// Appends without an answer that are in the log.
    pub resolved_present: u64,
    /// Appends without an answer that are not in the log.
    pub resolved_absent: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Appends with conditions that were acknowledged.
    pub conditional: u64,
    /// Appends that were rejected because of a condition.
    pub violations: u64,
    /// Deletes and tombstones that were acknowledged.
    pub ends: u64,
    /// Changes of settings that were acknowledged.
    pub settings: u64,
    /// Events that were removed.
    pub removed: u64,
    /// Aggregate snapshots that were stored.
    pub snapshots: u64,
    /// Reads that began with an aggregate snapshot.
    pub snapshot_reads: u64,
    /// Events that subscriptions handed out.
    pub followed: u64,
    /// Positions that subscriptions reported.
    pub marks: u64,
    /// The number of times that a subscription that had caught up fell behind.
    pub fell_behind: u64,
    /// Events that were given to consumers.
    pub deliveries: u64,
    /// Deliveries of events that had been delivered before.
    pub redeliveries: u64,
    /// Events that are parked at the end.
    pub parked: u64,
}

impl std::ops::AddAssign for Verdict {
    fn add_assign(&mut self, other: Verdict) {
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        self.conflicts += other.conflicts;
        self.resolved_present += other.resolved_present;
        self.resolved_absent += other.resolved_absent;
        self.reads += other.reads;
        self.conditional += other.conditional;
        self.violations += other.violations;
        self.ends += other.ends;
        self.settings += other.settings;
        self.removed += other.removed;
        self.snapshots += other.snapshots;
        self.snapshot_reads += other.snapshot_reads;
        self.followed += other.followed;
        self.marks += other.marks;
        self.fell_behind += other.fell_behind;
        self.deliveries += other.deliveries;
        self.redeliveries += other.redeliveries;
        self.parked += other.parked;
    }
}
