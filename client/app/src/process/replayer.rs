//! The replayer: decides on a parked trigger again as often as a request needs, until the request is answered.

use quorate_client::parking::{self, ParkedTriggers, ParkingEvent, TriggerCause};
use quorate_client::{ErrorKind, EventId, Query, RecordedEvent, StreamName, Timestamp};

use crate::context::Context;
use crate::process::decide::{Origin, Undecided};
use crate::process::error::ProcessError;
use crate::process::log::{Log, Page, Refusal, Stretch};
use crate::process::manager::{Cause, Due, ProcessManager, Trigger};
use crate::process::record::Ids;
use crate::process::replay::{self, Replay};
use crate::process::settler::{Settler, Tried, check_instance};

/// The number of events about a parked trigger that are read together.
const PAGE: u64 = 64;

/// A request to replay a parked trigger.
#[derive(Debug)]
pub(crate) struct Request {
    id: EventId,
    position: u64,
    requested_at: Timestamp,
    /// The id of the event that the trigger was parked.
    trigger: EventId,
}

impl Request {
    /// Returns the request that an event in the manager's stream of parked triggers is, and the instance that it
    /// concerns; `None` if it is something else, or cannot be one.
    pub(crate) fn of(manager: &str, event: &RecordedEvent) -> Option<(String, Request)> {
        let (trigger, ParkingEvent::ReplayRequested { instance }) = ParkingEvent::of(event)? else {
            return None;
        };
        check_instance(manager, &instance).ok()?;
        let (id, position, requested_at) = (event.id, event.position.0, event.recorded_at);
        Some((instance, Request { id, position, requested_at, trigger }))
    }
}

/// A parked trigger that is to be replayed.
struct Parked {
    position: u64,
    cause: TriggerCause,
    replay: Replay,
}

impl<M: ProcessManager, L: Log> Settler<'_, M, L> {
    /// Answers a request, unless it was answered before. Everything up to `handled` is handled, for all instances.
    ///
    /// A replay that fails stops nobody: its answer says why, and the trigger stays parked.
    pub(crate) async fn replay(
        &self,
        instance: &str,
        request: &Request,
        handled: u64,
    ) -> Result<(), ProcessError> {
        let (mut conflicts, mut conflict) = (0, None);
        while let Some(parked) = self.unanswered(instance, request).await? {
            let replay = &parked.replay;
            let reason = match self.cause_of(&parked).await? {
                None => "the event is not in the log any more".to_owned(),
                Some(cause) => {
                    let time = cause.event().map_or(request.requested_at, |it| it.recorded_at);
                    let trigger = Trigger { instance, cause, time, conflict: conflict.clone() };
                    match self.replay_once(&trigger, replay, handled).await? {
                        Tried::Settled => return Ok(()),
                        Tried::Again => continue,
                        Tried::Closed => Undecided::Over.to_string(),
                        Tried::Failed(reason) => reason,
                        Tried::Conflict(met) => {
                            conflicts += 1;
                            let reason = met.to_string();
                            conflict = Some(met);
                            if conflicts < self.conflicts_max {
                                self.rest(conflicts, reason).await;
                                continue;
                            }
                            reason
                        }
                    }
                }
            };
            if self.fail(instance, replay, &reason).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Decides on a trigger and tries to append what follows.
    async fn replay_once(
        &self,
        trigger: &Trigger<'_>,
        replay: &Replay,
        handled: u64,
    ) -> Result<Tried, ProcessError> {
        let decide = |known: &_| replay::decide(self.manager, known, trigger, handled, replay);
        match self.with_known(trigger.instance, handled, decide).await? {
            Ok(decision) => self.attempt(trigger.instance, decision.plan).await,
            Err(undecided) => Ok(Tried::Failed(undecided.to_string())),
        }
    }

    /// Answers that a replay failed. Returns false if somebody else may have answered meanwhile.
    async fn fail(
        &self,
        instance: &str,
        replay: &Replay,
        reason: &str,
    ) -> Result<bool, ProcessError> {
        let manager = self.manager.name();
        let commit = replay::fail(manager, replay, reason);
        let commit = commit.expect("a short text can be written as JSON");
        match self.log.commit(commit).await {
            Ok(_) => {
                tracing::warn!(manager, instance, reason, "a replay failed: it stays parked");
                Ok(true)
            }
            Err(Refusal::Conflict(_) | Refusal::Forgotten) => Ok(false),
            Err(Refusal::Rejected(problem)) => match problem.kind {
                // Another runner gave another reason.
                ErrorKind::IdReused => Ok(false),
                // The stream of parked triggers was closed by a tombstone: nobody waits for an answer.
                ErrorKind::StreamClosed => Ok(true),
                _ => Err(problem.into()),
            },
        }
    }

    /// Returns the trigger that a request is about, if it is parked and the request is not answered.
    async fn unanswered(
        &self,
        instance: &str,
        request: &Request,
    ) -> Result<Option<Parked>, ProcessError> {
        let manager = self.manager.name();
        let Page { events, as_of } = self.all(&parking::about(manager, request.trigger)).await?;
        let mut parked = ParkedTriggers::default();
        events.iter().for_each(|event| parked.take_in(event));
        let parked = parked.into_list().pop().filter(|parked| {
            let is_open = parked.requested.is_some_and(|first| first.0 <= request.position);
            is_open && parked.instance == instance
        });
        let Some(parked) = parked else { return Ok(None) };
        let event = events.iter().find(|event| event.id == parked.id);
        let context = event.map(Context::of).unwrap_or_default();
        let origin = Origin { ids: Ids::of_replay(manager, instance, parked.id), context };
        let replay = Replay { parked: parked.id, request: request.id, as_of, origin };
        Ok(Some(Parked { position: parked.position.0, cause: parked.cause, replay }))
    }

    /// Returns the event or the due time; `None` if the event was removed.
    async fn cause_of(&self, parked: &Parked) -> Result<Option<Cause>, ProcessError> {
        match &parked.cause {
            TriggerCause::Due { key, at, since, payload } => {
                let (key, at, since, payload) = (key.clone(), *at, *since, payload.clone());
                Ok(Some(Cause::Due(Due { key, at, payload, since })))
            }
            TriggerCause::Event { position, id, stream, .. } => {
                let (Ok(stream), true) = (StreamName::new(stream), *position < parked.position)
                else {
                    return Ok(None);
                };
                let (after, before) = (position.saturating_sub(1), Some(position + 1));
                let stretch = Stretch { after, before, limit: 1 };
                let page = self.log.page(&Query::stream(stream), stretch).await?;
                let event = page.events.into_iter().find(|event| event.id.to_string() == *id);
                Ok(event.map(Cause::Event))
            }
        }
    }

    /// Returns everything that a query finds.
    async fn all(&self, query: &Query) -> Result<Page, ProcessError> {
        let mut stretch = Stretch { after: 0, before: None, limit: PAGE };
        let mut all = self.log.page(query, stretch).await?;
        let mut found = all.events.len() as u64;
        while found == PAGE {
            stretch.after = all.events.last().map_or(0, |last| last.position.0);
            stretch.before = Some(all.as_of + 1);
            let page = self.log.page(query, stretch).await?;
            found = page.events.len() as u64;
            all.events.extend(page.events);
        }
        Ok(all)
    }
}
