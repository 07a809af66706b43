//! The expectation of an append, and the three ways in which an append can end.

use std::fmt;

use quorate_proto::{
    self as proto, Appended, ErrorKind, EventId, Expectation, Failure, Invalid, Problem,
    StreamName, Timestamp, Violation,
};
use tokio::time::Instant;

/// The expectation that an append has of a stream. There is no default: the caller always names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Any state of the stream.
    Any,
    /// No event yet, or none since the stream was deleted.
    None,
    /// At least one event since the stream was deleted, if it ever was.
    Exists,
    /// Exactly this version: that of the last event that the decision was based on, 0 before the first event.
    Version(u64),
}

impl From<Expect> for Expectation {
    fn from(expect: Expect) -> Expectation {
        match expect {
            Expect::Any => Expectation::Any,
            Expect::None => Expectation::None,
            Expect::Exists => Expectation::Exists,
            Expect::Version(version) => Expectation::Exactly(proto::Version(version)),
        }
    }
}

impl From<Expectation> for Expect {
    fn from(expectation: Expectation) -> Expect {
        match expectation {
            Expectation::Any => Expect::Any,
            Expectation::None => Expect::None,
            Expectation::Exists => Expect::Exists,
            Expectation::Exactly(version) => Expect::Version(version.0),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Expectation::from(*self).fmt(f)
    }
}

/// The append is in the log for good: on the disks of a majority of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The version of the append's first stream after the append: the expectation of the next append.
    pub version: u64,
    /// The version of every written stream, in the order of the request.
    pub versions: Vec<u64>,
    /// The position of the first event; the others follow without a gap.
    pub first_position: u64,
    /// The position of the last event: read `AtLeast` this position to see the append on any node.
    pub position: u64,
    /// The time at which the leader stamped the events.
    pub recorded_at: Timestamp,
}

impl From<Appended> for Done {
    fn from(appended: Appended) -> Done {
        let versions: Vec<u64> = appended.versions.iter().map(|version| version.0).collect();
        Done {
            version: versions.first().copied().unwrap_or_default(),
            versions,
            first_position: appended.first_position.0,
            position: appended.last_position.0,
            recorded_at: appended.recorded_at,
        }
    }
}

/// An append that did not succeed. Only [`AppendError::Unknown`] may be in the log all the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// An expectation or a condition was not met, because another append was first: read again and decide again.
    /// Nothing was appended.
    #[error(transparent)]
    Conflict(Conflict),
    /// Refused for another reason, which the problem's kind names. Nothing was appended.
    #[error(transparent)]
    Rejected(Problem),
    /// The outcome could not be found out in time. The append is inside, with its ids: it is safe to send it again.
    #[error(transparent)]
    Unknown(UnknownAppend),
}

impl AppendError {
    /// Returns the problem behind it, as the store or this library reported it.
    pub fn problem(&self) -> Problem {
        match self {
            AppendError::Conflict(conflict) => conflict.problem(),
            AppendError::Rejected(problem) => problem.clone(),
            AppendError::Unknown(unknown) => unknown.problem().clone(),
        }
    }

    /// Returns the error for a rejection of this append by a problem.
    pub(crate) fn rejected(problem: Problem, append: &proto::Append) -> AppendError {
        if problem.kind != ErrorKind::Conflict {
            return AppendError::Rejected(problem);
        }
        let (stream, expected, actual) = match (problem.failures.first(), append.writes.first()) {
            (Some(failure), _) => (&failure.stream, failure.expected, Some(failure.actual.0)),
            (None, Some(write)) => match write.expectation {
                met @ Expectation::Exactly(version) => (&write.stream, met, Some(version.0)),
                met => (&write.stream, met, None),
            },
            (None, None) => return AppendError::Rejected(problem),
        };
        AppendError::Conflict(Conflict {
            stream: stream.clone(),
            expected: expected.into(),
            actual,
            failures: problem.failures,
            violations: problem.violations,
        })
    }
}

impl From<Invalid> for AppendError {
    fn from(invalid: Invalid) -> AppendError {
        AppendError::Rejected(invalid.into())
    }
}

/// The expectations and the conditions of an append that were not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The stream of the first expectation that was not met. When only conditions were violated: the first
    /// stream of the append's writes.
    pub stream: StreamName,
    /// The expectation of this stream.
    pub expected: Expect,
    /// The stream's version. When only conditions were violated: the expected version; `None` if no version was
    /// expected, because nobody looked then.
    pub actual: Option<u64>,
    /// All expectations that were not met, in the order of the request.
    pub failures: Vec<Failure>,
    /// The conditions that were violated, in the order of the request, each with the position of the newest
    /// event that the condition forbids.
    pub violations: Vec<Violation>,
}

impl Conflict {
    fn problem(&self) -> Problem {
        Problem::conflict(self.failures.clone(), self.violations.clone())
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for Conflict {}

/// An append whose outcome is unknown. [`crate::Client::repeat`] sends it again, with the same ids: if it
/// is in the log, the answer is its first answer.
///
/// It can be kept over a restart with serde, for example as JSON, and sent again by the next process:
///
/// ```no_run
/// # async fn example(client: quorate_client::Client, unknown: quorate_client::UnknownAppend)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// std::fs::write("unknown.json", serde_json::to_vec(&unknown)?)?;
/// // … the process ends, and another one begins …
/// let unknown: quorate_client::UnknownAppend = serde_json::from_slice(&std::fs::read("unknown.json")?)?;
/// let done = client.repeat(unknown).await?;
/// # let _ = done; Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct UnknownAppend(Box<Unresolved>);

#[derive(Clone, Debug)]
pub(crate) struct Unresolved {
    pub(crate) append: proto::Append,
    pub(crate) problem: Problem,
    /// The time after which no earlier attempt can be appended any more: a rejection of a later one is then certain.
    pub(crate) settled_at: Instant,
}

impl UnknownAppend {
    /// Returns the request, with its ids. It is safe to send it as a new append, too, but if the new one is rejected,
    /// this one may still be in the log: only [`crate::Client::repeat`] knows when that has become impossible.
    pub fn append(&self) -> &proto::Append {
        &self.0.append
    }

    /// Returns the ids of the append's events, in order.
    pub fn ids(&self) -> impl Iterator<Item = EventId> + '_ {
        self.append().writes.iter().flat_map(|write| &write.events).map(|event| event.id)
    }

    /// Returns the problem that was known when the deadline passed.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    pub(crate) fn into_unresolved(self) -> Unresolved {
        *self.0
    }

    pub(crate) fn unresolved(&self) -> &Unresolved {
        &self.0
    }
}

impl From<Unresolved> for UnknownAppend {
    fn from(unresolved: Unresolved) -> UnknownAppend {
        UnknownAppend(Box::new(unresolved))
    }
}

impl std::error::Error for UnknownAppend {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.problem())
    }
}

impl From<Unresolved> for AppendError {
    fn from(unresolved: Unresolved) -> AppendError {
        AppendError::Unknown(unresolved.into())
    }
}

impl fmt::Display for UnknownAppend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; it is not known whether the events were appended", self.problem())
    }
}
