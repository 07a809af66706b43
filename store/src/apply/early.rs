//! What a leader may answer to an append without proposing it.

use quorate_proto::{Append, Expectation, StreamName};

use super::{Demand, Judgement, Log, judge};
use crate::fault::Fault;
use crate::life::Head;
use crate::verdict::{Rejection, Verdict};
use crate::view::{Published, Shared};

/// Answers by what is applied, if what makes the append fail can never become true again: an `exactly N` whose
/// stream has passed N, or a closed stream; or, as that comes first, the first answer to a repetition. `None`:
/// propose it, apply will tell.
///
/// Looks at streams with events in memory, and at records; in the rare case that an old event has to be
/// compared it reads from disk.
pub(crate) fn judge_early(shared: &Shared, append: &Append) -> Result<Option<Verdict>, Fault> {
    let Published { view, point } = shared.get();
    let (demand, as_of) = (Demand::of(append), point.position);
    let has_records = view.has_records();
    let mut may_fail = false;
    for (stream, expectation) in demand.streams() {
        let version = view.version_in_memory(stream, as_of);
        may_fail |= version.is_some_and(|version| is_passed(expectation, version));
        may_fail |= has_records && view.head(stream, as_of)?.closed;
    }
    if !may_fail {
        return Ok(None);
    }
    let head = |(stream, _): (&StreamName, Expectation)| view.head(stream, as_of);
    let heads = demand.streams().map(head).collect::<Result<Vec<Head>, Fault>>()?;
    let mut log = Log::new(&view, &shared.window, point);
    Ok(match judge(&mut log, &demand, &heads)? {
        Judgement::Repeated(first) => Some(Verdict::Appended(first)),
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

fn is_passed(expectation: Expectation, version: quorate_proto::Version) -> bool {
    matches!(expectation, Expectation::Exactly(expected) if version > expected)
}
