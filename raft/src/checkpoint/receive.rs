//! The receiving end of a checkpoint's transfer: the node names the chunks that it misses, and installs the rest.
//! A transfer that breaks is begun again by openraft; chunks that arrived whole stay.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::LogId;
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::snapshot_request::Part;
use quorate_proto::wire::peer::v1::snapshot_response::Answer;
use quorate_store::{Fault, Install, Installed};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::{Status, Streaming};

use crate::adapter::membership;
use crate::adapter::types::{self, Snapshot, SnapshotMeta, Vote};
use crate::failure::Failure;
use crate::host::Host;
use crate::log::RaftLog;
use crate::machine::{Checkpoint, Core};
use crate::peers::{STALLED, wire, within};
use crate::raft::Raft;

/// The interval at which a receiver that is at work sends a sign of life.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);

/// Takes over the checkpoints of a leader, one at a time.
pub(crate) struct Receiver<H: Host> {
    core: Arc<Core<H>>,
    raft: Raft<H>,
    log: RaftLog,
    failure: Failure,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl<H: Host> Receiver<H> {
    pub(crate) fn new(
        core: Arc<Core<H>>,
        raft: Raft<H>,
        log: RaftLog,
        failure: Failure,
    ) -> Receiver<H> {
        Receiver { core, raft, log, failure, one_at_a_time: tokio::sync::Mutex::new(()) }
    }

    /// Takes a checkpoint whose offer was admitted; the answers go to `answers`.
    pub(crate) async fn receive(
        self: Arc<Self>,
        offer: v1::SnapshotOffer,
        input: Streaming<v1::SnapshotRequest>,
        answers: mpsc::Sender<Result<v1::SnapshotResponse, Status>>,
    ) {
        let outcome = tokio::select! {
            outcome = self.take(offer, input, &answers) => outcome,
            () = self.core.gate.closing() => Err(stopping()),
            stopped = show_life(&answers) => match stopped {},
        };
        let answer = outcome
            .map(|vote| v1::SnapshotResponse { answer: Some(Answer::Done(wire::vote(&vote))) });
        let _the_sender_is_gone = answers.send(answer).await;
    }

    async fn take(
        &self,
        offer: v1::SnapshotOffer,
        input: Streaming<v1::SnapshotRequest>,
        answers: &mpsc::Sender<Result<v1::SnapshotResponse, Status>>,
    ) -> Result<Vote, Status> {
        let vote = wire::from_vote(offer.vote)?;
        let last = wire::from_raft_log_id(offer.last.ok_or_else(|| wire::malformed("log id"))?);
        let last_membership = membership::decode_stored(&offer.membership)
            .map_err(|why| Status::invalid_argument(why.to_string()))?;
        let mine = self.raft.vote();
        if mine.leader_id.term > vote.leader_id.term {
            return Ok(mine);
        }
        let _one_at_a_time = self.one_at_a_time.lock().await;
        if self.has_all(vote, types::ours(last)).await {
            return Ok(vote);
        }
        let mut incoming = Incoming { core: &self.core, failure: &self.failure, install: None };
        incoming.begin(offer.manifest).await?;
        tracing::info!("taking over the checkpoint at {}", types::ours(last));
        let chunks = incoming.missing();
        self.check_room(&chunks, &offer.sizes).await?;
        let missing =
            v1::SnapshotResponse { answer: Some(Answer::Missing(v1::SnapshotMissing { chunks })) };
        answers.send(Ok(missing)).await.map_err(|_| Status::cancelled("the sender is gone"))?;
        let installed = incoming.take_parts(input).await?;
        // The log may have come so far during the transfer.
        if self.has_all(vote, types::ours(last)).await {
            return Ok(vote);
        }
        let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
        let snapshot = Snapshot { meta, snapshot: Checkpoint::Installed(installed) };
        let installed = self.raft.call(|raft| raft.install_full_snapshot(vote, snapshot)).await;
        let response = installed.map_err(|fatal| Status::internal(fatal.to_string()))?;
        Ok(response.vote)
    }

    /// Returns an error if there is no room for the chunks that are missing: a transfer that cannot end is not begun.
    async fn check_room(&self, missing: &[u64], sizes: &[v1::ChunkSize]) -> Result<(), Status> {
        let missing: BTreeSet<u64> = missing.iter().copied().collect();
        let is_missing = |size: &&v1::ChunkSize| missing.contains(&size.number);
        let bytes = sizes.iter().filter(is_missing).map(|size| size.bytes);
        let bytes = bytes.fold(0_u64, u64::saturating_add);
        let space = self.core.space.clone();
        let looked = self.core.work(move || space.lacks_room_for(bytes));
        let lacks = looked.await.ok_or_else(stopping)?;
        let lacks = lacks.map_err(|fault| {
            self.failure.report(&fault);
            Status::aborted(fault.to_string())
        })?;
        let Some(free) = lacks else { return Ok(()) };
        tracing::warn!("a checkpoint is not taken over: it has {bytes} bytes, and {free} are free");
        Err(wire::no_room())
    }

    /// Returns true if this node holds everything that the checkpoint at `last` holds, applied or durable in its log,
    /// and follows the leader that sends it. A leader that lost the acknowledgements sends a checkpoint all the same;
    /// openraft would install it, and then take what the log holds behind `last` for not written.
    async fn has_all(&self, vote: Vote, last: LogId) -> bool {
        let holds_all = || {
            let applied = self.core.progress().borrow().applied;
            holds(self.log.state().purged, applied, self.log.log_id(last.index.0), last)
        };
        if self.raft.vote() != vote || !holds_all() {
            return false;
        }
        self.log.wait_flushed(last.index.0).await.is_ok() && holds_all()
    }
}

/// Sends the sender a sign of life every few seconds: to check the chunks that are already here takes time.
async fn show_life(answers: &mpsc::Sender<Result<v1::SnapshotResponse, Status>>) -> Infallible {
    loop {
        sleep(SIGN_OF_LIFE_EVERY).await;
        let answer = Some(Answer::Working(v1::SnapshotWorking {}));
        // A sign that waits to be sent is enough; and the next part shows if the sender is gone.
        let _ = answers.try_send(Ok(v1::SnapshotResponse { answer }));
    }
}

/// Returns true if a log holds everything up to `last` that is not applied: it has no holes, so it holds everything
/// between the last purged entry and the entry that it has `at_last`.
fn holds(
    purged: Option<LogId>,
    applied: Option<LogId>,
    at_last: Option<LogId>,
    last: LogId,
) -> bool {
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index.0);
    at_last == Some(last) && index(purged) <= index(applied)
}

/// The receiving end of a transfer.
struct Incoming<'a, H: Host> {
    core: &'a Arc<Core<H>>,
    failure: &'a Failure,
    /// Present between two parts.
    install: Option<Install>,
}

impl<H: Host> Incoming<'_, H> {
    async fn begin(&mut self, manifest: Bytes) -> Result<(), Status> {
        let core = self.core.clone();
        let begun = self.core.work(move || core.begin_install(manifest)).await;
        self.install = Some(self.check(begun.ok_or_else(stopping)?)?);
        Ok(())
    }

    fn missing(&self) -> Vec<u64> {
        let missing = self.install.iter().flat_map(Install::missing);
        missing.map(|chunk| chunk.number).collect()
    }

    async fn take_parts(
        &mut self,
        mut input: Streaming<v1::SnapshotRequest>,
    ) -> Result<Installed, Status> {
        while let Some(request) = within(STALLED, input.message()).await? {
            match request.part {
                Some(Part::Chunk(part)) => self.step(move |install| put(install, &part)).await?,
                Some(Part::Catalog(page)) => {
                    self.step(move |install| install.put_catalog(&page)).await?;
                }
                Some(Part::End(_)) => {
                    let install = self.install.take().ok_or_else(ended)?;
                    let installed = self.core.work(move || install.finish()).await;
                    return self.check(installed.ok_or_else(stopping)?);
                }
                Some(Part::Offer(_)) | None => return Err(wire::malformed("part")),
            }
        }
        Err(Status::cancelled("the transfer ended early"))
    }

    async fn step(
        &mut self,
        work: impl FnOnce(&mut Install) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Status> {
        let mut install = self.install.take().ok_or_else(ended)?;
        let space = self.core.space.clone();
        let run = self.core.work(move || {
            let outcome = match space.is_enough_to_install() {
                Ok(true) => Some(work(&mut install)),
                Ok(false) => None,
                Err(fault) => Some(Err(fault)),
            };
            (outcome, install)
        });
        let (outcome, install) = run.await.ok_or_else(stopping)?;
        self.install = Some(install);
        self.check(outcome.ok_or_else(wire::no_room)?)
    }

    /// A fault of this node's own disk stops the node; a fault of the sender ends the transfer. If the sent data
    /// is damaged, the sender is told, so that it looks for the damage on its own disk.
    fn check<T>(&self, outcome: Result<T, Fault>) -> Result<T, Status> {
        outcome.map_err(|fault| {
            if let Fault::Io { .. } = fault {
                self.failure.report(&fault);
            } else {
                tracing::warn!("a checkpoint was not taken over: {fault}");
            }
            match fault {
                Fault::Damaged { .. } => Status::data_loss(fault.to_string()),
                _ => Status::aborted(fault.to_string()),
            }
        })
    }
}

fn put(install: &mut Install, part: &v1::ChunkPart) -> Result<(), Fault> {
    install.put_chunk(part.number, part.offset, &part.data)?;
    if part.last { install.finish_chunk(part.number) } else { Ok(()) }
}

fn stopping() -> Status {
    Status::unavailable("the node is stopping")
}

fn ended() -> Status {
    Status::aborted("the transfer has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint that ended before the follower's log made openraft believe that the log's end was not written.
    #[test]
    fn a_checkpoint_brings_nothing_to_a_node_whose_log_has_its_last_entry_and_all_before_it() {
        let id = |term, index| Some(LogId::new(term, index));
        let last = LogId::new(7, 265);
        for (purged, applied, at_last, expected) in [
            (None, None, id(7, 265), true),
            (id(7, 200), id(7, 200), id(7, 265), true),
            (id(6, 100), id(7, 264), id(7, 265), true),
            // The log ends before, or has the entry of another leader there.
            (None, None, None, false),
            (None, None, id(6, 265), false),
            // The log was purged beyond what is applied: an install was cut.
            (id(7, 201), id(7, 200), id(7, 265), false),
            (id(7, 265), None, id(7, 265), false),
        ] {
            let held = holds(purged, applied, at_last, last);
            assert_eq!(held, expected, "{purged:?} {applied:?} {at_last:?}");
        }
    }
}
