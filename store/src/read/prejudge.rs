//! The answers that a leader may give to an append without proposing it.

use quorate_proto::{Append, Appended, Expectation, Position, Scope, Violation};

use crate::apply::{Demand, Found, Judgement, Log, Place, judge, without_repetition};
use crate::fault::Fault;
use crate::retention::Head;
use crate::verdict::{Rejection, Unsettled, Verdict};
use crate::view::{Published, Shared, View};

/// The judgement on an append by what is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early {
    /// The append must be proposed: only apply can decide.
    Propose,
    /// The append has this answer for good.
    Answer(Verdict),
    /// The append can no longer be made. [`crate::Reader::judge_early`] finds the answer, and may read the disk.
    Check,
}

/// Judges by what is in memory: the streams with events in a tail, and those that were closed of late.
pub(crate) fn judge_in_memory(shared: &Shared, append: &Append) -> Early {
    let Published { view, point } = shared.get();
    let demand = Demand::of(append);
    if !is_lost(&view, &demand, point.position) {
        return Early::Propose;
    }
    let log = Log::new(&view, &shared.window, point);
    let heads = demand.streams().map(|(stream, _)| view.head_in_memory(stream, point.position));
    let heads: Option<Vec<Head>> = heads.collect();
    let Some(heads) = heads.filter(|_| log.knows_no_id(&demand)) else { return Early::Check };
    let rejection = match without_repetition(&demand, &heads) {
        Judgement::Closed(stream) => Rejection::StreamClosed(stream),
        Judgement::New(failures) => Rejection::Conflict { failures, violations: Vec::new() },
        Judgement::Repeated(_) | Judgement::Rejected(_) => return Early::Check,
    };
    let places = log.places(&demand, &heads);
    if rejection.is_final() && (places.is_empty() || log.is_new(&demand, &places)) {
        return Early::Answer(Verdict::Rejected(rejection));
    }
    Early::Check
}

/// Returns true if memory alone shows that the append can no longer be made, perhaps because it was made
/// already: a stream is above its `exactly N`, or a stream that must be open is closed.
fn is_lost(view: &View, demand: &Demand<'_>, as_of: Position) -> bool {
    let open = demand.open_count();
    demand.streams().enumerate().any(|(place, (stream, expectation))| {
        let version = view.version_in_memory(stream, as_of);
        let is_closed = || {
            let record = view.record_in_tails(&Scope::Stream(stream.clone()), as_of);
            record.is_some_and(|record| record.closed)
        };
        version.is_some_and(|version| is_passed(expectation, version))
            || place < open && is_closed()
    })
}

/// Answers from what is applied if the reason to reject the append can never go away: a stream has passed the
/// N of its `exactly N`, or is closed. A repetition is found before that, and gets its first answer. `None`:
/// propose the append, and apply decides.
///
/// Looks at the streams with events in a tail, and at those that were closed of late. Reads the disk only
/// when one of these rejects the append, for events that the append may have to be compared with.
pub(crate) fn judge_early(shared: &Shared, append: &Append) -> Result<Option<Verdict>, Fault> {
    let Published { view, point } = shared.get();
    let (demand, as_of) = (Demand::of(append), point.position);
    if !is_lost(&view, &demand, as_of) {
        return Ok(None);
    }
    let mut log = Log::new(&view, &shared.window, point);
    let heads = heads(&view, &demand, as_of)?;
    let verdict = match judge(&mut log, &demand, &heads)? {
        Judgement::Repeated(first) => judge_repeated(shared, append, first)?,
        Judgement::Rejected(rejection) => Verdict::Rejected(rejection),
        Judgement::Closed(stream) => {
            let places = log.places(&demand, &heads);
            settle(&mut log, shared, append, &places, Rejection::StreamClosed(stream))?
        }
        Judgement::New(failures) => {
            let places = log.places(&demand, &heads);
            let conflict = Rejection::Conflict { failures, violations: Vec::new() };
            settle(&mut log, shared, append, &places, conflict)?
        }
    };
    // An id leaves the window some day; only apply decides what is forgotten.
    let is_final = match &verdict {
        Verdict::Rejected(rejection) => rejection.is_final(),
        _ => true,
    };
    Ok(is_final.then_some(verdict))
}

/// Returns the answer to an append that is rejected, unless it was made before the window began and its
/// events stand at `places`.
fn settle(
    log: &mut Log<'_>,
    shared: &Shared,
    append: &Append,
    places: &[Place],
    rejection: Rejection,
) -> Result<Verdict, Fault> {
    Ok(match log.find_at(&Demand::of(append), places)? {
        Found::New => Verdict::Rejected(rejection),
        Found::Repeated(first) => judge_repeated(shared, append, first)?,
        Found::Reused(id) => Verdict::Rejected(Rejection::IdReused(id)),
        Found::Forgotten => Verdict::Rejected(Rejection::Forgotten),
    })
}

/// Returns the answer to an append that apply left open.
pub(crate) fn judge_unsettled(
    shared: &Shared,
    append: &Append,
    unsettled: Unsettled,
) -> Result<Verdict, Fault> {
    let Published { view, point } = shared.get();
    let mut log = Log::new(&view, &shared.window, point);
    let Unsettled { rejection, places } = unsettled;
    settle(&mut log, shared, append, &places, rejection)
}

/// Returns the answer that apply would give to an append with these violations if it were applied now. An
/// answer that is no repetition counts only if the end of the log was seen after the append came.
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
        Judgement::Closed(stream) => {
            let places = log.places(&demand, &heads);
            settle(&mut log, shared, append, &places, Rejection::StreamClosed(stream))?
        }
        Judgement::New(failures) => {
            let places = log.places(&demand, &heads);
            let conflict = Rejection::Conflict { failures, violations };
            settle(&mut log, shared, append, &places, conflict)?
        }
    })
}

/// Returns the answer to an append that has the ids of an earlier one: the answer to the earlier one, unless
/// an event that is still there has another type, other data or other metadata.
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
