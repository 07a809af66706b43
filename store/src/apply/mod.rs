//! Judging an append: is it a repetition, are its demands met? The same on every replica.

mod change;
mod command;
mod conditions;
mod early;
mod group;
mod retry;
#[cfg(test)]
mod tests;

use quorate_proto::{Append, Appended, EventId, Expectation, Failure, StreamName};

pub(crate) use early::{judge_early, judge_repeated, judge_violated};
pub(crate) use retry::Log;

use crate::Fault;
use crate::defect::{Defect, is_present};
use crate::life::Head;
use crate::verdict::Rejection;

/// An append as it is judged.
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

    /// The streams with what is expected of them: the written ones, then the required ones.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&'a StreamName, Expectation)> + use<'a> {
        let writes = self.append.writes.iter().map(|write| (&write.stream, write.expectation));
        writes.chain(self.append.requirements.iter().map(|one| (&one.stream, one.expectation)))
    }

    /// How many of these streams, from the first on, must not be closed: the written ones, and the one that a
    /// change is about, which it requires.
    fn open_count(&self) -> usize {
        let writes = &self.append.writes;
        let is_change = writes.iter().any(|write| write.stream.is_system());
        writes.len() + if is_change { self.append.requirements.len() } else { 0 }
    }
}

/// What is to be done about an append.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// It was appended before: this was the answer.
    Repeated(Appended),
    /// It is not appended, whatever else it demands.
    Rejected(Rejection),
    /// It is new, and these of its expectations are not met; its conditions are still to be judged.
    New(Vec<Failure>),
}

/// Judges an append. `heads` are those of [`Demand::streams`], now.
///
/// "Was this appended?" comes before every other check: a repetition must get its first answer even
/// though, and because, its own events have moved the versions since.
pub(crate) fn judge(
    log: &mut Log<'_>,
    demand: &Demand<'_>,
    heads: &[Head],
) -> Result<Judgement, Fault> {
    let found =
        if is_present(Defect::NoRetryCheck) { retry::Found::New } else { log.find(demand, heads)? };
    match found {
        retry::Found::Repeated(appended) => return Ok(Judgement::Repeated(appended)),
        retry::Found::Reused(id) => return Ok(Judgement::Rejected(Rejection::IdReused(id))),
        retry::Found::Forgotten => return Ok(Judgement::Rejected(Rejection::Forgotten)),
        retry::Found::New => {}
    }
    let mut must_be_open = demand.streams().zip(heads).take(demand.open_count());
    if let Some(((stream, _), _)) = must_be_open.find(|(_, head)| head.closed) {
        return Ok(Judgement::Rejected(Rejection::StreamClosed(stream.clone())));
    }
    let failing =
        demand.streams().zip(heads).filter(|((_, expected), head)| !head.meets(*expected));
    let failures = failing.map(|((stream, expected), head)| Failure {
        stream: stream.clone(),
        expected,
        actual: head.version,
    });
    Ok(Judgement::New(failures.collect()))
}
