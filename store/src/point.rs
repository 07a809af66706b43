//! The point in the log that a store, or a reader of it, has reached.

use quorate_proto::{LogId, Position, Timestamp};

/// The point in the log that the store has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The last entry applied.
    pub log_id: Option<LogId>,
    /// The position of the last event.
    pub position: Position,
    /// The newest stamp of a command: log time.
    pub recorded_at: Timestamp,
    /// The chained digest of the outcomes of all entries up to `log_id`: alike on all replicas.
    pub digest: u128,
}
