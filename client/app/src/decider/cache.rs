//! The cache of hot aggregates: bounded, and never believed by itself.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use quorate_client::{StreamName, Version};
use tokio::sync::Mutex as AsyncMutex;

use super::aggregate::Aggregate;

/// The number of streams whose changes are remembered: most streams have none.
const CONTROLS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// One aggregate's place. It is empty while nothing is known, also after a command that was given up in the middle.
///
/// The commands of one process on one aggregate take turns at it, so that they do not conflict with each other.
pub(crate) type Place<S> = Arc<AsyncMutex<Option<Aggregate<S>>>>;

/// The aggregates that were used last, so many at most.
///
/// An aggregate here may be behind its stream: another process writes too. A decision on it is appended at exactly its
/// version, so the store finds that out; and what is decided without an append, a refusal for example, is decided again
/// after the stream was read.
pub(crate) struct Cache<S> {
    places: Option<Mutex<LruCache<StreamName, Place<S>>>>,
    /// The versions of control streams, where there is a change; the store finds out if one is old.
    controls: Mutex<LruCache<StreamName, Version>>,
}

opaque_debug!(Cache<S>);

impl<S> Cache<S> {
    /// Makes a cache of so many aggregates; 0 = none.
    pub(crate) fn new(aggregates: usize) -> Cache<S> {
        let places = NonZeroUsize::new(aggregates).map(|size| Mutex::new(LruCache::new(size)));
        Cache { places, controls: Mutex::new(LruCache::new(CONTROLS_MAX)) }
    }

    /// Returns the version of a stream's control stream, as far as it is known.
    pub(crate) fn control(&self, stream: &StreamName) -> Version {
        let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        controls.get(stream).copied().unwrap_or_default()
    }

    /// Notes the version of a stream's control stream.
    pub(crate) fn note_control(&self, stream: &StreamName, version: Version) {
        let mut controls = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        controls.put(stream.clone(), version);
    }

    /// Returns the place of an aggregate; `None` if nothing is cached.
    pub(crate) fn place(&self, stream: &StreamName) -> Option<Place<S>> {
        let mut places = self.places.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(places.get_or_insert_ref(stream, Place::default)))
    }
}
