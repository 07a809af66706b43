//! All outstanding due times, in the order of their times.

use std::collections::{BTreeSet, HashMap};

use quorate_client::Timestamp;

use crate::process::record::Known;

/// The outstanding due times of all instances.
///
/// Invariants:
/// - An instance is in `instances` exactly if due times are outstanding in its newest record that was seen;
///   `by_time` holds the same due times.
/// - A record older than the newest one seen changes nothing.
#[derive(Debug, Default)]
pub(crate) struct DueTimes {
    by_time: BTreeSet<(Timestamp, String, String)>,
    instances: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    version: u64,
    position: u64,
    due: Vec<(Timestamp, String)>,
}

impl DueTimes {
    /// Takes over the due times of an instance's newest record.
    pub(crate) fn observe(&mut self, instance: &str, known: &Known) {
        if self.instances.get(instance).is_some_and(|seen| seen.version > known.version) {
            return;
        }
        if let Some(seen) = self.instances.remove(instance) {
            for (time, key) in seen.due {
                self.by_time.remove(&(time, instance.to_owned(), key));
            }
        }
        let due: Vec<_> = known.outstanding().map(|(key, it)| (it.at.0, key.clone())).collect();
        if due.is_empty() {
            return;
        }
        for (time, key) in &due {
            self.by_time.insert((*time, instance.to_owned(), key.clone()));
        }
        let seen = Seen { version: known.version, position: known.position, due };
        self.instances.insert(instance.to_owned(), seen);
    }

    /// Returns the next time at which something is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(time, ..)| *time)
    }

    /// Returns the instances and the keys of what is due at `now`, so many at most, the oldest first.
    pub(crate) fn all_by(&self, now: Timestamp, limit: usize) -> Vec<(String, String)> {
        let due = self.by_time.iter().take_while(|(time, ..)| *time <= now).take(limit);
        due.map(|(_, instance, key)| (instance.clone(), key.clone())).collect()
    }

    /// Returns the instance and the key of the oldest due time, if it is due at `now`.
    pub(crate) fn due_by(&self, now: Timestamp) -> Option<(String, String)> {
        let (time, instance, key) = self.by_time.first()?;
        (*time <= now).then(|| (instance.clone(), key.clone()))
    }

    /// Returns the position of the oldest record with outstanding due times: reading from there finds all of them.
    pub(crate) fn oldest_position(&self) -> Option<u64> {
        self.instances.values().map(|seen| seen.position).min()
    }
}
