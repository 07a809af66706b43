//! The import of lines of JSON: reading them, finding those that are in the log already, sending the rest.

mod ahead;
mod archive;
mod ndjson;
mod present;
mod pump;
mod source;

pub(crate) use ahead::Ahead;
pub(crate) use archive::Format;
pub(crate) use ndjson::{EventLine, trim};
pub(crate) use present::count_present;
pub(crate) use pump::{PATIENCE, Pump, REST, Stop};
pub(crate) use source::{BadLine, Lines};

/// The distance between a line and the earlier line that must be in the log before it is sent. So a line
/// that is in the log proves that all lines at least this far before it are there too.
pub(crate) const WINDOW_LINES: u64 = 4096;
