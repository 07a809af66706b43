//! The scavenge: it writes chunk after chunk anew without the events that are gone, beside all other work.

use std::sync::Arc;

use quorate_store::{Fault, Scavenge, ScavengeStep};
use tokio::sync::{Mutex, mpsc};

use crate::checkpoint::Checkpointer;
use crate::error::ScavengeError;
use crate::failure::Failure;
use crate::host::Host;
use crate::machine::Core;
use crate::status::Scavenging;

/// The sender of the reports; true comes with the last one.
type Reports = mpsc::UnboundedSender<Result<(Scavenging, bool), ScavengeError>>;

/// Scavenges the store's chunks, when it is asked to.
pub(crate) struct Scavenger<H: Host> {
    core: Arc<Core<H>>,
    checkpointer: Arc<Checkpointer<H>>,
    failure: Failure,
    one_at_a_time: Arc<Mutex<()>>,
}

impl<H: Host> Scavenger<H> {
    pub(crate) fn new(
        core: Arc<Core<H>>,
        checkpointer: Arc<Checkpointer<H>>,
        failure: Failure,
    ) -> Scavenger<H> {
        Scavenger { core, checkpointer, failure, one_at_a_time: Arc::default() }
    }

    /// Runs a scavenge; `progress` is called after each chunk. The scavenge is a task of its own: if its caller
    /// stops waiting, the step that is under way must not overlap with a step of the next scavenge.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut progress: impl FnMut(&Scavenging) + Send,
    ) -> Result<Scavenging, ScavengeError> {
        let one_at_a_time = self.one_at_a_time.clone().try_lock_owned();
        let one_at_a_time = one_at_a_time.map_err(|_| ScavengeError::UnderWay)?;
        let (reports, mut received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let outcome = self.scavenge(&reports).await;
            // A caller that learns of the end may begin the next scavenge.
            drop(one_at_a_time);
            let _gave_up = reports.send(outcome.map(|done| (done, true)));
        });
        while let Some(report) = received.recv().await {
            let (done, is_over) = report?;
            if is_over {
                return Ok(done);
            }
            progress(&done);
        }
        Err(ScavengeError::Stopped)
    }

    async fn scavenge(&self, reports: &Reports) -> Result<Scavenging, ScavengeError> {
        self.checkpointer.refresh().await;
        let checkpointed_position = self.core.progress().borrow().checkpointed_position;
        let core = self.core.clone();
        let begun = self.core.work(move || core.lock().begin_scavenge()).await;
        let mut done = Scavenging { checkpointed_position, ..Scavenging::default() };
        self.show(done);
        let Some(mut scavenge) = begun.ok_or(ScavengeError::Stopped)? else { return Ok(done) };
        tracing::info!("scavenging {} chunks", scavenge.remaining());
        loop {
            let (step, rest) = self.step(scavenge).await?;
            scavenge = rest;
            match step {
                Ok(ScavengeStep::Kept(_)) => {}
                Ok(ScavengeStep::Rewritten(chunk)) => {
                    done.rewritten += 1;
                    done.events_removed += chunk.events_removed();
                    done.bytes_freed += chunk.bytes_before().saturating_sub(chunk.bytes_after());
                    let core = self.core.clone();
                    let put = self.core.work(move || core.lock().put_scavenged(chunk));
                    put.await.ok_or(ScavengeError::Stopped)?;
                }
                Ok(ScavengeStep::Done) => {
                    let Scavenging { looked_at, rewritten, events_removed, bytes_freed, .. } = done;
                    tracing::info!(
                        "scavenged: {rewritten} of {looked_at} chunks were written anew; \
                         {events_removed} events and {bytes_freed} bytes are gone"
                    );
                    return Ok(done);
                }
                // The next step continues behind the damaged chunk.
                Err(fault) if self.core.note_damage(&fault) => {}
                Err(fault) => {
                    self.failure.report(&fault);
                    return Err(fault.into());
                }
            }
            done.looked_at += 1;
            self.show(done);
            if reports.send(Ok((done, false))).is_err() {
                tracing::info!("the scavenge ends here: nobody waits for it any more");
                return Ok(done);
            }
        }
    }

    /// Runs one step, if there is room for the chunk that it may write.
    async fn step(
        &self,
        mut scavenge: Scavenge,
    ) -> Result<(Result<ScavengeStep, Fault>, Scavenge), ScavengeError> {
        let space = self.core.space.clone();
        let stepped = self.core.work_behind(move || match space.is_enough_to_scavenge() {
            Ok(true) => Some((scavenge.step(), scavenge)),
            Ok(false) => None,
            Err(fault) => Some((Err(fault), scavenge)),
        });
        stepped.await.ok_or(ScavengeError::Stopped)?.ok_or(ScavengeError::NoRoom)
    }

    fn show(&self, done: Scavenging) {
        self.core.health.send_modify(|health| health.scavenged = Some(done));
    }
}
