//! The jobs of several instances at once, and those of each instance in order.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// The number of jobs, for each lane, that are taken in before they can begin.
const TAKEN_IN_PER_LANE: usize = 16;

/// The jobs of a manager that are not done yet.
///
/// Invariants:
/// - An instance has one job under way at most; its others wait, in the order in which they came.
/// - At most `width` jobs are under way.
/// - `open` holds the positions of the events whose jobs are not done: everything before the first of them is handled.
#[derive(Debug)]
pub(crate) struct InstanceQueues<J> {
    width: usize,
    under_way: usize,
    /// The waiting jobs of each instance that has a job under way or stands in line.
    waiting: HashMap<String, VecDeque<(Option<u64>, J)>>,
    /// The instances that have waiting jobs and none under way.
    in_line: VecDeque<String>,
    open: BTreeSet<u64>,
    /// The position up to which everything was taken in.
    through: u64,
}

/// A job that begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Begun<J> {
    pub(crate) instance: String,
    /// The position of the event; `None` for a due time.
    pub(crate) position: Option<u64>,
    pub(crate) job: J,
}

impl<J> InstanceQueues<J> {
    /// Makes empty lanes of a manager that has handled everything up to a position.
    pub(crate) fn new(width: usize, handled: u64) -> InstanceQueues<J> {
        InstanceQueues {
            width: width.max(1),
            under_way: 0,
            waiting: HashMap::new(),
            in_line: VecDeque::new(),
            open: BTreeSet::new(),
            through: handled,
        }
    }

    /// Takes in a job.
    pub(crate) fn enter(&mut self, instance: String, position: Option<u64>, job: J) {
        if let Some(position) = position {
            self.open.insert(position);
            self.pass(position);
        }
        let is_new = !self.waiting.contains_key(&instance);
        if is_new {
            self.in_line.push_back(instance.clone());
        }
        self.waiting.entry(instance).or_default().push_back((position, job));
    }

    /// Notes that everything up to a position was taken in.
    pub(crate) fn pass(&mut self, position: u64) {
        self.through = self.through.max(position);
    }

    /// Returns the next job that can begin, which is under way from now on.
    pub(crate) fn begin(&mut self) -> Option<Begun<J>> {
        if self.under_way >= self.width {
            return None;
        }
        let instance = self.in_line.pop_front()?;
        let (position, job) = self.waiting.get_mut(&instance)?.pop_front()?;
        self.under_way += 1;
        Some(Begun { instance, position, job })
    }

    /// Notes that a job is done.
    pub(crate) fn end(&mut self, instance: String, position: Option<u64>) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(position) = position {
            self.open.remove(&position);
        }
        if self.waiting.get(&instance).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&instance);
        } else {
            self.in_line.push_back(instance);
        }
    }

    /// Returns true if another job should be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < self.width.saturating_mul(TAKEN_IN_PER_LANE)
    }

    /// Returns the position up to which everything was taken in.
    pub(crate) fn taken_in(&self) -> u64 {
        self.through
    }

    /// Returns the position up to which everything is handled.
    pub(crate) fn handled(&self) -> u64 {
        self.open.first().map_or(self.through, |first| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(lanes: &mut InstanceQueues<()>) -> Option<(String, u64)> {
        lanes.begin().map(|begun| (begun.instance, begun.position.unwrap_or_default()))
    }

    fn job(instance: &str, position: u64) -> Option<(String, u64)> {
        Some((instance.to_owned(), position))
    }

    #[test]
    fn instances_go_side_by_side_and_each_in_order() {
        let mut lanes = InstanceQueues::new(2, 10);
        for (instance, position) in [("a", 11), ("a", 12), ("b", 13), ("c", 14)] {
            lanes.enter(instance.to_owned(), Some(position), ());
        }
        assert_eq!(begin(&mut lanes), job("a", 11));
        assert_eq!(begin(&mut lanes), job("b", 13));
        assert_eq!(begin(&mut lanes), None, "both lanes are taken");
        lanes.end("b".to_owned(), Some(13));
        assert_eq!(begin(&mut lanes), job("c", 14));
        lanes.end("c".to_owned(), Some(14));
        assert_eq!(begin(&mut lanes), None, "the next one of the first instance waits for it");
        lanes.end("a".to_owned(), Some(11));
        assert_eq!(begin(&mut lanes), job("a", 12));
        lanes.end("a".to_owned(), Some(12));
        assert!(lanes.waiting.is_empty() && lanes.in_line.is_empty() && lanes.open.is_empty());
    }

    #[test]
    fn everything_before_the_first_open_job_is_handled() {
        let mut lanes = InstanceQueues::new(4, 10);
        lanes.enter("a".to_owned(), Some(12), ());
        lanes.enter("b".to_owned(), Some(15), ());
        lanes.pass(20);
        assert_eq!((lanes.handled(), lanes.taken_in()), (11, 20));
        while lanes.begin().is_some() {}
        lanes.end("b".to_owned(), Some(15));
        assert_eq!(lanes.handled(), 11, "a later job that is done first changes nothing");
        lanes.end("a".to_owned(), Some(12));
        assert_eq!(lanes.handled(), 20);
    }

    #[test]
    fn no_more_is_taken_in_than_there_is_room_for() {
        let mut lanes = InstanceQueues::new(1, 0);
        for position in 1..=16 {
            assert!(lanes.has_room());
            lanes.enter("a".to_owned(), Some(position), ());
        }
        assert!(!lanes.has_room());
        lanes.begin();
        lanes.end("a".to_owned(), Some(1));
        assert!(lanes.has_room());
    }
}
