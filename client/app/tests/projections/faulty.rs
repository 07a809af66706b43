//! A store that fails at one chosen operation: it loses the question or the answer, or never answers.

use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_app::projection::{
    Claim, Creation, Parked, Record, Slot, Step, Store, StoreError, Swap,
};

/// The effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation was not done, and is reported as lost.
    QuestionLost,
    /// The operation was done, and is reported as lost.
    AnswerLost,
    /// The operation was not done, and never ends, as if the process were dead.
    DeadBefore,
    /// The operation was done, and never ends.
    DeadAfter,
}

/// A store that counts the operations of all its clones, and makes one fail.
#[derive(Clone)]
pub(crate) struct Faulty<S> {
    inner: S,
    at: usize,
    fault: Fault,
    /// The number of parked events to report instead of the real one.
    parked: Option<usize>,
    count: Arc<AtomicUsize>,
    /// True once the failing operation has finished.
    is_over: Arc<AtomicBool>,
}

impl<S> Faulty<S> {
    pub(crate) fn new(inner: S, at: usize, fault: Fault) -> Faulty<S> {
        Faulty { inner, at, fault, parked: None, count: Arc::default(), is_over: Arc::default() }
    }

    /// Reports this number of parked events.
    pub(crate) fn with_parked(self, parked: usize) -> Faulty<S> {
        Faulty { parked: Some(parked), ..self }
    }

    /// Returns true if the fault has begun.
    pub(crate) fn has_struck(&self) -> bool {
        self.count.load(Ordering::SeqCst) > self.at
    }

    /// Returns true if the fault has begun and the operation that it lets happen has finished.
    pub(crate) fn has_finished_striking(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    async fn spoil<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.count.fetch_add(1, Ordering::SeqCst) != self.at {
            return operation.await;
        }
        let lost = || StoreError::Lost("a test lost it".into());
        match self.fault {
            Fault::QuestionLost => Err(lost()),
            Fault::AnswerLost => operation.await.and_then(|_| Err(lost())),
            Fault::DeadBefore => self.hang().await,
            Fault::DeadAfter => {
                let _done = operation.await;
                self.hang().await
            }
        }
    }

    async fn hang<T>(&self) -> T {
        self.is_over.store(true, Ordering::SeqCst);
        pending().await
    }
}

impl<S: Store> Store for Faulty<S> {
    type Model = S::Model;

    async fn prepare(&self) -> Result<(), StoreError> {
        self.spoil(self.inner.prepare()).await
    }

    async fn record(&self, slot: &Slot) -> Result<Option<Record>, StoreError> {
        self.spoil(self.inner.record(slot)).await
    }

    async fn create(&self, creation: &Creation<'_>) -> Result<S::Model, StoreError> {
        self.spoil(self.inner.create(creation)).await
    }

    async fn claim(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.spoil(self.inner.claim(slot, owner, lease)).await
    }

    /// The number of renewals depends on the duration of a test, so they are not counted.
    async fn renew(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        self.inner.renew(slot, owner, lease).await
    }

    async fn release(&self, slot: &Slot, owner: &str) -> Result<(), StoreError> {
        self.spoil(self.inner.release(slot, owner)).await
    }

    async fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> Result<Option<u64>, StoreError> {
        self.spoil(self.inner.bookmark(slot, partition, owner)).await
    }

    async fn repartition(
        &self,
        slot: &Slot,
        owner: &str,
        partitioning: &str,
        partitions: u32,
        position: u64,
    ) -> Result<(), StoreError> {
        self.spoil(self.inner.repartition(slot, owner, partitioning, partitions, position)).await
    }

    async fn begin(&self, step: &Step<'_>) -> Result<S::Model, StoreError> {
        self.spoil(self.inner.begin(step)).await
    }

    fn next_event(&self, model: &mut S::Model, position: u64) {
        self.inner.next_event(model, position);
    }

    async fn park(&self, model: &mut S::Model, parked: &Parked) -> Result<(), StoreError> {
        self.spoil(self.inner.park(model, parked)).await
    }

    async fn unpark(
        &self,
        slot: &Slot,
        generation: u64,
        position: u64,
    ) -> Result<S::Model, StoreError> {
        self.spoil(self.inner.unpark(slot, generation, position)).await
    }

    async fn commit(&self, model: S::Model) -> Result<(), StoreError> {
        self.spoil(self.inner.commit(model)).await
    }

    async fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, StoreError> {
        self.spoil(self.inner.parked(slot, after, limit)).await
    }

    async fn count_parked(&self, slot: &Slot) -> Result<usize, StoreError> {
        let counted = async {
            let there_are = self.inner.count_parked(slot).await?;
            Ok(self.parked.unwrap_or(there_are))
        };
        self.spoil(counted).await
    }

    async fn drop_parked(&self, slot: &Slot, position: u64) -> Result<bool, StoreError> {
        self.spoil(self.inner.drop_parked(slot, position)).await
    }

    async fn swap(&self, name: &str) -> Result<Swap, StoreError> {
        self.spoil(self.inner.swap(name)).await
    }

    async fn discard_rebuild(&self, name: &str) -> Result<(), StoreError> {
        self.spoil(self.inner.discard_rebuild(name)).await
    }

    fn is_transient(error: &(dyn Error + 'static)) -> bool {
        S::is_transient(error)
    }
}
