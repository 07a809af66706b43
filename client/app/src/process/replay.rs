//! One decision on a parked trigger: the reaction that was missing, or that its replay failed, without other effects.

use quorate_client::parking::{self, ParkingEvent};
use quorate_client::{Event, EventError, EventId, Expect};

use crate::process::decide::{self, Decision, Origin, Undecided, cut};
use crate::process::log::Commit;
use crate::process::manager::{ProcessManager, Trigger};
use crate::process::reaction::{Condition, Write};
use crate::process::record::Known;

/// The replay of a parked trigger.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The id of the event that the trigger was parked.
    pub(crate) parked: EventId,
    /// The id of the event that requests the replay.
    pub(crate) request: EventId,
    /// The position up to which everything about the parked trigger is known.
    pub(crate) as_of: u64,
    pub(crate) origin: Origin,
}

impl Replay {
    /// Returns the write of the answer to the request.
    fn answer(&self, manager: &str, event: Event) -> Result<Write, EventError> {
        let context = self.origin.context.clone().causation_id(self.request.to_string());
        let (stream, events) = (parking::stream_of(manager), vec![context.stamp(event)?]);
        Ok(Write { stream, expect: Expect::Any, events })
    }

    /// Returns the condition that nobody has answered the request, or dropped the trigger, since it was looked up.
    fn condition(&self, manager: &str) -> Condition {
        let query = parking::answers(manager, self.parked);
        Condition { query, after: self.as_of.into() }
    }
}

/// Decides what follows from a parked trigger now, on the instance's present state. The same transaction states that
/// it was replayed, and is made only if nobody has replayed or dropped the trigger meanwhile.
pub(crate) fn decide<M: ProcessManager>(
    manager: &M,
    known: &Known,
    trigger: &Trigger<'_>,
    handled: u64,
    replay: &Replay,
) -> Result<Decision, Undecided> {
    if known.is_over() {
        return Err(Undecided::Over);
    }
    let name = manager.name();
    let reacted = decide::react(manager, known, trigger)?;
    let mut decision = decide::decision(name, known, trigger, handled, reacted, &replay.origin)?;
    let replayed = ParkingEvent::TriggerReplayed {}.about(replay.parked);
    let write = replay.answer(name, replayed.id(replay.origin.ids.replayed()))?;
    decision.plan.commit.writes.push(write);
    decision.plan.commit.conditions.push(replay.condition(name));
    Ok(decision)
}

/// Records that a replay failed; the trigger stays parked.
pub(crate) fn fail(manager: &str, replay: &Replay, reason: &str) -> Result<Commit, EventError> {
    let failed = ParkingEvent::ReplayFailed { reason: cut(reason) }.about(replay.parked);
    let write = replay.answer(manager, failed.id(replay.origin.ids.failed(replay.request)))?;
    let (writes, conditions) = (vec![write], vec![replay.condition(manager)]);
    Ok(Commit { writes, conditions, ..Commit::default() })
}
