//! Judging an append: is it a repetition, are its demands met? The same on every replica.

mod command;
mod retry;

use quorate_proto::{
    Append, Appended, EventId, Expectation, Failure, Requirement, StreamName, Version,
};

pub(crate) use retry::Log;

use crate::Fault;
use crate::defect::{Defect, is_present};

/// What an append demands, whatever form it came in.
#[derive(Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) writes: Vec<WriteDemand<'a>>,
    pub(crate) requirements: &'a [Requirement],
    /// The ids of the events of all writes, in their order.
    pub(crate) ids: Vec<EventId>,
}

/// What a write demands.
#[derive(Debug)]
pub(crate) struct WriteDemand<'a> {
    pub(crate) stream: &'a StreamName,
    pub(crate) expectation: Expectation,
    /// How many of the ids are this write's; at least one.
    pub(crate) events: usize,
}

impl<'a> Demand<'a> {
    pub(crate) fn of(append: &'a Append) -> Demand<'a> {
        let writes = append.writes.iter().map(|write| WriteDemand {
            stream: &write.stream,
            expectation: write.expectation,
            events: write.events.len(),
        });
        let events = append.writes.iter().flat_map(|write| &write.events);
        let ids = events.map(|event| event.id).collect();
        Demand { writes: writes.collect(), requirements: &append.requirements, ids }
    }

    /// The streams with what is expected of them: the written ones, then the required ones.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&StreamName, Expectation)> {
        let writes = self.writes.iter().map(|write| (write.stream, write.expectation));
        writes.chain(self.requirements.iter().map(|one| (&one.stream, one.expectation)))
    }
}

/// What is to be done about an append.
#[derive(Debug)]
pub(crate) enum Judgement {
    /// Its events are appended.
    Append,
    /// It was appended before: this was the answer.
    Repeated(Appended),
    /// These demands are not met.
    Conflict(Vec<Failure>),
    /// This id stands in the log as part of something else.
    Reused(EventId),
}

/// Judges an append. `versions` are those of [`Demand::streams`], now.
///
/// "Was this appended?" comes before every other check: a repetition must get its first answer even
/// though, and because, its own events have moved the versions since.
pub(crate) fn judge(
    log: &Log<'_>,
    demand: &Demand<'_>,
    versions: &[Version],
) -> Result<Judgement, Fault> {
    let found = if is_present(Defect::NoRetryCheck) {
        retry::Found::New
    } else {
        log.find(demand, versions)?
    };
    match found {
        retry::Found::Repeated(appended) => return Ok(Judgement::Repeated(appended)),
        retry::Found::Reused(id) => return Ok(Judgement::Reused(id)),
        retry::Found::New => {}
    }
    let failures: Vec<Failure> = demand
        .streams()
        .zip(versions)
        .filter(|((_, expected), actual)| !expected.is_met_at(**actual))
        .map(|((stream, expected), actual)| Failure {
            stream: stream.clone(),
            expected,
            actual: *actual,
        })
        .collect();
    if failures.is_empty() {
        return Ok(Judgement::Append);
    }
    match log.find_by_failing_none(demand, versions)? {
        Some(appended) => Ok(Judgement::Repeated(appended)),
        None => Ok(Judgement::Conflict(failures)),
    }
}
