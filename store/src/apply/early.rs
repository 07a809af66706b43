//! What a leader may answer to an append without proposing it.

use quorate_proto::{Append, Appended, Expectation, Position, Scope, Violation};

use super::retry::Found;
use super::{Demand, Judgement, Log, Place, judge, without_repetition};
use crate::fault::Fault;
use crate::life::Head;
use crate::verdict::{Rejection, Unsettled, Verdict};
use crate::view::{Published, Shared, View};

/// What can be said of an append by what is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early {
    /// Apply must tell.
    Propose,
    /// This is the answer for good.
    Answer(Verdict),
    /// It cannot be made any more. [`crate::Reader::judge_early`] tells why, and may have to read for that.
    Look,
}

/// Looks at what is in memory: streams with events in a tail, and those that were closed of late.
pub(crate) fn judge_in_memory(shared: &Shared, append: &Append) -> Early {
    let Published { view, point } = shared.get();
    let demand = Demand::of(append);
    if !is_lost(&view, &demand, point.position) {
        return Early::Propose;
    }
    let log = Log::new(&view, &shared.window, point);
    let heads = demand.streams().map(|(stream, _)| view.head_in_memory(stream, point.position));
    let heads: Option<Vec<Head>> = heads.collect();
    let Some(heads) = heads.filter(|_| log.knows_no_id(&demand)) else { return Early::Look };
    let rejection = match without_repetition(&demand, &heads) {
        Judgement::Closed(stream) => Rejection::StreamClosed(stream),
        Judgement::New(failures) => Rejection::Conflict { failures, violations: Vec::new() },
        Judgement::Repeated(_) | Judgement::Rejected(_) => return Early::Look,
    };
    let places = log.places(&demand, &heads);
    if rejection.is_final() && (places.is_empty() || log.is_new(&demand, &places)) {
        return Early::Answer(Verdict::Rejected(rejection));
    }
    Early::Look
}

/// Whether what is in memory tells that the append cannot be made any more, be that because it was made: a stream
/// is above its `exactly N`, or one that must be open is closed.
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

/// Answers by what is applied, if what makes the append fail can never become true again: an `exactly N` whose
/// stream has passed N, or a closed stream; or, as that comes first, the first answer to a repetition. `None`:
/// propose it, apply will tell.
///
/// Looks at streams with events in a tail, and those that were closed of late. Only when one of them makes the
/// append fail it reads from disk, what it may have to be compared with.
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
    // An id leaves the window some day; what is forgotten is apply's to say.
    let is_final = match &verdict {
        Verdict::Rejected(rejection) => rejection.is_final(),
        _ => true,
    };
    Ok(is_final.then_some(verdict))
}

/// The answer to an append that is rejected, unless it was made before the window began and its events are at
/// these places.
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

/// The answer to an append that apply left open.
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
