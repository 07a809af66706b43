//! The adapter to openraft: its types and settings, the conversions to ours, and its log storage over the Raft log.
//!
//! It may use the log, the host, errors and options; it knows no store, no peers and no tasks.

pub(crate) mod config;
pub(crate) mod entry;
pub(crate) mod membership;
pub(crate) mod proposal;
pub(crate) mod storage;
pub(crate) mod types;
