//! What can go wrong on the disk, and what it means: a fault is never an answer about events.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A fault of the disk, of a file on it, or of a command that this build does not know.
///
/// One that comes out of opening, applying, sealing or installing stops the node: nothing is retried
/// (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). One that comes out of a
/// read is the answer to that read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "read", "write", "sync".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Bytes on disk are not what was written.
    #[error("`{}` is damaged at byte {offset}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// A file of another cluster, node or format version: it is whole, but not for this process.
    #[error("`{}` cannot be used: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A command that this build cannot apply; to skip it would make replicas differ.
    #[error("cannot apply the command at log index {index}: {why}; nothing after it is applied")]
    Command {
        /// The entry's log index.
        index: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl Fault {
    /// The file or folder that it speaks of.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Fault::Io { path, .. } | Fault::Damaged { path, .. } | Fault::Foreign { path, .. } => {
                Some(path)
            }
            Fault::Command { .. } => None,
        }
    }

    /// Makes a [`Fault::Io`] of an error: `file.sync_data().map_err(Fault::io("sync", &path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        let path = path.to_owned();
        move |source| Fault::Io { action, path, source: Arc::new(source) }
    }

    /// Makes a [`Fault::Damaged`].
    pub fn damaged(path: &Path, offset: u64, why: impl Into<String>) -> Fault {
        Fault::Damaged { path: path.to_owned(), offset, why: why.into() }
    }

    /// Whether a file is missing, unreadable or not what was written, so that a copy of it would help; not
    /// so when it was only not possible to look.
    pub fn is_damage(&self) -> bool {
        match self {
            Fault::Damaged { .. } | Fault::Foreign { .. } => true,
            Fault::Io { action: "open", source, .. } => source.kind() == io::ErrorKind::NotFound,
            Fault::Io { action, .. } => *action == "read",
            Fault::Command { .. } => false,
        }
    }

    /// Makes a [`Fault::Foreign`].
    pub fn foreign(path: &Path, why: impl Into<String>) -> Fault {
        Fault::Foreign { path: path.to_owned(), why: why.into() }
    }
}
