//! Raft under the store: the log on disk, and openraft on it.

pub mod log;
