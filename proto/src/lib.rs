//! The words everybody shares: names, numbers, events, appends, reads, limits, errors, and the wire.
//!
//! Without the feature `wire` this crate knows no network and no encoding; with it, [`wire`] holds
//! the generated gRPC code and the only conversions between it and the words.

pub mod limits;

mod append;
mod error;
mod event;
mod name;
mod number;
mod read;

#[cfg(feature = "wire")]
pub mod wire;

pub use append::{Append, Appended, Expectation, Requirement, Write};
pub use error::{ErrorKind, Failure, Invalid, Outcome, Problem};
pub use event::{Event, EventId, RecordedEvent};
pub use name::{Category, EventType, Path, StreamName};
pub use number::{LogId, LogIndex, Position, Term, Timestamp, Version};
pub use read::{Bounds, Consistency, Direction, Query, QueryItem, Read, Scope, Source};
