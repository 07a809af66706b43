//! The errors with which a process manager ends.

use quorate_client::{DecodeError, Invalid, Problem};

/// The reason why a process manager ended. Its work so far is done; when it is run again it continues there.
///
/// ```no_run
/// # use quorate_app::process::{ProcessManager, ProcessRunner};
/// # async fn example<M: ProcessManager>(client: quorate_client::Client, deadlines: M) {
/// use quorate_app::process::ProcessError;
/// match ProcessRunner::new(client, deadlines).run().await {
///     Err(ProcessError::Stuck { instance, trigger, reason }) => {
///         eprintln!("order {instance} waits for a fix: {trigger}: {reason}");
///     }
///     ended => println!("{ended:?}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The manager's name is not valid.
    #[error("`{name}` cannot be the name of a process manager: {why}")]
    Name {
        /// The name.
        name: String,
        /// The reason.
        #[source]
        why: Invalid,
    },
    /// The store refused a request, and would refuse it again.
    #[error("the store refuses: {0}")]
    Refused(#[from] Problem),
    /// Nothing could follow from a trigger, and the manager is set to stop then; or parking failed too.
    #[error("instance `{instance}` cannot go on at {trigger}: {reason}")]
    Stuck {
        /// The instance.
        instance: String,
        /// The trigger.
        trigger: String,
        /// The reason.
        reason: String,
    },
    /// An event in one of the manager's own streams is not what the manager writes there.
    #[error("what `{stream}` holds at version {version} cannot be read: {reason}")]
    Unreadable {
        /// The stream.
        stream: String,
        /// The version of the event.
        version: u64,
        /// The reason.
        reason: String,
    },
}

impl From<DecodeError> for ProcessError {
    fn from(error: DecodeError) -> ProcessError {
        ProcessError::Unreadable {
            stream: error.stream.to_string(),
            version: error.version.0,
            reason: error.source.to_string(),
        }
    }
}
