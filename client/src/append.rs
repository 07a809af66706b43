//! The three ways in which an append can end.

use std::fmt;

use quorate_proto::{
    self as proto, Appended, ErrorKind, EventId, Expectation, Failure, Invalid, Position, Problem,
    StreamName, Timestamp, Version, Violation,
};
use tokio::time::Instant;

/// The append is in the log for good: on the disks of a majority of the nodes.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::{Event, Expect};
/// let placed = client.append("order-42", Expect::None, [Event::json("OrderPlaced", &50)?]).await?;
/// let paid = Event::json("OrderPaid", &50)?;
/// client.append("order-42", Expect::version(placed.version), [paid]).await?;
/// // Any node shows the order when it has reached this position.
/// let order = client.read("order-42").at_least(placed.position).collect().await?;
/// # let _ = order; Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The version of the append's first stream after the append: the expectation of the next append.
    pub version: Version,
    /// The version of every written stream, in the order of the request.
    pub versions: Vec<Version>,
    /// The position of the first event; the others follow without a gap.
    pub first_position: Position,
    /// The position of the last event: read `AtLeast` this position to see the append on any node.
    pub position: Position,
    /// The time at which the leader stamped the events.
    pub recorded_at: Timestamp,
}

impl From<Appended> for Done {
    fn from(appended: Appended) -> Done {
        Done {
            version: appended.versions.first().copied().unwrap_or_default(),
            versions: appended.versions,
            first_position: appended.first_position,
            position: appended.last_position,
            recorded_at: appended.recorded_at,
        }
    }
}

/// An append that did not succeed. Only [`AppendError::Unknown`] may be in the log all the same.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client, paid: quorate_client::Event) {
/// use quorate_client::{AppendError, Expect};
/// match client.append("order-42", Expect::version(3), [paid]).await {
///     Ok(done) => println!("appended at position {}", done.position),
///     Err(AppendError::Conflict(conflict)) => println!("read and decide again: {conflict}"),
///     Err(AppendError::Rejected(problem)) => println!("nothing was appended: {problem}"),
///     Err(AppendError::Unknown(append)) => println!("keep it, and send it again: {append}"),
/// }
/// # }
/// ```
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
            (Some(failure), _) => (&failure.stream, failure.expected, Some(failure.actual)),
            (None, Some(write)) => match write.expectation {
                met @ Expectation::Exactly(version) => (&write.stream, met, Some(version)),
                met => (&write.stream, met, None),
            },
            (None, None) => return AppendError::Rejected(problem),
        };
        AppendError::Conflict(Conflict {
            stream: stream.clone(),
            expected,
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
///
/// ```no_run
/// # async fn example(client: quorate_client::Client, paid: quorate_client::Event) {
/// use quorate_client::{AppendError, Expect};
/// let appended = client.append("order-42", Expect::version(3), [paid]).await;
/// if let Err(AppendError::Conflict(conflict)) = appended {
///     println!("`{}` is at version {:?}, not as expected: {}", conflict.stream, conflict.actual, conflict.expected);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The stream of the first expectation that was not met. When only conditions were violated: the first
    /// stream of the append's writes.
    pub stream: StreamName,
    /// The expectation of this stream.
    pub expected: Expectation,
    /// The stream's version. When only conditions were violated: the expected version; `None` if no version was
    /// expected, because nobody looked then.
    pub actual: Option<Version>,
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
