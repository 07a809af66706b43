//! One decision: an instance's state and a trigger in, a transaction out, without any other effect.

use std::collections::BTreeMap;

use quorate_client::{Event, EventError, EventId, Expect};
use serde_json::value::RawValue;

use crate::context::Context;
use crate::process::log::Commit;
use crate::process::manager::{Cause, HandlerError, ProcessManager, Trigger, later};
use crate::process::reaction::{Reaction, Timing, When, Write};
use crate::process::record::{
    DUE, Ids, Known, Moment, Outstanding, PARKED, REACTED, Record, RecordedCause,
};

/// The maximum length of a reason, in characters.
const REASON_CHARACTERS_MAX: usize = 512;

/// The reason why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undecided {
    /// The handler cannot read the state in the newest record: nothing can follow, not even parking.
    #[error("the state in its newest record cannot be read: {0}")]
    State(serde_json::Error),
    #[error("the handler failed: {0}")]
    Handler(HandlerError),
    #[error("what the handler wants cannot be written: {0}")]
    Reaction(#[from] EventError),
}

/// A record and the append that contains it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) record: Record,
    pub(crate) record_id: EventId,
    /// The context of the reaction, without its cause.
    pub(crate) context: Context,
    pub(crate) commit: Commit,
}

/// A decision, and the handler's reaction.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) plan: Plan,
    pub(crate) reaction: Reaction,
}

/// Returns the name of an instance's stream: in the instance's path, if it has one.
pub(crate) fn stream_of(manager: &str, instance: &str) -> String {
    match instance.rsplit_once('/') {
        Some((path, id)) => format!("{path}/{manager}-{id}"),
        None => format!("{manager}-{instance}"),
    }
}

/// Returns the instance of a stream, if the stream is one of the manager's.
pub(crate) fn instance_of(manager: &str, stream: &str) -> Option<String> {
    let (path, name) = match stream.rsplit_once('/') {
        Some((path, name)) => (Some(path), name),
        None => (None, stream),
    };
    let id = name.strip_prefix(manager)?.strip_prefix('-')?;
    Some(path.map_or_else(|| id.to_owned(), |path| format!("{path}/{id}")))
}

/// Decides what follows from a trigger. `None` = nothing: it was handled before, or the handler wants nothing.
/// `handled` is the position up to which everything that concerns the instance is handled, even in other processes.
pub(crate) fn decide<M: ProcessManager>(
    manager: &M,
    known: &Known,
    trigger: &Trigger<'_>,
    handled: u64,
) -> Result<Option<Decision>, Undecided> {
    if is_settled(known, &trigger.cause) {
        return Ok(None);
    }
    let before = known.record.as_ref().map(|record| &*record.state);
    let mut state = state_of::<M>(before)?;
    let fresh = match before {
        Some(_) => None,
        None => Some(raw(&state)?),
    };
    let before = before.or(fresh.as_deref()).expect("one of them is there");
    let reaction = manager.react(&mut state, trigger).map_err(Undecided::Handler)?;
    let after = raw(&state)?;
    let is_event = matches!(trigger.cause, Cause::Event(_));
    if is_event && reaction.is_nothing() && is_same(before, &after) {
        return Ok(None);
    }
    if let Some(fault) = reaction.fault {
        return Err(Undecided::Reaction(fault.into()));
    }
    let due = match reaction.completes {
        true => BTreeMap::new(),
        false => timed(known, trigger, &reaction.timings),
    };
    let record = Record {
        cause: RecordedCause::of(&trigger.cause),
        handled: handled_through(known, &trigger.cause, handled),
        state: after,
        due,
        completed: reaction.completes,
        reason: None,
    };
    let mut plan = plan(manager.name(), REACTED, known, trigger, record)?;
    let causation = match &trigger.cause {
        Cause::Event(event) => event.id,
        Cause::Due(_) => plan.record_id,
    };
    let ids = Ids::of(manager.name(), trigger.instance, &trigger.cause, known);
    plan.commit.writes.extend(with_ids(&ids, &plan.context, causation, &reaction.writes)?);
    plan.commit.requirements.clone_from(&reaction.requirements);
    plan.commit.conditions.clone_from(&reaction.conditions);
    Ok(Some(Decision { plan, reaction }))
}

/// Records that nothing could follow from a trigger, with the reason; the state stays as it is. Returns `None`
/// if the trigger is settled already.
pub(crate) fn park<M: ProcessManager>(
    manager: &M,
    known: &Known,
    trigger: &Trigger<'_>,
    handled: u64,
    reason: &str,
) -> Result<Option<Plan>, Undecided> {
    if is_settled(known, &trigger.cause) {
        return Ok(None);
    }
    let state = match &known.record {
        Some(record) => record.state.clone(),
        None => raw(&M::State::default())?,
    };
    let record = Record {
        cause: RecordedCause::of(&trigger.cause),
        handled: handled_through(known, &trigger.cause, handled),
        state,
        due: timed(known, trigger, &[]),
        completed: false,
        reason: Some(reason.chars().take(REASON_CHARACTERS_MAX).collect()),
    };
    plan(manager.name(), PARKED, known, trigger, record).map(Some)
}

/// Returns true if the instance has dealt with a trigger already, or has ended.
fn is_settled(known: &Known, cause: &Cause) -> bool {
    known.is_over()
        || match cause {
            Cause::Event(event) => event.position.0 <= known.handled(),
            Cause::Due(due) => {
                !known.outstanding().any(|(key, it)| *key == due.key && it.since == due.since)
            }
        }
}

fn handled_through(known: &Known, cause: &Cause, handled: u64) -> u64 {
    let position = cause.event().map_or(handled, |event| event.position.0);
    known.handled().max(position)
}

fn state_of<M: ProcessManager>(written: Option<&RawValue>) -> Result<M::State, Undecided> {
    match written {
        None => Ok(M::State::default()),
        Some(written) => serde_json::from_str(written.get()).map_err(Undecided::State),
    }
}

fn raw<T: serde::Serialize>(value: &T) -> Result<Box<RawValue>, Undecided> {
    serde_json::value::to_raw_value(value).map_err(|error| Undecided::Reaction(error.into()))
}

/// Returns true if two states are equal, in whatever order their maps were written.
fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let value = |raw: &RawValue| serde_json::from_str::<serde_json::Value>(raw.get()).ok();
    one.get() == other.get() || value(one) == value(other)
}

/// Returns the outstanding due times after the trigger and the handler's changes.
fn timed(
    known: &Known,
    trigger: &Trigger<'_>,
    timings: &[Timing],
) -> BTreeMap<String, Outstanding> {
    let mut due: BTreeMap<String, Outstanding> =
        known.outstanding().map(|(key, it)| (key.clone(), it.clone())).collect();
    if let Cause::Due(fired) = &trigger.cause {
        due.remove(&fired.key);
    }
    for timing in timings {
        match timing {
            Timing::Cancel { key } => {
                due.remove(key);
            }
            Timing::Schedule { key, when, payload } => {
                let at = Moment(match *when {
                    When::At(time) => time,
                    When::After(delay) => later(trigger.time, delay),
                });
                let since = known.version + 1;
                due.insert(key.clone(), Outstanding { at, since, payload: payload.clone() });
            }
        }
    }
    due
}

/// Returns the events as they are appended: with the manager's ids, and with the context of the reaction.
fn with_ids(
    ids: &Ids,
    context: &Context,
    causation: EventId,
    writes: &[Write],
) -> Result<Vec<Write>, EventError> {
    let mut ordinals = 0..;
    let context = context.clone().causation_id(causation.to_string());
    let mut complete =
        |event: Event| context.stamp(event.id(ids.appended(ordinals.next().unwrap_or_default())));
    let complete = |write: &Write| {
        let events = write.events.iter().cloned().map(&mut complete);
        let events = events.collect::<Result<_, EventError>>()?;
        Ok(Write { stream: write.stream.clone(), expect: write.expect, events })
    };
    writes.iter().map(complete).collect()
}

/// Returns the context of a record: that of the event, or else of the newest record, which is then the cause.
fn origin(known: &Known, trigger: &Trigger<'_>) -> Context {
    match &trigger.cause {
        Cause::Event(event) => {
            let context = Context::following(event);
            match context.correlation_id.is_empty() {
                true => context.correlation_id(&known.context.correlation_id),
                false => context,
            }
        }
        Cause::Due(_) => {
            let newest = known.id.map(|id| id.to_string()).unwrap_or_default();
            known.context.clone().causation_id(newest)
        }
    }
}

/// Makes a transaction of the record alone; the caller adds the other appends after it.
fn plan(
    manager: &str,
    kind: &str,
    known: &Known,
    trigger: &Trigger<'_>,
    record: Record,
) -> Result<Plan, Undecided> {
    let is_due = !record.due.is_empty() || known.outstanding().next().is_some();
    let content = serde_json::to_vec(&record).map_err(EventError::from)?;
    let record_id = Ids::of(manager, trigger.instance, &trigger.cause, known).record(&content);
    let context = origin(known, trigger);
    let event = Event::new(kind, content).map_err(EventError::from)?.id(record_id);
    let event = context.stamp(event)?;
    let own = Write {
        stream: stream_of(manager, trigger.instance),
        expect: Expect::version(known.version),
        events: vec![if is_due { event.tag(DUE) } else { event }],
    };
    let commit = Commit { writes: vec![own], ..Commit::default() };
    Ok(Plan { record, record_id, context, commit })
}
