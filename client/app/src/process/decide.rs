//! One decision: an instance's state and a trigger in, a transaction out, without any other effect.

use std::collections::BTreeMap;

use quorate_client::parking::{self, ParkingEvent, TriggerCause};
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
    #[error("the instance has ended: it reacts to nothing any more")]
    Over,
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

/// The origin of what follows from a trigger: its ids and its context, without the cause.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) ids: Ids,
    pub(crate) context: Context,
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
    let reacted = react(manager, known, trigger)?;
    if matches!(trigger.cause, Cause::Event(_)) && !reacted.changes {
        return Ok(None);
    }
    let origin = Origin::of(manager.name(), known, trigger);
    decision(manager.name(), known, trigger, handled, reacted, &origin).map(Some)
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
        reason: Some(cut(reason)),
    };
    let name = manager.name();
    let origin = Origin::of(name, known, trigger);
    let mut plan = plan(name, PARKED, known, trigger, record, &origin)?;
    let (id, instance) = (origin.ids.parked(), trigger.instance.to_owned());
    let cause = parked_cause(&trigger.cause);
    let parked = ParkingEvent::TriggerParked { instance, cause, reason: cut(reason) };
    let parked = origin.context.stamp(parked.about(id).id(id))?;
    let stream = parking::stream_of(name);
    plan.commit.writes.push(Write { stream, expect: Expect::Any, events: vec![parked] });
    Ok(Some(plan))
}

/// A handler's reaction, and the state after it.
pub(crate) struct Reacted {
    reaction: Reaction,
    state: Box<RawValue>,
    /// True if there is an effect, or the state is another.
    changes: bool,
}

/// Calls the handler on the present state of an instance.
pub(crate) fn react<M: ProcessManager>(
    manager: &M,
    known: &Known,
    trigger: &Trigger<'_>,
) -> Result<Reacted, Undecided> {
    let before = known.record.as_ref().map(|record| &*record.state);
    let mut state = state_of::<M>(before)?;
    let fresh = match before {
        Some(_) => None,
        None => Some(raw(&state)?),
    };
    let before = before.or(fresh.as_deref()).expect("one of them is there");
    let mut reaction = manager.react(&mut state, trigger).map_err(Undecided::Handler)?;
    let state = raw(&state)?;
    if let Some(fault) = reaction.fault.take() {
        return Err(Undecided::Reaction(fault.into()));
    }
    let changes = !reaction.is_nothing() || !is_same(before, &state);
    Ok(Reacted { reaction, state, changes })
}

/// Makes the transaction of a reaction: the record, and the events that the handler wants.
pub(crate) fn decision(
    manager: &str,
    known: &Known,
    trigger: &Trigger<'_>,
    handled: u64,
    reacted: Reacted,
    origin: &Origin,
) -> Result<Decision, Undecided> {
    let Reacted { reaction, state, .. } = reacted;
    let due = match reaction.completes {
        true => BTreeMap::new(),
        false => timed(known, trigger, &reaction.timings),
    };
    let record = Record {
        cause: RecordedCause::of(&trigger.cause),
        handled: handled_through(known, &trigger.cause, handled),
        state,
        due,
        completed: reaction.completes,
        reason: None,
    };
    let mut plan = plan(manager, REACTED, known, trigger, record, origin)?;
    let causation = match &trigger.cause {
        Cause::Event(event) => event.id,
        Cause::Due(_) => plan.record_id,
    };
    plan.commit.writes.extend(with_ids(origin, causation, &reaction.writes)?);
    plan.commit.requirements.clone_from(&reaction.requirements);
    plan.commit.conditions.clone_from(&reaction.conditions);
    Ok(Decision { plan, reaction })
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
        // A parked due time is not outstanding any more: it may have been scheduled again since.
        due.retain(|key, it| *key != fired.key || it.since != fired.since);
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
    Origin { ids, context }: &Origin,
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

impl Origin {
    fn of(manager: &str, known: &Known, trigger: &Trigger<'_>) -> Origin {
        let ids = Ids::of(manager, trigger.instance, &trigger.cause, known);
        Origin { ids, context: context_of(known, trigger) }
    }
}

/// Returns the context of a record: that of the event, or else of the newest record, which is then the cause.
fn context_of(known: &Known, trigger: &Trigger<'_>) -> Context {
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

/// Returns the cause of a trigger with all that is needed to decide on it again.
fn parked_cause(cause: &Cause) -> TriggerCause {
    match cause {
        Cause::Event(event) => TriggerCause::Event {
            position: event.position.0,
            id: event.id.to_string(),
            stream: event.stream.to_string(),
            kind: event.kind.to_string(),
        },
        Cause::Due(due) => TriggerCause::Due {
            key: due.key.clone(),
            at: due.at,
            since: due.since,
            payload: due.payload.clone(),
        },
    }
}

/// Returns a reason that is short enough to be recorded.
pub(crate) fn cut(reason: &str) -> String {
    reason.chars().take(REASON_CHARACTERS_MAX).collect()
}

/// Makes a transaction of the record alone; the caller adds the other appends after it.
fn plan(
    manager: &str,
    kind: &str,
    known: &Known,
    trigger: &Trigger<'_>,
    record: Record,
    Origin { ids, context }: &Origin,
) -> Result<Plan, Undecided> {
    let is_due = !record.due.is_empty() || known.outstanding().next().is_some();
    let content = serde_json::to_vec(&record).map_err(EventError::from)?;
    let record_id = ids.record(&content);
    let event = Event::new(kind, content).map_err(EventError::from)?.id(record_id);
    let event = context.stamp(event)?;
    let own = Write {
        stream: stream_of(manager, trigger.instance),
        expect: Expect::version(known.version),
        events: vec![if is_due { event.tag(DUE) } else { event }],
    };
    let commit = Commit { writes: vec![own], ..Commit::default() };
    Ok(Plan { record, record_id, context: context.clone(), commit })
}
