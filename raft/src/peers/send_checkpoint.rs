//! The sending end of a checkpoint's transfer: the node offers it, the receiver names the chunks that it misses, the
//! rest follows in bounded parts.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::snapshot_request::Part;
use quorate_proto::wire::peer::v1::snapshot_response::Answer;
use quorate_store::{Export, Fault};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::link::{Connection, Link};
use super::transfers::Transfer;
use super::wire;
use crate::adapter::membership;
use crate::adapter::types::{Snapshot, StoredMembership, Vote};
use crate::host::Host;
use crate::machine::{CHUNK_PART_BYTES, Checkpoint, Core};

/// The number of parts that may wait to be sent.
const PARTS_AHEAD: usize = 4;
/// A side that is silent for so long is given up: only one checkpoint at a time is taken, and one that is sent holds a
/// part of the log.
pub(crate) const STALLED: Duration = Duration::from_secs(30);

/// Sends a checkpoint; returns the vote in force on the receiver when all was over.
pub(crate) async fn send<H: Host>(
    link: &Link<H>,
    core: &Weak<Core<H>>,
    vote: Vote,
    snapshot: Snapshot<Checkpoint>,
) -> Result<Vote, Status> {
    let Checkpoint::Export(export) = snapshot.snapshot else {
        return Err(Status::internal("only a node's own checkpoint is sent"));
    };
    let (node, log_id) = (link.node(), export.log_id());
    tracing::info!("sending the checkpoint at {log_id} to node {node}");
    let sent = transfer(link, core, vote, &snapshot.meta.last_membership, &export).await;
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
    core: &Weak<Core<H>>,
    vote: Vote,
    last_membership: &StoredMembership,
    export: &Arc<Export>,
) -> Result<Vote, Status> {
    let transfer = link.begin_transfer(export.log_id().index.0);
    let origin = link.origin().await?;
    let offer = v1::SnapshotOffer {
        origin: Some(wire::origin(&origin)),
        vote: Some(wire::vote(&vote)),
        last: Some(wire::log_id(export.log_id())),
        membership: membership::encode_stored(last_membership),
        manifest: export.manifest(),
        sizes: export
            .chunk_sizes()
            .map(|(number, bytes)| v1::ChunkSize { number, bytes })
            .collect(),
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
        outgoing.send_chunks(core, link.host(), export, &missing, &transfer).await?;
        outgoing.send_catalog(export).await?;
        outgoing.send(Part::End(v1::SnapshotEnd {})).await?;
        std::future::pending::<Result<(), Status>>().await
    };
    let outcome = tokio::select! {
        biased;
        outcome = answer(&mut answers) => outcome,
        sent = sending => {
            sent?;
            return Err(Status::internal("a transfer ends with the receiver's answer"));
        }
    };
    if let Err(status) = &outcome
        && status.code() == Code::DataLoss
    {
        look_for_damage(core, link.host(), export, &missing).await;
    }
    match outcome? {
        Answer::Done(vote) => wire::from_vote(Some(vote)),
        Answer::Missing(_) | Answer::Working(_) => Err(wire::malformed("answer")),
    }
}

/// Checks the sent chunks after one arrived damaged: a chunk that is damaged on this node is repaired from another
/// one, or no transfer would ever come to an end.
async fn look_for_damage<H: Host>(
    core: &Weak<Core<H>>,
    host: &H,
    export: &Arc<Export>,
    sent: &[u64],
) {
    for number in sent.iter().copied() {
        let export = export.clone();
        if let Err(fault) = host.run_behind(move || export.verify_chunk(number)).await {
            note_damage(core, &fault);
        }
    }
}

/// Notes that a chunk of this node is damaged, if the fault is about a chunk.
fn note_damage<H: Host>(core: &Weak<Core<H>>, fault: &Fault) {
    if let Some(core) = core.upgrade() {
        core.note_damage(fault);
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
        core: &Weak<Core<H>>,
        host: &H,
        export: &Arc<Export>,
        missing: &[u64],
        transfer: &Transfer,
    ) -> Result<(), Status> {
        for (sent, number) in (0..).zip(missing.iter().copied()) {
            transfer.note(sent, missing.len() as u64);
            let mut offset = 0;
            loop {
                let export = export.clone();
                let read = move || export.read_chunk(number, offset, CHUNK_PART_BYTES);
                let data = host.run_behind(read).await.map_err(|fault| {
                    // A foreign chunk is one that a newer checkpoint scavenged: it is whole.
                    if !matches!(fault, Fault::Foreign { .. }) {
                        note_damage(core, &fault);
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

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    const SLOW: Duration = STALLED.saturating_sub(Duration::from_secs(1));

    fn answers(answers: Vec<Answer>) -> impl Stream<Item = Result<v1::SnapshotResponse, Status>> {
        let slowly = |answer| async {
            sleep(SLOW).await;
            Ok(v1::SnapshotResponse { answer: Some(answer) })
        };
        stream::iter(answers).then(slowly).chain(stream::pending())
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
