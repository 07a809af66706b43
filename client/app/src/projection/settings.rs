//! The settings of a projection.

use std::time::Duration;

use super::partition::KeyOf;
use super::retry::Backoff;
#[cfg(doc)]
use super::{Parked, Projection, ProjectionError};

/// The action on an event that cannot be applied after all attempts.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, Projection, ProjectionError, Store};
/// # async fn example<S: Store, H: Handler<S::Model>>(orders: Projection<S, H>, client: quorate_client::Client)
/// # -> Result<(), ProjectionError> {
/// use quorate_app::projection::OnFailure;
/// let orders = orders.on_failure(OnFailure::Park);
/// for parked in orders.parked().await? {
///     println!("{}: {}", parked.position, parked.reason);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The projection ends with [`ProjectionError::Handler`]. No event is skipped.
    #[default]
    Stop,
    /// The event is kept as [`Parked`] beside the bookmark, and the projection goes on after it: the model misses it
    /// until it is [replayed](Projection::replay). At most 10,000 events are parked; then the projection ends.
    Park,
}

/// The settings of a projection.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) version: u32,
    pub(super) after: u64,
    pub(super) batch_events: usize,
    pub(super) batch_bytes: usize,
    pub(super) partitions: u32,
    pub(super) key_of: Option<KeyOf>,
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) on_failure: OnFailure,
    pub(super) lease: Duration,
    pub(super) standby: bool,
    pub(super) rebuild_when_changed: bool,
    pub(super) progress_bar: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            version: 1,
            after: 0,
            batch_events: 1_000,
            batch_bytes: 4 * 1024 * 1024,
            partitions: 1,
            key_of: None,
            attempts: 5,
            backoff: Backoff::default(),
            on_failure: OnFailure::default(),
            lease: Duration::from_secs(6),
            standby: false,
            rebuild_when_changed: false,
            progress_bar: false,
        }
    }
}
