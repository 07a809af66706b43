//! Faults: what can go wrong on the disk, and what it means. A fault is never an answer about events.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_proto::Position;

/// A fault of the disk, of a file on it, or of a command that this build does not know.
///
/// A fault of opening, applying, sealing or installing stops the node: nothing is retried (Rebello et al.,
/// "Can Applications Recover from fsync Failures?", ATC 2020). A fault of a read is the answer to that read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refused an action.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The action that was tried, as a verb: "read", "write", "sync".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },
    /// Bytes on disk are not what was written.
    #[error("`{}` is damaged at byte {offset}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The offset of the damage in the file.
        offset: u64,
        /// A description of the damage.
        why: String,
    },
    /// A file of another cluster, node or format version: it is whole, but this process must not use it.
    #[error("`{}` cannot be used: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The reason why the file cannot be used.
        why: String,
    },
    /// A command that this build cannot apply; skipping it would make replicas differ.
    #[error("cannot apply the command at log index {index}: {why}; nothing after it is applied")]
    Command {
        /// The entry's log index.
        index: u64,
        /// A description of the error in the command.
        why: String,
    },
    /// Events that a read as of an earlier point must return were removed since then. The disk is sound.
    #[error(
        "events that were there at position {as_of} were removed while they were read: read again"
    )]
    Removed {
        /// The position that the read is evaluated as of.
        as_of: Position,
    },
}

impl Fault {
    /// Returns the file or folder that the fault is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Fault::Io { path, .. } | Fault::Damaged { path, .. } | Fault::Foreign { path, .. } => {
                Some(path)
            }
            Fault::Command { .. } | Fault::Removed { .. } => None,
        }
    }

    /// Returns a function that makes a [`Fault::Io`]: `file.sync_data().map_err(Fault::io("sync", &path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        let path = path.to_owned();
        move |source| Fault::Io { action, path, source: Arc::new(source) }
    }

    /// Makes a [`Fault::Damaged`].
    pub fn damaged(path: &Path, offset: u64, why: impl Into<String>) -> Fault {
        Fault::Damaged { path: path.to_owned(), offset, why: why.into() }
    }

    /// Returns true if a file is missing, unreadable or not what was written, so that a copy of it would
    /// help; false if it could only not be opened or written this time.
    pub fn is_damage(&self) -> bool {
        match self {
            Fault::Damaged { .. } | Fault::Foreign { .. } => true,
            Fault::Io { action: "open", source, .. } => source.kind() == io::ErrorKind::NotFound,
            Fault::Io { action, .. } => *action == "read",
            Fault::Command { .. } | Fault::Removed { .. } => false,
        }
    }

    /// Makes a [`Fault::Foreign`].
    pub fn foreign(path: &Path, why: impl Into<String>) -> Fault {
        Fault::Foreign { path: path.to_owned(), why: why.into() }
    }
}
