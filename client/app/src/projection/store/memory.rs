//! Read models in memory: for tests, and for small views that are quickly made again.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::{Claim, Creation, Parked, Record, Side, Slot, Step, Store, StoreError, Swap};

/// Read models in memory, each a value of `T` and lost with the process. A transaction works on a clone of `T`:
/// keep large parts of it in an `Arc`, or in another store.
///
/// A handler sees a [`MemoryModel`]; others read [`state`](Memory::state). Clones share everything.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use quorate_app::projection::{Handlers, Memory, MemoryModel, Projection, Script};
/// # use quorate_client::{Event, Query};
/// # let counts = Handlers::<MemoryModel<u64>>::new().on("OrderPlaced", |count, _, _: u64| {
/// #     Box::pin(async move {
/// #         **count += 1;
/// #         Ok(())
/// #     })
/// # });
/// # let script = Script::new();
/// # let last = script.append("order-1", Event::json("OrderPlaced", &50)?);
/// let store = Memory::<u64>::new();
/// let running = Projection::new("counts", Query::category("order"), store.clone(), counts).start(script);
/// running.reached(last, std::time::Duration::from_secs(5)).await?;
/// assert_eq!(store.state("counts").as_deref(), Some(&1));
/// # Ok(()) }
/// ```
pub struct Memory<T> {
    /// The lock of transactions, of which one runs at a time: two copies could not be merged.
    turn: Arc<tokio::sync::Mutex<()>>,
    inner: Arc<Mutex<Inner<T>>>,
}

opaque_debug!(Memory<T>);

struct Inner<T> {
    began: Instant,
    places: HashMap<Slot, Place<T>>,
}

struct Place<T> {
    state: Arc<T>,
    record: Record,
    owner: Option<String>,
    /// The end of the lease, in milliseconds after `began`.
    leased_until: i64,
    parked: BTreeMap<u64, Parked>,
}

impl<T> Clone for Memory<T> {
    fn clone(&self) -> Memory<T> {
        Memory { turn: Arc::clone(&self.turn), inner: Arc::clone(&self.inner) }
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Memory<T> {
        let inner = Inner { began: Instant::now(), places: HashMap::new() };
        Memory { turn: Arc::default(), inner: Arc::new(Mutex::new(inner)) }
    }
}

impl<T> Memory<T> {
    /// Makes a store without any model.
    pub fn new() -> Memory<T> {
        Memory::default()
    }

    /// Returns the live model of a projection as it is now; `None` before it was set up.
    pub fn state(&self, projection: &str) -> Option<Arc<T>> {
        let slot = Slot { projection: projection.to_owned(), side: Side::Live };
        self.lock().places.get(&slot).map(|place| Arc::clone(&place.state))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model in memory within a transaction: it is used like the `T` in it.
///
/// ```
/// use std::collections::HashMap;
/// use quorate_app::projection::{HandlerError, MemoryModel};
/// use quorate_client::RecordedEvent;
///
/// /// Notes the total of each order.
/// fn note(totals: &mut MemoryModel<HashMap<String, u64>>, event: &RecordedEvent) -> Result<(), HandlerError> {
///     totals.insert(event.stream.to_string(), event.json()?);
///     Ok(())
/// }
/// # let _ = note;
/// ```
pub struct MemoryModel<T> {
    state: T,
    slot: Slot,
    commit: Commit,
    parked: Vec<Parked>,
    _turn: OwnedMutexGuard<()>,
}

opaque_debug!(MemoryModel<T>);

enum Commit {
    Create(Place<()>),
    Step { owner: String, partition: u32, from: u64, to: u64 },
    Unpark { generation: u64, position: u64 },
}

impl<T> MemoryModel<T> {
    /// Makes a model that belongs to no store, for a test of a handler; it is never committed.
    pub(crate) fn detached(state: T) -> MemoryModel<T> {
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let slot = Slot { projection: String::new(), side: Side::Live };
        let commit = Commit::Unpark { generation: 0, position: 0 };
        let turn = turn.try_lock_owned().expect("nobody else knows of it");
        MemoryModel { state, slot, commit, parked: Vec::new(), _turn: turn }
    }
}

impl<T> Deref for MemoryModel<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for MemoryModel<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T> Inner<T> {
    fn now(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn until(&self, lease: Duration) -> i64 {
        self.now().saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX))
    }

    fn own(&mut self, slot: &Slot, owner: &str) -> Option<&mut Place<T>> {
        self.places.get_mut(slot).filter(|place| place.owner.as_deref() == Some(owner))
    }
}

impl<T: Clone + Default + Send + Sync + 'static> Memory<T> {
    async fn begin_with(
        &self,
        slot: &Slot,
        commit: Commit,
        is_right: impl FnOnce(&Place<T>) -> bool,
    ) -> Result<MemoryModel<T>, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let state = self
            .lock()
            .places
            .get(slot)
            .filter(|place| is_right(place))
            .map(|place| Arc::clone(&place.state));
        let state = T::clone(state.ok_or(StoreError::Moved)?.as_ref());
        Ok(MemoryModel { state, slot: slot.clone(), commit, parked: Vec::new(), _turn: turn })
    }
}

impl<T: Clone + Default + Send + Sync + 'static> Store for Memory<T> {
    type Model = MemoryModel<T>;

    async fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn record(&self, slot: &Slot) -> Result<Option<Record>, StoreError> {
        Ok(self.lock().places.get(slot).map(|place| place.record.clone()))
    }

    async fn create(&self, creation: &Creation<'_>) -> Result<MemoryModel<T>, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let inner = self.lock();
        if inner.places.contains_key(creation.slot) {
            return Err(StoreError::Moved);
        }
        let record = Record {
            definition: creation.definition.to_owned(),
            partitioning: creation.partitioning.to_owned(),
            generation: creation.generation,
            bookmarks: vec![creation.after; creation.partitions as usize],
        };
        let place = Place {
            state: Arc::new(()),
            record,
            owner: Some(creation.owner.to_owned()),
            leased_until: inner.until(creation.lease),
            parked: BTreeMap::new(),
        };
        let (slot, commit) = (creation.slot.clone(), Commit::Create(place));
        Ok(MemoryModel { state: T::default(), slot, commit, parked: Vec::new(), _turn: turn })
    }

    async fn claim(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        let _turn = self.turn.lock().await;
        let mut inner = self.lock();
        let (now, until) = (inner.now(), inner.until(lease));
        let Some(place) = inner.places.get_mut(slot) else { return Ok(Claim::Missing) };
        match &place.owner {
            Some(other) if other != owner && place.leased_until > now => {
                Ok(Claim::Held { owner: other.clone(), until: place.leased_until })
            }
            _ => {
                (place.owner, place.leased_until) = (Some(owner.to_owned()), until);
                Ok(Claim::Owned(place.record.clone()))
            }
        }
    }

    async fn renew(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let mut inner = self.lock();
        let until = inner.until(lease);
        let own = inner.own(slot, owner);
        Ok(own.map(|place| place.leased_until = until).is_some())
    }

    async fn release(&self, slot: &Slot, owner: &str) -> Result<(), StoreError> {
        if let Some(place) = self.lock().own(slot, owner) {
            place.owner = None;
        }
        Ok(())
    }

    async fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> Result<Option<u64>, StoreError> {
        let mut inner = self.lock();
        let place = inner.own(slot, owner);
        Ok(place.and_then(|place| place.record.bookmarks.get(partition as usize).copied()))
    }

    async fn repartition(
        &self,
        slot: &Slot,
        owner: &str,
        partitioning: &str,
        partitions: u32,
        position: u64,
    ) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let place = inner.own(slot, owner).ok_or(StoreError::Moved)?;
        if place.record.bookmarks.iter().any(|bookmark| *bookmark != position) {
            return Err(StoreError::Moved);
        }
        place.record.partitioning = partitioning.to_owned();
        place.record.bookmarks = vec![position; partitions as usize];
        Ok(())
    }

    async fn begin(&self, step: &Step<'_>) -> Result<MemoryModel<T>, StoreError> {
        let Step { slot, generation, partition, owner, from, to } = *step;
        let commit = Commit::Step { owner: owner.to_owned(), partition, from, to };
        self.begin_with(slot, commit, |place| {
            place.owner.as_deref() == Some(owner)
                && place.record.generation == generation
                && place.record.bookmarks.get(partition as usize) == Some(&from)
        })
        .await
    }

    async fn park(&self, model: &mut MemoryModel<T>, parked: &Parked) -> Result<(), StoreError> {
        model.parked.push(parked.clone());
        Ok(())
    }

    async fn unpark(
        &self,
        slot: &Slot,
        generation: u64,
        position: u64,
    ) -> Result<MemoryModel<T>, StoreError> {
        self.begin_with(slot, Commit::Unpark { generation, position }, |place| {
            place.record.generation == generation && place.parked.contains_key(&position)
        })
        .await
    }

    async fn commit(&self, model: MemoryModel<T>) -> Result<(), StoreError> {
        let MemoryModel { state, slot, commit, parked, _turn } = model;
        let mut inner = self.lock();
        if let Commit::Create(Place { record, owner, leased_until, .. }) = commit {
            let parked = BTreeMap::new();
            let place = Place { state: Arc::new(state), record, owner, leased_until, parked };
            inner.places.insert(slot, place);
            return Ok(());
        }
        let place = inner.places.get_mut(&slot).ok_or(StoreError::Moved)?;
        match commit {
            Commit::Step { owner, partition, from, to } => {
                let is_own = place.owner.as_deref() == Some(&owner);
                let bookmark = place.record.bookmarks.get_mut(partition as usize);
                let bookmark = bookmark.filter(|bookmark| is_own && **bookmark == from);
                *bookmark.ok_or(StoreError::Moved)? = to;
            }
            Commit::Unpark { generation, position } => {
                let is_same = place.record.generation == generation;
                if !is_same || place.parked.remove(&position).is_none() {
                    return Err(StoreError::Moved);
                }
            }
            Commit::Create(_) => {}
        }
        place.parked.extend(parked.into_iter().map(|parked| (parked.position, parked)));
        place.state = Arc::new(state);
        Ok(())
    }

    async fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, StoreError> {
        let inner = self.lock();
        let Some(place) = inner.places.get(slot) else { return Ok(Vec::new()) };
        let later = place.parked.range(after.saturating_add(1)..);
        Ok(later.take(limit).map(|(_, parked)| parked.clone()).collect())
    }

    async fn count_parked(&self, slot: &Slot) -> Result<usize, StoreError> {
        Ok(self.lock().places.get(slot).map_or(0, |place| place.parked.len()))
    }

    async fn drop_parked(&self, slot: &Slot, position: u64) -> Result<bool, StoreError> {
        let mut inner = self.lock();
        let place = inner.places.get_mut(slot);
        Ok(place.and_then(|place| place.parked.remove(&position)).is_some())
    }

    async fn swap(&self, name: &str) -> Result<Swap, StoreError> {
        let _turn = self.turn.lock().await;
        let mut inner = self.lock();
        let slot = |side| Slot { projection: name.to_owned(), side };
        let rebuilt = inner.places.get(&slot(Side::Rebuild)).ok_or(StoreError::Moved)?;
        let live = inner.places.get(&slot(Side::Live));
        if live.is_some_and(|live| !rebuilt.record.is_not_behind(&live.record)) {
            return Ok(Swap::Behind);
        }
        if let Some(mut rebuilt) = inner.places.remove(&slot(Side::Rebuild)) {
            rebuilt.owner = None;
            inner.places.insert(slot(Side::Live), rebuilt);
        }
        Ok(Swap::Done)
    }

    async fn discard_rebuild(&self, name: &str) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let slot = Slot { projection: name.to_owned(), side: Side::Rebuild };
        self.lock().places.remove(&slot);
        Ok(())
    }

    fn is_transient(_error: &(dyn Error + 'static)) -> bool {
        false
    }
}
