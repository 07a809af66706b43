//! The judgement on an append beside apply: by the leader before it is proposed, and where apply left the answer open.
//!
//! The order of the checks is the rule of retries: first the repetition, then the conditions, then the refusal. All
//! checks see the store at one point.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{
    Append, Appended, Expectation, Invalid, Position, Problem, Scope, StreamName, Violation,
};

use super::conditions;
use crate::fault::Fault;
use crate::format::command::{self, ParsedRequest, Parts};
use crate::judge::{Demand, Found, Judgement, Log, judge, without_repetition};
use crate::verdict::{Rejection, Unsettled, Verdict};
use crate::view::{Published, Shared, StreamHead, View};

/// The judgement on an append before it is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prejudged {
    /// The append has this answer for good.
    Answer(Verdict),
    /// Only apply can decide. The conditions of the append hold through `checked`.
    Propose {
        /// No event up to and including this position violates one of the conditions.
        checked: Position,
    },
    /// The append is no repetition, and its conditions are violated or begin after the end of the log. The problem
    /// counts only if all entries that were committed when the append came were applied here before the judgement.
    Violated(Problem),
}

/// Judges by what is in memory: the streams with events in a tail, and those that were closed of late. Returns none
/// if memory does not suffice.
pub(super) fn prejudge_in_memory(shared: &Shared, append: &Append) -> Option<Prejudged> {
    if !append.conditions.is_empty() {
        return None;
    }
    prejudge_demand_in_memory(shared, &Demand::of(append))
}

/// Does the same for the append in an encoded request; returns none, too, if the request is not an append.
pub(super) fn prejudge_request_in_memory(shared: &Shared, request: &Bytes) -> Option<Prejudged> {
    let mut parts = Parts::default();
    match command::parse(request, request, &mut parts) {
        Ok(ParsedRequest::Append(append)) if append.conditions.is_empty() => {
            prejudge_demand_in_memory(shared, &Demand::of_parsed(&append, &parts))
        }
        _ => None,
    }
}

fn prejudge_demand_in_memory(shared: &Shared, demand: &Demand<'_>) -> Option<Prejudged> {
    let Published { view, point } = shared.get();
    if !is_lost(&view, demand, point.position) {
        return Some(Prejudged::Propose { checked: point.position });
    }
    let log = Log::new(&view, &shared.window, point);
    let heads = demand.streams().map(|(stream, _)| view.head_in_memory(stream, point.position));
    let heads: Vec<StreamHead> = heads.collect::<Option<_>>()?;
    if !log.knows_no_id(demand) {
        return None;
    }
    let rejection = match without_repetition(demand, &heads) {
        Judgement::Closed(stream) => Rejection::StreamClosed(stream),
        Judgement::New(failures) => Rejection::Conflict { failures, violations: Vec::new() },
        Judgement::Repeated(_) | Judgement::Rejected(_) => return None,
    };
    let places = log.places(demand, &heads);
    let is_new = places.is_empty() || log.is_new(demand, &places);
    (rejection.is_final() && is_new).then_some(Prejudged::Answer(Verdict::Rejected(rejection)))
}

/// Judges by everything that is applied, with reads from the disk if need be.
///
/// Looks at the streams with events in a tail, and at those that were closed of late. An append that fails by these
/// for good is answered; every other one is proposed if its conditions hold.
pub(super) fn prejudge(shared: &Arc<Shared>, append: &Append) -> Result<Prejudged, Fault> {
    let published = shared.get();
    let end = published.point.position;
    if is_lost(&published.view, &Demand::of(append), end) {
        let verdict = judge_now(shared, &published, append, Vec::new())?;
        if is_final(&verdict) {
            return Ok(Prejudged::Answer(verdict));
        }
    }
    let violations = conditions::check(shared, &published, &append.conditions)?;
    let from_the_future = append.conditions.iter().map(|condition| condition.after).max();
    let from_the_future = from_the_future.filter(|after| violations.is_empty() && *after > end);
    if violations.is_empty() && from_the_future.is_none() {
        return Ok(Prejudged::Propose { checked: end });
    }
    let rejection = match judge_now(shared, &published, append, violations)? {
        Verdict::Rejected(rejection) => rejection,
        repeated => return Ok(Prejudged::Answer(repeated)),
    };
    Ok(Prejudged::Violated(match (from_the_future, rejection) {
        (Some(after), Rejection::Conflict { .. }) => begins_in_the_future(after, end),
        (_, rejection) => rejection.into(),
    }))
}

/// Returns the answer to an append whose conditions begin after the end of the log: its writer cannot know the log
/// up to there, and events that come until then would be passed over.
fn begins_in_the_future(after: Position, end: Position) -> Problem {
    let why = format_args!("the log ends at position {end}; nothing was appended");
    Invalid::from_the_future(after.0, why).into()
}

/// Returns true if memory alone shows that the append can no longer be made, perhaps because it was made
/// already: a stream is above its `exactly N`, or a stream that must be open is closed.
fn is_lost(view: &View, demand: &Demand<'_>, as_of: Position) -> bool {
    let is_passed = |(stream, expectation): (&str, Expectation)| {
        let Expectation::Exactly(expected) = expectation else { return false };
        view.version_in_memory(stream, as_of).is_some_and(|version| version > expected)
    };
    let is_closed = |(stream, _): (&str, Expectation)| {
        let scope = Scope::Stream(StreamName::new(stream).expect("a name"));
        view.record_in_tails(&scope, as_of).is_some_and(|record| record.closed)
    };
    demand.streams().any(is_passed)
        || view.tails_have_records() && demand.streams().take(demand.open_count()).any(is_closed)
}

/// Returns true if the verdict stays the same whatever is appended. An id leaves the window some day; only apply
/// decides what is forgotten.
fn is_final(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Rejected(rejection) => rejection.is_final(),
        _ => true,
    }
}

/// Returns the answer that apply would give to an append with these violations now: a repetition or a rejection.
fn judge_now(
    shared: &Shared,
    published: &Published,
    append: &Append,
    violations: Vec<Violation>,
) -> Result<Verdict, Fault> {
    let Published { view, point } = published;
    let demand = Demand::of(append);
    let mut log = Log::new(view, &shared.window, *point);
    let heads = demand
        .streams()
        .map(|(stream, _)| view.head(&StreamName::new(stream).expect("a name"), point.position));
    let heads = heads.collect::<Result<Vec<_>, _>>()?;
    let rejection = match judge(&mut log, &demand, &heads)? {
        Judgement::Repeated(first) => return compare_content(view, append, first),
        Judgement::Rejected(rejection) => return Ok(Verdict::Rejected(rejection)),
        Judgement::Closed(stream) => Rejection::StreamClosed(stream),
        Judgement::New(failures) => Rejection::Conflict { failures, violations },
    };
    let places = log.places(&demand, &heads);
    find_older(&mut log, view, append, Unsettled { rejection, places })
}

/// Returns the answer to an append by what apply found.
pub(super) fn settle(shared: &Shared, append: &Append, found: Verdict) -> Result<Verdict, Fault> {
    match found {
        Verdict::Repeated(first) => compare_content(&shared.get().view, append, first),
        Verdict::Unsettled(unsettled) => {
            let Published { view, point } = shared.get();
            find_older(&mut Log::new(&view, &shared.window, point), &view, append, unsettled)
        }
        settled => Ok(settled),
    }
}

/// Returns the answer to an append that is rejected, unless it was made before the window began and its events
/// stand where it would have put them.
fn find_older(
    log: &mut Log<'_>,
    view: &View,
    append: &Append,
    Unsettled { rejection, places }: Unsettled,
) -> Result<Verdict, Fault> {
    Ok(match log.find_at(&Demand::of(append), &places)? {
        Found::New => Verdict::Rejected(rejection),
        Found::Repeated(first) => compare_content(view, append, first)?,
        Found::Reused(id) => Verdict::Rejected(Rejection::IdReused(id)),
        Found::Forgotten => Verdict::Rejected(Rejection::Forgotten),
    })
}

/// Returns the answer to an append that has the ids of an earlier one: the answer to the earlier one, unless
/// an event that is still there has another type, other data or other metadata.
fn compare_content(view: &View, append: &Append, first: Appended) -> Result<Verdict, Fault> {
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
