//! The instances of a manager: as many of the newest records as fit the cache, and all due times.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use lru::LruCache;
use quorate_client::{RecordedEvent, Timestamp};

use crate::process::due::DueTimes;
use crate::process::error::ProcessError;
use crate::process::record::{Known, is_record};

/// The instances of a manager.
///
/// Invariants:
/// - The state of an instance that is cached is never replaced by something older.
/// - `seen` is the position of the newest record that was seen, so that no read returns less than that; after
///   a conflict, which proves that there is a newer record, the next read of the instance is linearizable.
#[derive(Debug)]
pub(crate) struct Instances {
    cached: LruCache<String, Known>,
    due: DueTimes,
    seen: u64,
    /// The instances that had a conflict, and were not read since.
    had_conflict: HashSet<String>,
}

impl Instances {
    pub(crate) fn new(cached_max: NonZeroUsize) -> Instances {
        Instances {
            cached: LruCache::new(cached_max),
            due: DueTimes::default(),
            seen: 0,
            had_conflict: HashSet::new(),
        }
    }

    /// Takes over an event of an instance's own stream.
    pub(crate) fn take_in(
        &mut self,
        instance: &str,
        event: &RecordedEvent,
    ) -> Result<(), ProcessError> {
        self.seen = self.seen.max(event.position.0);
        if is_record(event) {
            let known = Known::of(event.version.0, Some(event));
            self.observe(instance, known?);
        } else if self.cached.peek(instance).is_some_and(|cached| cached.version < event.version.0)
        {
            // Somebody else wrote into the stream: its state must be read again.
            tracing::warn!(stream = %event.stream, version = event.version.0, "a foreign event");
            self.cached.pop(instance);
        }
        Ok(())
    }

    /// Caches the state of an instance, unless a newer one is cached.
    pub(crate) fn observe(&mut self, instance: &str, known: Known) {
        if self.cached.peek(instance).is_some_and(|cached| cached.version > known.version) {
            return;
        }
        self.seen = self.seen.max(known.position);
        self.due.observe(instance, &known);
        self.cached.put(instance.to_owned(), known);
    }

    /// Discards the state of an instance after a conflict: it is read again when it is needed next.
    pub(crate) fn forget(&mut self, instance: &str) {
        self.cached.pop(instance);
        self.had_conflict.insert(instance.to_owned());
    }

    /// Marks an instance as over, because its stream was closed by a tombstone.
    pub(crate) fn close(&mut self, instance: &str) {
        let version = self.cached.peek(instance).map_or(0, |cached| cached.version);
        self.observe(instance, Known { version, is_closed: true, ..Known::default() });
    }

    /// Returns the state of an instance, if it is cached.
    pub(crate) fn cached(&mut self, instance: &str) -> Option<&Known> {
        self.cached.get(instance)
    }

    /// Returns the position as of which an instance that is not cached must be read at least; 0 = linearizable.
    pub(crate) fn at_least(&self, instance: &str, handled: u64) -> u64 {
        match self.had_conflict.contains(instance) {
            true => 0,
            false => self.seen.max(handled),
        }
    }

    /// Caches the state of an instance as it was read, and returns the newest one, which may have come meanwhile.
    pub(crate) fn has_read(&mut self, instance: &str, known: Known) -> &Known {
        self.had_conflict.remove(instance);
        self.observe(instance, known);
        self.cached.get(instance).expect("it was put there")
    }

    pub(crate) fn due(&self) -> &DueTimes {
        &self.due
    }

    /// Returns the next time at which something is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.next()
    }
}
