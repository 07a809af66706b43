//! The words everybody shares: names, numbers, events, appends, reads, limits, errors, and the wire.
//!
//! Without the feature `wire` this crate knows no network and no encoding; with it, [`wire`] holds
//! the generated gRPC code and the only conversions between it and the words.

pub mod json;
pub mod limits;

mod address;
mod append;
mod borrowed;
mod error;
mod event;
mod group;
mod invalid;
mod lifecycle;
mod list;
mod name;
mod number;
mod read;
mod runner;
mod snapshot;

#[cfg(feature = "wire")]
pub mod wire;

pub use address::{Address, NoAddress};
pub use append::{Append, Appended, Condition, Expectation, Requirement, Write};
pub use borrowed::{AppendRef, EventRef, RecordedEventRef, WriteRef};
pub use error::{ErrorKind, Failure, Outcome, Problem, Violation};
pub use event::{DecodeError, Event, EventId, RecordedEvent};
pub use group::{
    Failed, Fate, GroupDefinition, GroupOutcome, GroupProgress, GroupRequest, GroupSettings,
    GroupSummary, Join, Parked, RequestId, Selection, Settlement, Strategy, bounded_reason,
};
pub use invalid::Invalid;
pub use lifecycle::{Change, ChangeKind, DELETED, SETTINGS, Setting, SettingsChange, TOMBSTONED};
pub use list::{ListEntry, ListRequest, ListTarget, ListedStream};
pub use name::{Category, CorrelationId, EventType, GroupName, Path, StreamName, Tag};
pub use number::{LogId, LogIndex, Position, Term, Timestamp, Version};
pub use read::{Bounds, Consistency, Direction, LogPoint, Query, QueryItem, Read, Scope, Source};
pub use runner::{REPORTED_EVERY, Runner, RunnerKind, RunnerReport, RunnerState, SILENT_AFTER};
pub use snapshot::{RecordedSnapshot, Snapshot};
