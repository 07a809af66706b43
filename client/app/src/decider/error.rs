//! The ways in which a command, or a load, can fail.

use std::error::Error;

use quorate_client::{Conflict, DecodeError, EventError, Invalid, Problem, UnknownAppend};

/// The reason why a command was not carried out. Only after [`CommandError::Unknown`] its events may be in the log.
///
/// ```
/// use quorate_app::decider::CommandError;
///
/// /// Returns the text for the customer; `E` is the decider's own error.
/// fn answer<E: std::error::Error>(error: CommandError<E>) -> String {
///     match error {
///         CommandError::Refused(why) => why.to_string(),
///         CommandError::Forbidden(why) => why.to_string(),
///         error if error.is_transient() => "please try again later".into(),
///         error => format!("we cannot do this: {error}"),
///     }
/// }
/// # assert_eq!(answer(CommandError::Refused(std::fmt::Error)), std::fmt::Error.to_string());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError<E: Error + 'static> {
    /// The decider refused the command, by the newest state.
    #[error(transparent)]
    Refused(E),
    /// The command is not permitted; nobody decided on it.
    #[error(transparent)]
    Forbidden(Forbidden),
    /// Other writers were faster each time: the command was decided and lost that often.
    #[error(
        "the command was decided {attempts} times, and another writer was faster each time: {conflict}"
    )]
    Conflict {
        /// The number of decisions.
        attempts: u32,
        /// The last conflict.
        conflict: Conflict,
    },
    /// The outcome could not be found out in time. With the same command id it is safe to handle the command again;
    /// the append is inside.
    #[error("it is not known whether the command was carried out: {0}")]
    Unknown(UnknownAppend),
    /// An event in the stream cannot be read, so there is no state to decide on.
    #[error(transparent)]
    Decode(DecodeError),
    /// An event of the decision cannot be written.
    #[error("an event of the decision cannot be written: {0}")]
    Encode(EventError),
    /// The store refused a request, or could not be asked. Nothing was appended.
    #[error(transparent)]
    Store(Problem),
}

/// The reason why a command is not permitted.
///
/// ```
/// use quorate_app::decider::{CommandError, Forbidden};
/// let error = CommandError::<std::fmt::Error>::from(Forbidden("only the owner pays".into()));
/// assert_eq!(error.to_string(), "not permitted: only the owner pays");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not permitted: {0}")]
pub struct Forbidden(pub String);

/// A failed command as those see it who do not know its decider: layers, doors and queues.
///
/// ```
/// use quorate_app::decider::{CommandError, CommandFailure};
/// let error = CommandError::Refused(std::fmt::Error);
/// assert_eq!((CommandFailure::kind(&error), CommandFailure::is_transient(&error)), ("refused", false));
/// ```
pub trait CommandFailure: Error {
    /// Returns the kind of the failure, a name that stays: `refused`, `forbidden`, `conflict`, `unknown`, `decode`,
    /// `encode` or `store`.
    fn kind(&self) -> &'static str;

    /// Returns true if the same command, with the same command id, may succeed when it is handled again.
    fn is_transient(&self) -> bool;
}

impl<E: Error + 'static> CommandFailure for CommandError<E> {
    fn kind(&self) -> &'static str {
        match self {
            CommandError::Refused(_) => "refused",
            CommandError::Forbidden(_) => "forbidden",
            CommandError::Conflict { .. } => "conflict",
            CommandError::Unknown(_) => "unknown",
            CommandError::Decode(_) => "decode",
            CommandError::Encode(_) => "encode",
            CommandError::Store(_) => "store",
        }
    }

    fn is_transient(&self) -> bool {
        CommandError::is_transient(self)
    }
}

impl<E: Error + 'static> From<Forbidden> for CommandError<E> {
    fn from(forbidden: Forbidden) -> CommandError<E> {
        CommandError::Forbidden(forbidden)
    }
}

/// The reason why a state could not be loaded.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, LoadError, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError> {
/// use quorate_client::ErrorKind;
/// match orders.load("42").at_version(1).await {
///     Ok(first) => println!("as of position {}", first.position),
///     Err(LoadError::Store(problem)) if problem.kind == ErrorKind::Forgotten => println!("too old"),
///     Err(error) => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An event cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The store refused a request, or could not be asked. Of kind `Forgotten`: the beginning of the stream was removed,
    /// and no snapshot holds what it led to.
    #[error(transparent)]
    Store(#[from] Problem),
}

impl<E: Error + 'static> CommandError<E> {
    /// Returns the decider's own error, if the command was refused.
    ///
    /// ```
    /// use quorate_app::decider::CommandError;
    /// let error = CommandError::Refused(std::fmt::Error);
    /// assert!(error.refusal().is_some());
    /// ```
    pub fn refusal(&self) -> Option<&E> {
        match self {
            CommandError::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Returns true if the same command, with the same command id, may succeed when it is handled again.
    ///
    /// ```
    /// use quorate_app::decider::CommandError;
    /// assert!(!CommandError::Refused(std::fmt::Error).is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        match self {
            CommandError::Conflict { .. } | CommandError::Unknown(_) => true,
            CommandError::Store(problem) => problem.kind.is_transient(),
            CommandError::Refused(_)
            | CommandError::Forbidden(_)
            | CommandError::Decode(_)
            | CommandError::Encode(_) => false,
        }
    }
}

impl<E: Error + 'static> From<LoadError> for CommandError<E> {
    fn from(error: LoadError) -> CommandError<E> {
        match error {
            LoadError::Decode(error) => CommandError::Decode(error),
            LoadError::Store(problem) => CommandError::Store(problem),
        }
    }
}

impl<E: Error + 'static> From<EventError> for CommandError<E> {
    fn from(error: EventError) -> CommandError<E> {
        CommandError::Encode(error)
    }
}

impl<E: Error + 'static> From<Problem> for CommandError<E> {
    fn from(problem: Problem) -> CommandError<E> {
        CommandError::Store(problem)
    }
}

impl<E: Error + 'static> From<Invalid> for CommandError<E> {
    fn from(invalid: Invalid) -> CommandError<E> {
        CommandError::Store(invalid.into())
    }
}

impl From<Invalid> for LoadError {
    fn from(invalid: Invalid) -> LoadError {
        LoadError::Store(invalid.into())
    }
}
