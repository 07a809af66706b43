//! Why a process manager ended.

use quorate_client::{DecodeError, Invalid, Problem};

/// Why a process manager ended. What it did before is done; running it again goes on where it stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Its name is none.
    #[error("`{name}` cannot be the name of a process manager: {why}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        #[source]
        why: Invalid,
    },
    /// The store refused what it asked, and would do so again.
    #[error("the store refuses: {0}")]
    Refused(#[from] Problem),
    /// Nothing could follow from a trigger, and it was told to stop then; or not even that could be recorded.
    #[error("instance `{instance}` cannot go on at {trigger}: {reason}")]
    Stuck {
        /// The instance.
        instance: String,
        /// What it should have reacted to.
        trigger: String,
        /// Why it could not.
        reason: String,
    },
    /// What stands in one of its own streams is not what it writes there.
    #[error("what `{stream}` holds at version {version} cannot be read: {reason}")]
    Unreadable {
        /// The stream.
        stream: String,
        /// The version of it.
        version: u64,
        /// Why not.
        reason: String,
    },
}

impl From<DecodeError> for ProcessError {
    fn from(error: DecodeError) -> ProcessError {
        ProcessError::Unreadable {
            stream: error.stream.to_string(),
            version: error.version,
            reason: error.source.to_string(),
        }
    }
}
