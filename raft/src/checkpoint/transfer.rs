//! Checkpoints on the wire: the sender offers one, the receiver names the chunks that it misses, the rest follows in
//! bounded parts. A transfer that breaks is begun again by openraft; chunks that arrived whole stay.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use quorate_proto::LogId;
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::snapshot_request::Part;
use quorate_proto::wire::peer::v1::snapshot_response::Answer;
use quorate_store::{Export, Fault, Install, Installed};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::adapter::membership;
use crate::adapter::types::{self, Snapshot, SnapshotMeta, StoredMembership, Vote};
use crate::host::Host;
use crate::machine::{CHUNK_PART_BYTES, Checkpoint};
use crate::peers::wire;
use crate::peers::{Connection, Link, within};
use crate::replica::running::Running;

/// The number of parts that may wait to be sent.
const PARTS_AHEAD: usize = 4;
/// A side that is silent for so long is given up: only one checkpoint at a time is taken, and one that is sent holds a
/// part of the log.
const STALLED: Duration = Duration::from_secs(30);
/// The interval at which a receiver that is at work sends a sign of life.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);

/// Sends a checkpoint; returns the vote in force on the receiver when all was over.
pub(crate) async fn send<H: Host>(
    link: &Link<H>,
    vote: Vote,
    snapshot: Snapshot<Checkpoint>,
) -> Result<Vote, Status> {
    let Checkpoint::Export(export) = snapshot.snapshot else {
        return Err(Status::internal("only a node's own checkpoint is sent"));
    };
    let (node, log_id) = (link.node(), export.log_id());
    tracing::info!("sending the checkpoint at {log_id} to node {node}");
    let sent = transfer(link, vote, &snapshot.meta.last_membership, &export).await;
    match &sent {
        Ok(_) => tracing::info!("node {node} is through with the checkpoint at {log_id}"),
        Err(status) if status.code() == Code::DeadlineExceeded => {
            let why = status.message();
            tracing::warn!("node {node} does not take the checkpoint at {log_id}: {why}");
        }
        // A node that is not reached, or has no room, is logged where that changes.
        Err(_) => {}
    }
    sent
}

/// Makes one attempt to send, which keeps the log behind the checkpoint meanwhile.
async fn transfer<H: Host>(
    link: &Link<H>,
    vote: Vote,
    last_membership: &StoredMembership,
    export: &Arc<Export>,
) -> Result<Vote, Status> {
    let _kept_log = link.begin_transfer(export.log_id().index.0);
    let origin = link.origin().await?;
    let offer = v1::SnapshotOffer {
        origin: Some(wire::origin(&origin)),
        vote: Some(wire::vote(&vote)),
        last: Some(wire::log_id(export.log_id())),
        membership: membership::encode_stored(last_membership),
        manifest: export.manifest(),
    };
    let (parts, requests) = mpsc::channel(PARTS_AHEAD);
    let outgoing = Outgoing { parts };
    outgoing.send(Part::Offer(offer)).await?;
    let mut client = link.client(Connection::Snapshot)?;
    let opened = answered(client.snapshot(ReceiverStream::new(requests))).await;
    let mut answers = link.note(Some(&origin), opened)?.into_inner();
    let missing = match answer(&mut answers).await? {
        Answer::Missing(missing) => missing.chunks,
        Answer::Done(vote) => return wire::from_vote(Some(vote)),
        Answer::Working(_) => return Err(wire::malformed("answer")),
    };
    // A receiver that ends before it took all parts gives the reason in its answer.
    let sending = async {
        outgoing.send_chunks(link, export, &missing).await?;
        outgoing.send_catalog(export).await?;
        outgoing.send(Part::End(v1::SnapshotEnd {})).await?;
        std::future::pending::<Result<(), Status>>().await
    };
    let told = tokio::select! {
        biased;
        told = answer(&mut answers) => told,
        sent = sending => {
            sent?;
            return Err(Status::internal("a transfer ends with the receiver's answer"));
        }
    };
    if let Err(status) = &told
        && status.code() == Code::DataLoss
    {
        look_for_damage(link, export, &missing).await;
    }
    match told? {
        Answer::Done(vote) => wire::from_vote(Some(vote)),
        Answer::Missing(_) | Answer::Working(_) => Err(wire::malformed("answer")),
    }
}

/// Checks the sent chunks after one arrived damaged: a chunk that is damaged on this node is repaired from another
/// one, or no transfer would ever come to an end.
async fn look_for_damage<H: Host>(link: &Link<H>, export: &Arc<Export>, sent: &[u64]) {
    for number in sent.iter().copied() {
        let export = export.clone();
        if let Err(fault) = link.host().run(move || export.verify_chunk(number)).await {
            link.note_damage(&fault);
        }
    }
}

/// Returns the next answer that is more than a sign of life. Error: the receiver is silent.
async fn answer(
    answers: &mut (impl Stream<Item = Result<v1::SnapshotResponse, Status>> + Unpin),
) -> Result<Answer, Status> {
    loop {
        let response = answered(async { answers.next().await.transpose() }).await?;
        match response.and_then(|response| response.answer) {
            Some(Answer::Working(_)) => {}
            Some(answer) => return Ok(answer),
            None => return Err(wire::malformed("answer")),
        }
    }
}

async fn answered<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let silent = |_| Err(Status::deadline_exceeded(format!("it was silent for {STALLED:?}")));
    timeout(STALLED, answer).await.unwrap_or_else(silent)
}

/// The sending end of a transfer.
struct Outgoing {
    parts: mpsc::Sender<v1::SnapshotRequest>,
}

impl Outgoing {
    /// Waits while the receiver is slow. Error: it takes nothing at all.
    async fn send(&self, part: Part) -> Result<(), Status> {
        let request = v1::SnapshotRequest { part: Some(part) };
        match timeout(STALLED, self.parts.send(request)).await {
            Ok(sent) => sent.map_err(|_| Status::unavailable("the transfer was ended")),
            Err(_) => {
                let why = format!("it took nothing more for {STALLED:?}");
                Err(Status::deadline_exceeded(why))
            }
        }
    }

    async fn send_chunks<H: Host>(
        &self,
        link: &Link<H>,
        export: &Arc<Export>,
        missing: &[u64],
    ) -> Result<(), Status> {
        for number in missing.iter().copied() {
            let mut offset = 0;
            loop {
                let export = export.clone();
                let read = move || export.read_chunk(number, offset, CHUNK_PART_BYTES);
                let data = link.host().run(read).await.map_err(|fault| {
                    // A foreign chunk is one that a newer checkpoint scavenged: it is whole.
                    if !matches!(fault, Fault::Foreign { .. }) {
                        link.note_damage(&fault);
                    }
                    Status::data_loss(fault.to_string())
                })?;
                let last = data.len() < CHUNK_PART_BYTES;
                let length = data.len() as u64;
                self.send(Part::Chunk(v1::ChunkPart { number, offset, data, last })).await?;
                offset += length;
                if last {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends the catalog. A page takes a few milliseconds on this task; between two pages other tasks have their turn.
    async fn send_catalog(&self, export: &Export) -> Result<(), Status> {
        for page in export.catalog_pages() {
            let page = page.map_err(|fault| Status::data_loss(fault.to_string()))?;
            self.send(Part::Catalog(page)).await?;
        }
        Ok(())
    }
}

/// Takes a checkpoint whose offer was admitted; the answers go to `answers`.
pub(crate) async fn receive<H: Host>(
    running: Arc<Running<H>>,
    offer: v1::SnapshotOffer,
    input: Streaming<v1::SnapshotRequest>,
    answers: mpsc::Sender<Result<v1::SnapshotResponse, Status>>,
) {
    let outcome = tokio::select! {
        outcome = take(&running, offer, input, &answers) => outcome,
        () = running.core.gate.closing() => Err(stopping()),
        stopped = show_life(&answers) => match stopped {},
    };
    let answer =
        outcome.map(|vote| v1::SnapshotResponse { answer: Some(Answer::Done(wire::vote(&vote))) });
    let _the_sender_is_gone = answers.send(answer).await;
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

async fn take<H: Host>(
    running: &Arc<Running<H>>,
    offer: v1::SnapshotOffer,
    input: Streaming<v1::SnapshotRequest>,
    answers: &mpsc::Sender<Result<v1::SnapshotResponse, Status>>,
) -> Result<Vote, Status> {
    let vote = wire::from_vote(offer.vote)?;
    let last = wire::from_raft_log_id(offer.last.ok_or_else(|| wire::malformed("log id"))?);
    let last_membership = membership::decode_stored(&offer.membership)
        .map_err(|why| Status::invalid_argument(why.to_string()))?;
    let mine = running.vote();
    if mine.leader_id.term > vote.leader_id.term {
        return Ok(mine);
    }
    let _one_at_a_time = running.installing.lock().await;
    if has_all(running, vote, types::ours(last)).await {
        return Ok(vote);
    }
    let mut incoming = Incoming { running, install: None };
    incoming.begin(offer.manifest).await?;
    tracing::info!("taking over the checkpoint at {}", types::ours(last));
    let chunks = incoming.missing();
    let missing =
        v1::SnapshotResponse { answer: Some(Answer::Missing(v1::SnapshotMissing { chunks })) };
    answers.send(Ok(missing)).await.map_err(|_| Status::cancelled("the sender is gone"))?;
    let installed = incoming.take_parts(input).await?;
    // The log may have come so far during the transfer.
    if has_all(running, vote, types::ours(last)).await {
        return Ok(vote);
    }
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership };
    let snapshot = Snapshot { meta, snapshot: Checkpoint::Installed(installed) };
    let installed = running.host.scoped(running.raft.install_full_snapshot(vote, snapshot)).await;
    let response = installed.map_err(|fatal| Status::internal(fatal.to_string()))?;
    Ok(response.vote)
}

/// Returns true if this node holds everything that the checkpoint at `last` holds, applied or durable in its log, and
/// follows the leader that sends it. A leader that lost the acknowledgements sends a checkpoint all the same; openraft
/// would install it, and then take what the log holds behind `last` for not written.
async fn has_all<H: Host>(running: &Running<H>, vote: Vote, last: LogId) -> bool {
    let log = &running.log;
    let holds_all = || {
        let applied = running.core.progress().borrow().applied;
        holds(log.state().purged, applied, log.log_id(last.index.0), last)
    };
    if running.vote() != vote || !holds_all() {
        return false;
    }
    log.wait_flushed(last.index.0).await.is_ok() && holds_all()
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
    running: &'a Arc<Running<H>>,
    /// Present between two parts.
    install: Option<Install>,
}

impl<H: Host> Incoming<'_, H> {
    async fn begin(&mut self, manifest: Bytes) -> Result<(), Status> {
        let core = self.running.core.clone();
        let begun = self.running.core.work(move || core.begin_install(manifest)).await;
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
                    let installed = self.running.core.work(move || install.finish()).await;
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
        let (core, path) = (self.running.core.clone(), self.running.directory.clone());
        let run = self.running.core.work(move || {
            let vfs = core.host().vfs();
            let outcome = match vfs.free_bytes(&path) {
                Ok(free) if !core.space.is_enough_to_install(free) => None,
                Ok(_) => Some(work(&mut install)),
                Err(error) => Some(Err(Fault::io("measure", &path)(error))),
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
                self.running.failure.report(&fault);
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
    use futures_util::stream;

    use super::*;

    const SLOW: Duration = STALLED.saturating_sub(Duration::from_secs(1));

    fn answers(answers: Vec<Answer>) -> impl Stream<Item = Result<v1::SnapshotResponse, Status>> {
        let slowly = |answer| async {
            sleep(SLOW).await;
            Ok(v1::SnapshotResponse { answer: Some(answer) })
        };
        stream::iter(answers).then(slowly).chain(stream::pending())
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_takes_a_part_now_and_then_is_waited_for_and_a_silent_one_is_not() {
        let (parts, mut requests) = mpsc::channel(PARTS_AHEAD);
        let outgoing = Outgoing { parts };
        let slow = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(SLOW).await;
                requests.recv().await.expect("a part");
            }
            requests
        });
        for _ in 0..10 + PARTS_AHEAD {
            outgoing.send(Part::End(v1::SnapshotEnd {})).await.expect("it is taken");
        }
        let _silent = slow.await.expect("it ends");
        let refused = outgoing.send(Part::End(v1::SnapshotEnd {})).await.expect_err("silent");
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        assert!(refused.message().contains("took nothing more for 30s"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_at_work_is_waited_for_and_a_silent_one_is_not() {
        let working = || Answer::Working(v1::SnapshotWorking {});
        let missing = Answer::Missing(v1::SnapshotMissing { chunks: vec![7] });
        let mut answers = Box::pin(answers(vec![working(), working(), missing.clone(), working()]));
        assert_eq!(answer(&mut answers).await.expect("an answer"), missing);
        let refused = answer(&mut answers).await.expect_err("silent");
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        assert!(refused.message().contains("silent for 30s"), "{refused}");
    }
}
