//! The settler: decides the reaction to one trigger and appends it, again and again until the trigger is settled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_client::{Conflict, ErrorKind, Invalid, StreamName};
use tokio::time::sleep;

use crate::process::decide::{self, Plan, Undecided};
use crate::process::error::ProcessError;
use crate::process::instances::Instances;
use crate::process::log::{Log, Newest, Refusal};
use crate::process::manager::{ProcessManager, Trigger};
use crate::process::record::{Known, PARKED, REACTED};
use crate::process::settings::OnFailure;
use crate::status::Board;

/// The rest before a trigger is tried again after a conflict on another stream; it doubles with each attempt.
const REST: Duration = Duration::from_millis(20);
/// The longest rest before another attempt.
const REST_MAX: Duration = Duration::from_secs(2);

/// Settles triggers, those of several instances at once, but one of each instance.
///
/// Invariant: nobody waits while the instances are locked.
pub(crate) struct Settler<'a, M, L> {
    pub(crate) log: &'a L,
    pub(crate) manager: &'a M,
    pub(crate) on_failure: OnFailure,
    pub(crate) conflicts_max: u32,
    pub(crate) board: Arc<Board>,
    pub(crate) instances: Mutex<Instances>,
}

/// The result of the attempt to append a decision.
pub(crate) enum Tried {
    Settled,
    /// A tombstone closed the instance's stream: the instance reacts to nothing any more.
    Closed,
    Again,
    Conflict(Conflict),
    Failed(String),
}

impl<M: ProcessManager, L: Log> Settler<'_, M, L> {
    /// Returns the instances, to which nobody else has access meanwhile.
    pub(crate) fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides the reaction to a trigger and appends it, again and again until the trigger is settled.
    pub(crate) async fn settle(
        &self,
        mut trigger: Trigger<'_>,
        handled: u64,
    ) -> Result<(), ProcessError> {
        let mut conflicts = 0;
        let instance = trigger.instance;
        if let Err(invalid) = check_instance(self.manager.name(), instance) {
            let stuck = stuck(&trigger, invalid.to_string());
            // The instance has no stream in which the reason could be recorded.
            tracing::warn!(error = %stuck, "passed over");
            return match self.on_failure {
                OnFailure::Stop => Err(stuck),
                OnFailure::Park => Ok(()),
            };
        }
        loop {
            let decide = |known: &Known| decide::decide(self.manager, known, &trigger, handled);
            let reason = match self.with_known(instance, handled, decide).await? {
                Ok(None) => return Ok(()),
                Err(undecided) => reason(&trigger, undecided)?,
                Ok(Some(decision)) => match self.attempt(instance, decision.plan).await? {
                    Tried::Settled | Tried::Closed => return Ok(()),
                    Tried::Again => continue,
                    Tried::Failed(reason) => reason,
                    Tried::Conflict(conflict) => {
                        conflicts += 1;
                        let reason = conflict.to_string();
                        trigger.conflict = Some(conflict);
                        if conflicts < self.conflicts_max {
                            self.rest(conflicts, reason).await;
                            continue;
                        }
                        reason
                    }
                },
            };
            return self.give_up(trigger, reason, handled).await;
        }
    }

    /// Rests after so many conflicts.
    pub(crate) async fn rest(&self, conflicts: u32, reason: String) {
        self.board.tries_again(reason);
        sleep((REST * (1 << (conflicts - 1).min(10))).min(REST_MAX)).await;
    }

    /// Tries to append a plan.
    pub(crate) async fn attempt(&self, instance: &str, plan: Plan) -> Result<Tried, ProcessError> {
        let Plan { record, record_id, context, commit } = plan;
        let stream = decide::stream_of(self.manager.name(), instance);
        match self.log.commit(commit).await {
            Ok(done) => {
                let known = Known {
                    version: done.version.0,
                    position: done.first_position.0,
                    id: Some(record_id),
                    context,
                    record: Some(record),
                    is_closed: false,
                };
                self.instances().observe(instance, known);
                Ok(Tried::Settled)
            }
            Err(Refusal::Conflict(conflict)) if !names(&conflict, &stream) => {
                Ok(Tried::Conflict(conflict))
            }
            Err(Refusal::Conflict(_) | Refusal::Forgotten) => {
                // Another runner reacted: the trigger may be settled by now, and if not, its record is news.
                self.instances().forget(instance);
                Ok(Tried::Again)
            }
            Err(Refusal::Rejected(problem)) if problem.kind == ErrorKind::IdReused => {
                // The ids follow from the trigger: another runner's reaction to it, from another state, is in the log.
                self.instances().forget(instance);
                Ok(Tried::Again)
            }
            Err(Refusal::Rejected(problem)) => {
                if problem.kind == ErrorKind::StreamClosed && self.log.is_closed(&stream).await? {
                    self.instances().close(instance);
                    return Ok(Tried::Closed);
                }
                Ok(Tried::Failed(problem.to_string()))
            }
        }
    }

    /// Parks a trigger that cannot be settled, or stops.
    async fn give_up(
        &self,
        trigger: Trigger<'_>,
        reason: String,
        handled: u64,
    ) -> Result<(), ProcessError> {
        let instance = trigger.instance;
        if self.on_failure == OnFailure::Stop {
            return Err(stuck(&trigger, reason));
        }
        loop {
            let park =
                |known: &Known| decide::park(self.manager, known, &trigger, handled, &reason);
            let plan = match self.with_known(instance, handled, park).await? {
                Ok(None) => return Ok(()),
                Ok(Some(plan)) => plan,
                Err(undecided) => return Err(stuck(&trigger, undecided.to_string())),
            };
            let cause = trigger.cause.describe();
            let manager = self.manager.name();
            tracing::warn!(manager, instance, trigger = cause, reason, "parked");
            match self.attempt(instance, plan).await? {
                Tried::Settled => {
                    self.board.parked();
                    return Ok(());
                }
                Tried::Closed => return Ok(()),
                Tried::Again => {}
                Tried::Conflict(conflict) => return Err(stuck(&trigger, conflict.to_string())),
                Tried::Failed(problem) => return Err(stuck(&trigger, problem)),
            }
        }
    }

    /// Calls a function with the state of an instance, as of `handled` at least.
    pub(crate) async fn with_known<T>(
        &self,
        instance: &str,
        handled: u64,
        call: impl FnOnce(&Known) -> T,
    ) -> Result<T, ProcessError> {
        let at_least = {
            let mut instances = self.instances();
            if let Some(known) = instances.cached(instance) {
                return Ok(call(known));
            }
            instances.at_least(instance, handled)
        };
        let stream = decide::stream_of(self.manager.name(), instance);
        let read = self.log.newest(&stream, &[REACTED, PARKED], at_least);
        let Newest { version, event } = read.await?;
        let known = Known::of(version, event.as_ref())?;
        Ok(call(self.instances().has_read(instance, known)))
    }
}

/// Returns the reason why nothing could be decided, if the trigger can be parked.
fn reason(trigger: &Trigger<'_>, undecided: Undecided) -> Result<String, ProcessError> {
    match undecided {
        Undecided::State(_) => Err(stuck(trigger, undecided.to_string())),
        Undecided::Handler(_) | Undecided::Reaction(_) | Undecided::Over => {
            Ok(undecided.to_string())
        }
    }
}

/// Returns true if an expectation on this stream was not met.
fn names(conflict: &Conflict, stream: &str) -> bool {
    conflict.failures.iter().any(|failure| failure.stream.as_str() == stream)
}

/// Checks that an instance's stream is one that users may have, in the category of the manager.
pub(crate) fn check_instance(manager: &str, instance: &str) -> Result<(), Invalid> {
    let stream = StreamName::new(decide::stream_of(manager, instance))?;
    match stream.category() == manager && !stream.is_system() {
        true => Ok(()),
        false => Err(Invalid::new("manager", "holds `-` or `/`, or begins with `$`")),
    }
}

fn stuck(trigger: &Trigger<'_>, reason: String) -> ProcessError {
    ProcessError::Stuck {
        instance: trigger.instance.to_owned(),
        trigger: trigger.cause.describe(),
        reason,
    }
}
