//! The cache of hot aggregates: bounded, and never believed by itself.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use quorate_client::StreamName;
use tokio::sync::Mutex as AsyncMutex;

use super::aggregate::Aggregate;

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
}

opaque_debug!(Cache<S>);

impl<S> Cache<S> {
    /// Makes a cache of so many aggregates; 0 = none.
    pub(crate) fn new(aggregates: usize) -> Cache<S> {
        let places = NonZeroUsize::new(aggregates).map(|size| Mutex::new(LruCache::new(size)));
        Cache { places }
    }

    /// Returns the place of an aggregate; `None` if nothing is cached.
    pub(crate) fn place(&self, stream: &StreamName) -> Option<Place<S>> {
        let mut places = self.places.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(places.get_or_insert_ref(stream, Place::default)))
    }
}
