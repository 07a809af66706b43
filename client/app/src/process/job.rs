//! The jobs of a manager: events, due times and requests for replays, each of one instance.

use quorate_client::{RecordedEvent, Timestamp};

use crate::process::error::ProcessError;
use crate::process::log::Log;
use crate::process::manager::{Cause, Due, ProcessManager, Trigger};
use crate::process::record::Known;
use crate::process::replayer::Request;
use crate::process::settler::Settler;

/// The work that concerns an instance.
#[derive(Debug)]
pub(crate) enum Job {
    Event(Box<RecordedEvent>),
    /// A due time, by its key, that has come at that moment.
    Due {
        key: String,
        now: Timestamp,
    },
    Replay(Request),
}

impl<M: ProcessManager, L: Log> Settler<'_, M, L> {
    /// Does a job. Everything up to `handled` is handled, for all instances.
    pub(crate) async fn carry_out(
        &self,
        instance: &str,
        job: Job,
        handled: u64,
    ) -> Result<(), ProcessError> {
        let (cause, time) = match job {
            Job::Replay(request) => return self.replay(instance, &request, handled).await,
            Job::Event(event) => {
                let time = event.recorded_at;
                (Cause::Event(*event), time)
            }
            Job::Due { key, now } => {
                let due = self.with_known(instance, handled, |known| due_of(known, &key)).await?;
                // The record may be newer than the due times seen here: another runner may have moved the time.
                let Some(due) = due.filter(|due| due.at <= now) else {
                    self.instances().forget(instance);
                    return Ok(());
                };
                (Cause::Due(due), now)
            }
        };
        self.settle(Trigger { instance, cause, time, conflict: None }, handled).await
    }
}

/// Returns the outstanding due time of an instance under this key.
fn due_of(known: &Known, key: &str) -> Option<Due> {
    let (_, outstanding) = known.outstanding().find(|(outstanding, _)| *outstanding == key)?;
    Some(Due {
        key: key.to_owned(),
        at: outstanding.at.0,
        payload: outstanding.payload.clone(),
        since: outstanding.since,
    })
}
