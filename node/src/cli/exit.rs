//! The end of a command: an exit code and the message that goes with it.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use quorate_client::AppendError;
use quorate_proto::{ErrorKind, Problem};

/// The meaning of the exit code; the numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The command did its work.
    Done = 0,
    /// The command failed; an append failed for another reason than a rejection.
    Failed = 1,
    /// The command line or its input is wrong; clap uses the same number.
    Usage = 2,
    /// The append was rejected: it is certainly not in the log.
    Rejected = 3,
    /// The outcome is unknown: the append may be in the log, and can be repeated with the same ids.
    Unknown = 4,
    /// The command did its work, but could not write its report to standard output.
    Unreported = 5,
    /// The cluster takes appends, and somebody should look at it.
    Degraded = 6,
}

/// The end of a command that did not simply succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code of the process.
    pub code: Code,
    /// The message for people; empty if everything was printed already.
    pub message: String,
}

impl Exit {
    /// Ends with this code and message.
    pub fn new(code: Code, message: impl Display) -> Exit {
        Exit { code, message: message.to_string() }
    }

    /// Exit code 1.
    pub fn failed(message: impl Display) -> Exit {
        Exit::new(Code::Failed, message)
    }

    /// Exit code 2.
    pub fn usage(message: impl Display) -> Exit {
        Exit::new(Code::Usage, message)
    }

    /// Ends a command that reports what it did: with the verdict even if the report's reader is gone. Success
    /// whose report cannot be written for another reason becomes [`Code::Unreported`].
    pub(crate) fn after_report(
        verdict: Result<(), Exit>,
        written: io::Result<()>,
    ) -> Result<(), Exit> {
        match (verdict, written) {
            (Err(exit), written) => Err(exit.reported(written)),
            (Ok(()), Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                let message = format!("it is done, but standard output cannot be written: {error}");
                Err(Exit::new(Code::Unreported, message))
            }
            (Ok(()), _) => Ok(()),
        }
    }

    /// Ends with this failure; its message says so if the report of it could not be written.
    pub(crate) fn reported(self, written: io::Result<()>) -> Exit {
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let Exit { code, message } = self;
                Exit::new(
                    code,
                    format!("{message}; and standard output cannot be written: {error}"),
                )
            }
            _ => self,
        }
    }

    /// Ends at once and silently with exit code 0: the reader of the output has seen enough.
    pub fn quiet() -> Exit {
        Exit::new(Code::Done, "")
    }

    /// Prints the message on standard error and returns the exit code for the operating system.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            // If standard error is gone too, nobody is left who could read the message.
            let style = anstyle::AnsiColor::Red.on_default().bold();
            let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {}", self.message);
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<Problem> for Exit {
    /// Converts any problem except that of an append, which has exit codes of its own.
    fn from(problem: Problem) -> Exit {
        let code = match problem.kind {
            ErrorKind::Invalid | ErrorKind::TooLarge => Code::Usage,
            _ => Code::Failed,
        };
        Exit::new(code, problem.message)
    }
}

impl From<&AppendError> for Exit {
    /// Only an error about the append itself is a rejection; an unreachable cluster is not.
    fn from(error: &AppendError) -> Exit {
        use ErrorKind::{Conflict, IdReused, Invalid, StreamClosed, TooLarge};
        let problem = error.problem();
        let code = match (error, problem.kind) {
            (AppendError::Unknown(_), _) => Code::Unknown,
            (_, Conflict | IdReused | Invalid | StreamClosed | TooLarge) => Code::Rejected,
            (_, _) => Code::Failed,
        };
        Exit::new(code, problem.message)
    }
}

impl From<io::Error> for Exit {
    /// Converts the error of a command whose work is its output: a reader that closed the output has seen
    /// enough, which is no failure. A command that reports a verdict ends by `Exit::after_report`.
    fn from(error: io::Error) -> Exit {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Exit::quiet(),
            _ => Exit::failed(error),
        }
    }
}

/// The result of a command.
pub struct Ending(pub(crate) Result<(), Exit>);

impl Ending {
    /// Prints the message, if there is one, and returns the exit code for the operating system.
    pub fn report(self) -> ExitCode {
        match self.0 {
            Ok(()) => ExitCode::SUCCESS,
            Err(exit) => exit.report(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Outcome;

    #[test]
    fn only_an_append_is_rejected() {
        for (kind, of_append, otherwise) in [
            (ErrorKind::Conflict, Code::Rejected, Code::Failed),
            (ErrorKind::IdReused, Code::Rejected, Code::Failed),
            (ErrorKind::StreamClosed, Code::Rejected, Code::Failed),
            (ErrorKind::NoSpace, Code::Failed, Code::Failed),
            (ErrorKind::Invalid, Code::Rejected, Code::Usage),
            (ErrorKind::TooLarge, Code::Rejected, Code::Usage),
            (ErrorKind::Unavailable, Code::Failed, Code::Failed),
        ] {
            let problem = Problem::new(kind, Outcome::NotAppended, "");
            let rejected = AppendError::Rejected(problem.clone());
            assert_eq!(Exit::from(&rejected).code, of_append, "{kind:?}");
            assert_eq!(Exit::from(problem).code, otherwise, "{kind:?}");
        }
    }

    #[test]
    fn a_verdict_stays_whoever_reads() {
        let closed = || Err(io::Error::from(io::ErrorKind::BrokenPipe));
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        let rejected = || Err(Exit::new(Code::Rejected, "a conflict"));
        for written in [Ok(()), closed()] {
            assert_eq!(Exit::after_report(rejected(), written), rejected());
        }
        assert_eq!(Exit::after_report(Ok(()), closed()), Ok(()));
        let unreported = Exit::after_report(Ok(()), full()).expect_err("an output that is full");
        assert_eq!(unreported.code, Code::Unreported);
        let refused = Exit::after_report(rejected(), full()).expect_err("a rejection");
        assert_eq!(refused.code, Code::Rejected);
        assert!(refused.message.starts_with("a conflict; "), "{refused:?}");
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Exit::from(closed), Exit::quiet());
    }
}
