//! Judging an append, alike on every replica: is it a repetition, and are its expectations met?
//!
//! The room reads a view and the retry window, and the disk only for what is not in memory; it changes nothing.

pub(crate) mod conditions;
mod demand;
mod retry;
#[cfg(test)]
mod tests;

use quorate_proto::{Appended, Failure, StreamName};

pub(crate) use demand::Demand;
use demand::name_of;
pub(crate) use retry::{Found, Log};

use crate::Fault;
use crate::defect::{Defect, is_present};
use crate::verdict::{Rejection, Unsettled, Verdict};
use crate::view::StreamHead;

/// The judgement on an append.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// The append was made before; this was the answer.
    Repeated(Appended),
    /// The append is rejected, whatever else it expects.
    Rejected(Rejection),
    /// The window knows none of the append's ids, and this stream is closed.
    Closed(StreamName),
    /// The window knows none of the append's ids, and these of its expectations are not met. Its conditions
    /// are still to be judged.
    New(Vec<Failure>),
}

/// Judges an append. `heads` are the current heads of [`Demand::streams`].
///
/// The question "was this appended?" comes before every other check: a repetition must get its first answer
/// even though, and because, its own events have moved the versions since. For an append that the window does
/// not know see [`reject`].
pub(crate) fn judge(
    log: &mut Log<'_>,
    demand: &Demand<'_>,
    heads: &[StreamHead],
) -> Result<Judgement, Fault> {
    let found =
        if is_present(Defect::NoRetryCheck) { retry::Found::New } else { log.find(demand)? };
    match found {
        retry::Found::Repeated(appended) => return Ok(Judgement::Repeated(appended)),
        retry::Found::Reused(id) => return Ok(Judgement::Rejected(Rejection::IdReused(id))),
        retry::Found::Forgotten => return Ok(Judgement::Rejected(Rejection::Forgotten)),
        retry::Found::New => {}
    }
    Ok(without_repetition(demand, heads))
}

/// Returns the judgement on an append that is no repetition.
pub(crate) fn without_repetition(demand: &Demand<'_>, heads: &[StreamHead]) -> Judgement {
    let mut must_be_open = demand.streams().zip(heads).take(demand.open_count());
    if let Some(((stream, _), _)) = must_be_open.find(|(_, head)| head.closed) {
        return Judgement::Closed(name_of(stream));
    }
    let failing =
        demand.streams().zip(heads).filter(|((_, expected), head)| !head.meets(*expected));
    let failures = failing.map(|((stream, expected), head)| Failure {
        stream: name_of(stream),
        expected,
        actual: head.version,
    });
    Judgement::New(failures.collect())
}

/// Returns the answer to an append that is rejected for this reason and of which the window knows no id: it
/// may be a repetition that is older than the window.
pub(crate) fn reject(
    log: &Log<'_>,
    demand: &Demand<'_>,
    heads: &[StreamHead],
    rejection: Rejection,
) -> Verdict {
    let places = log.places(demand, heads);
    if places.is_empty() || is_present(Defect::NoRetryCheck) {
        return Verdict::Rejected(rejection);
    }
    Verdict::Unsettled(Unsettled { rejection, places })
}
