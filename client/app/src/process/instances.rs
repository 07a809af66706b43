//! The instances of a manager: as many of the newest records as fit the cache, and all due times.

use std::num::NonZeroUsize;

use lru::LruCache;
use quorate_client::{RecordedEvent, Timestamp};

use crate::process::decide::stream_of;
use crate::process::due::DueTimes;
use crate::process::error::ProcessError;
use crate::process::log::{Log, Newest};
use crate::process::record::{Known, PARKED, REACTED, is_record};

/// The instances of a manager.
///
/// Invariants:
/// - The state of an instance that is cached is never replaced by something older.
/// - `seen` is the position of the newest record that was seen, so that no read returns less than that; after
///   a conflict, which proves that there is a newer record, the next read is linearizable.
#[derive(Debug)]
pub(crate) struct Instances {
    manager: String,
    cached: LruCache<String, Known>,
    due: DueTimes,
    seen: u64,
    had_conflict: bool,
}

impl Instances {
    pub(crate) fn new(manager: &str, cached_max: NonZeroUsize) -> Instances {
        Instances {
            manager: manager.to_owned(),
            cached: LruCache::new(cached_max),
            due: DueTimes::default(),
            seen: 0,
            had_conflict: false,
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
        self.had_conflict = true;
    }

    /// Marks an instance as over, because its stream was closed by a tombstone.
    pub(crate) fn close(&mut self, instance: &str) {
        let version = self.cached.peek(instance).map_or(0, |cached| cached.version);
        self.observe(instance, Known { version, is_closed: true, ..Known::default() });
    }

    /// Returns the state of an instance, as of `handled` at least.
    pub(crate) async fn known<L: Log>(
        &mut self,
        log: &L,
        instance: &str,
        handled: u64,
    ) -> Result<&Known, ProcessError> {
        if !self.cached.contains(instance) {
            let stream = stream_of(&self.manager, instance);
            let seen = if self.had_conflict { 0 } else { self.seen.max(handled) };
            let Newest { version, event } = log.newest(&stream, &[REACTED, PARKED], seen).await?;
            let known = Known::of(version, event.as_ref())?;
            self.had_conflict = false;
            self.observe(instance, known);
        }
        Ok(self.cached.get(instance).expect("it was put there"))
    }

    pub(crate) fn due(&self) -> &DueTimes {
        &self.due
    }

    /// Returns the next time at which something is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.next()
    }
}
