//! Judging an append, alike on every replica: is it a repetition, and are its expectations met?

mod change;
mod command;
mod conditions;
mod group;
mod retry;
#[cfg(test)]
mod tests;

use quorate_proto::{Append, Appended, EventId, Expectation, Failure, StreamName};

pub(crate) use retry::{Found, Log, Place};

use crate::Fault;
use crate::defect::{Defect, is_present};
use crate::retention::Head;
use crate::verdict::{Rejection, Unsettled, Verdict};

/// An append that is being judged.
#[derive(Debug)]
pub(crate) struct Demand<'a> {
    append: &'a Append,
    /// The ids of the events of all writes, in their order.
    ids: Vec<EventId>,
}

impl<'a> Demand<'a> {
    pub(crate) fn of(append: &'a Append) -> Demand<'a> {
        let events = append.writes.iter().flat_map(|write| &write.events);
        Demand { append, ids: events.map(|event| event.id).collect() }
    }

    /// Returns the streams with their expectations: the written ones, then the required ones.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&'a StreamName, Expectation)> + use<'a> {
        let writes = self.append.writes.iter().map(|write| (&write.stream, write.expectation));
        writes.chain(self.append.requirements.iter().map(|one| (&one.stream, one.expectation)))
    }

    /// Returns the number of these streams, from the first on, that must not be closed: the written ones, and
    /// the stream that a change is about, which the change requires.
    pub(crate) fn open_count(&self) -> usize {
        let writes = &self.append.writes;
        let is_change = writes.iter().any(|write| write.stream.is_system());
        writes.len() + if is_change { self.append.requirements.len() } else { 0 }
    }
}

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
    heads: &[Head],
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
pub(crate) fn without_repetition(demand: &Demand<'_>, heads: &[Head]) -> Judgement {
    let mut must_be_open = demand.streams().zip(heads).take(demand.open_count());
    if let Some(((stream, _), _)) = must_be_open.find(|(_, head)| head.closed) {
        return Judgement::Closed(stream.clone());
    }
    let failing =
        demand.streams().zip(heads).filter(|((_, expected), head)| !head.meets(*expected));
    let failures = failing.map(|((stream, expected), head)| Failure {
        stream: stream.clone(),
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
    heads: &[Head],
    rejection: Rejection,
) -> Verdict {
    let places = log.places(demand, heads);
    if places.is_empty() || is_present(Defect::NoRetryCheck) {
        return Verdict::Rejected(rejection);
    }
    Verdict::Unsettled(Unsettled { rejection, places })
}
