//! Aggregate snapshots: when they are written, and in which form.

use std::sync::Arc;

use quorate_client::{Client, RecordedSnapshot, Snapshot, StreamName, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::aggregate::Aggregate;

/// The number of snapshots that a repository writes at once; one that would be more is left to a later command.
const WRITTEN_AT_ONCE_MAX: usize = 8;

/// The error of a codec of snapshots.
pub type SnapshotError = Box<dyn std::error::Error + Send + Sync>;

type Policy<S> = Arc<dyn Fn(&S, u64) -> bool + Send + Sync>;

/// The snapshots of a repository: when one is written, in which schema and form.
///
/// ```
/// use quorate_app::decider::Snapshots;
/// #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// struct Order {
///     is_closed: bool,
/// }
///
/// // A closed order never changes again: its snapshot is written at once.
/// let snapshots = Snapshots::json(2).when(|order: &Order, events| order.is_closed || events >= 100);
/// # let _ = snapshots;
/// ```
pub struct Snapshots<S> {
    schema: u32,
    policy: Policy<S>,
    write: fn(&S) -> Result<Vec<u8>, SnapshotError>,
    read: fn(&[u8]) -> Result<S, SnapshotError>,
    permits: Arc<Semaphore>,
}

opaque_debug!(Snapshots<S>);

impl<S> Clone for Snapshots<S> {
    fn clone(&self) -> Snapshots<S> {
        Snapshots {
            schema: self.schema,
            policy: Arc::clone(&self.policy),
            write: self.write,
            read: self.read,
            permits: Arc::clone(&self.permits),
        }
    }
}

impl<S: Serialize + DeserializeOwned> Snapshots<S> {
    /// Writes states as JSON, in a schema of the application; it begins at 1, and increases whenever the shape of the
    /// state changes, or the state that events lead to.
    pub fn json(schema: u32) -> Snapshots<S> {
        Snapshots::with_codec(
            schema,
            |state| Ok(serde_json::to_vec(state)?),
            |data| Ok(serde_json::from_slice(data)?),
        )
    }
}

impl<S> Snapshots<S> {
    /// Writes states in a form of the application.
    ///
    /// ```
    /// use quorate_app::decider::Snapshots;
    /// let levels = Snapshots::with_codec(
    ///     1,
    ///     |level: &u64| Ok(level.to_be_bytes().to_vec()),
    ///     |bytes| Ok(u64::from_be_bytes(bytes.try_into()?)),
    /// );
    /// # let _ = levels;
    /// ```
    pub fn with_codec(
        schema: u32,
        write: fn(&S) -> Result<Vec<u8>, SnapshotError>,
        read: fn(&[u8]) -> Result<S, SnapshotError>,
    ) -> Snapshots<S> {
        let permits = Arc::new(Semaphore::new(WRITTEN_AT_ONCE_MAX));
        Snapshots { schema, policy: Arc::new(|_, events| events >= 100), write, read, permits }
    }

    /// Writes a snapshot after every so many events of a stream; 100 by default.
    #[must_use]
    pub fn every(self, events: u64) -> Snapshots<S> {
        self.when(move |_, since| since >= events.max(1))
    }

    /// Writes a snapshot when the policy says so, which is asked after each command, with the state and the number of
    /// events since the last snapshot.
    #[must_use]
    pub fn when(
        mut self,
        policy: impl Fn(&S, u64) -> bool + Send + Sync + 'static,
    ) -> Snapshots<S> {
        self.policy = Arc::new(policy);
        self
    }

    pub(crate) fn schema(&self) -> u32 {
        self.schema
    }
}

impl<S: Clone + Default + Send + Sync + 'static> Snapshots<S> {
    /// Returns the state that a snapshot holds; `None` if it is of another schema or cannot be read.
    pub(crate) fn restore(
        &self,
        stream: &StreamName,
        kept: &RecordedSnapshot,
    ) -> Option<Aggregate<S>> {
        if kept.schema != self.schema {
            return None;
        }
        match (self.read)(&kept.data) {
            Ok(state) => Some(Aggregate::of_snapshot(state, kept.version)),
            Err(error) => {
                tracing::warn!(%stream, version = %kept.version, %error, "a snapshot cannot be read; events are");
                None
            }
        }
    }

    /// Writes a snapshot if it is time for one: beside the caller, who does not wait for it, and whom its failure does
    /// not concern.
    pub(crate) fn offer(&self, client: &Client, stream: &StreamName, aggregate: &mut Aggregate<S>) {
        let version = aggregate.version;
        let since = version.0.saturating_sub(aggregate.snapshot_at.0);
        if since == 0 || !(self.policy)(&aggregate.state, since) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
        aggregate.snapshot_at = version;
        let (state, stream, client) =
            (Arc::clone(&aggregate.state), stream.clone(), client.clone());
        let (write, schema) = (self.write, self.schema);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = put(&client, &stream, version, schema, write(&state)).await {
                tracing::warn!(%stream, %version, %error, "a snapshot was not written");
            }
        });
    }
}

async fn put(
    client: &Client,
    stream: &StreamName,
    version: Version,
    schema: u32,
    data: Result<Vec<u8>, SnapshotError>,
) -> Result<(), SnapshotError> {
    let snapshot = Snapshot::new(version, data?).schema(schema);
    client.stream(stream.as_str()).put_snapshot(snapshot).await?;
    Ok(())
}
