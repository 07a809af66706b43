//! Importing lines of JSON: where they come from, what of them is there already, and sending the rest.

mod ahead;
mod archive;
mod present;
mod pump;
mod source;

pub(crate) use ahead::Ahead;
pub(crate) use archive::Format;
pub(crate) use present::count_present;
pub(crate) use pump::{PATIENCE, Pump, REST, Stop};
pub(crate) use source::{BadLine, Lines};

/// No line is sent before the line so many lines earlier is known to be in the log. So the presence of
/// a line proves that of all lines that lie further back.
pub(crate) const WINDOW_LINES: u64 = 4096;
