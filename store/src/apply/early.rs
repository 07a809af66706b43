//! What a leader may answer to an append without proposing it.

use quorate_proto::{Append, Appended, Expectation, Position, Scope, Violation};

use super::{Demand, Judgement, Log, judge};
use crate::fault::Fault;
use crate::life::Head;
use crate::verdict::{Rejection, Verdict};
use crate::view::{Published, Shared, View};

/// Answers by what is applied, if what makes the append fail can never become true again: an `exactly N` whose
/// stream has passed N, or a closed stream; or, as that comes first, the first answer to a repetition. `None`:
/// propose it, apply will tell.
///
/// Looks at what is in memory: streams with events in a tail, and those that were closed of late. Only when one
/// of them makes the append fail it reads from disk, what it may have to be compared with.
pub(crate) fn judge_early(shared: &Shared, append: &Append) -> Result<Option<Verdict>, Fault> {
    let Published { view, point } = shared.get();
    let (demand, as_of) = (Demand::of(append), point.position);
    let mut may_fail = false;
    for (stream, expectation) in demand.streams() {
        let version = view.version_in_memory(stream, as_of);
        may_fail |= version.is_some_and(|version| is_passed(expectation, version));
        let record = view.record_in_tails(&Scope::Stream(stream.clone()), as_of);
        may_fail |= record.is_some_and(|record| record.closed);
    }
    if !may_fail {
        return Ok(None);
    }
    let mut log = Log::new(&view, &shared.window, point);
    let heads = heads(&view, &demand, as_of)?;
    Ok(match judge(&mut log, &demand, &heads)? {
        Judgement::Repeated(first) => Some(judge_repeated(shared, append, first)?),
        Judgement::Rejected(rejection) => {
            // An id leaves the window some day; what is forgotten is apply's to say.
            let is_final = rejection.is_final();
            is_final.then_some(Verdict::Rejected(rejection))
        }
        Judgement::New(failures) => {
            let conflict = Rejection::Conflict { failures, violations: Vec::new() };
            conflict.is_final().then_some(Verdict::Rejected(conflict))
        }
    })
}

/// What apply would answer to an append with these violations, if it were its turn now. An answer that is no
/// repetition counts only where the end of the log was seen after the append came.
pub(crate) fn judge_violated(
    shared: &Shared,
    append: &Append,
    violations: Vec<Violation>,
) -> Result<Verdict, Fault> {
    let Published { view, point } = shared.get();
    let demand = Demand::of(append);
    let mut log = Log::new(&view, &shared.window, point);
    let heads = heads(&view, &demand, point.position)?;
    Ok(match judge(&mut log, &demand, &heads)? {
        Judgement::Repeated(first) => judge_repeated(shared, append, first)?,
        Judgement::Rejected(rejection) => Verdict::Rejected(rejection),
        Judgement::New(failures) => Verdict::Rejected(Rejection::Conflict { failures, violations }),
    })
}

/// The answer to an append whose ids are those of an earlier one: the answer that this got, unless type, data or
/// metadata of an event that is still there are others.
pub(crate) fn judge_repeated(
    shared: &Shared,
    append: &Append,
    first: Appended,
) -> Result<Verdict, Fault> {
    let view = shared.get().view;
    let mut position = first.first_position;
    for event in append.writes.iter().flat_map(|write| &write.events) {
        if let Some(stored) = view.event(position)? {
            let stored = stored.decode().event;
            let is_same = stored.kind == event.kind
                && stored.data == event.data
                && stored.metadata == event.metadata;
            if !is_same {
                return Ok(Verdict::Rejected(Rejection::IdReused(event.id)));
            }
        }
        position = position.next();
    }
    Ok(Verdict::Repeated(first))
}

fn heads(view: &View, demand: &Demand<'_>, as_of: Position) -> Result<Vec<Head>, Fault> {
    demand.streams().map(|(stream, _)| view.head(stream, as_of)).collect()
}

fn is_passed(expectation: Expectation, version: quorate_proto::Version) -> bool {
    matches!(expectation, Expectation::Exactly(expected) if version > expected)
}
