//! The repair of damaged chunks: verified bytes of another node are put in their place.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::LogIndex;
use quorate_proto::wire::peer::v1;
use quorate_store::{ChunkSource, Fault, Repair, Repaired};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::failure::Failure;
use crate::host::Host;
use crate::machine::{CHUNK_PART_BYTES, Core};
use crate::peers::{Connection, Link, Peers, wire, within};
use crate::raft::Raft;

/// The shortest and the longest time to wait after no peer could help.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The time after which a peer that sends nothing, or takes nothing, is given up.
const STALLED: Duration = Duration::from_secs(10);
/// The number of parts that may wait to be sent.
const PARTS_AHEAD: usize = 4;

/// Repairs the damaged chunks of this node.
pub(crate) struct Repairer<H: Host> {
    pub(crate) core: Arc<Core<H>>,
    pub(crate) raft: Raft<H>,
    pub(crate) peers: Arc<Peers<H>>,
    pub(crate) failure: Failure,
}

impl<H: Host> Repairer<H> {
    /// Repairs damaged chunks until the node ends.
    pub(crate) async fn run(self) {
        let mut health = self.core.health.subscribe();
        let mut backoff = BACKOFF;
        loop {
            let damaged: Vec<u64> = match health.wait_for(|health| !health.damaged.is_empty()).await
            {
                Ok(health) => health.damaged.iter().map(|damage| damage.chunk).collect(),
                Err(_) => return,
            };
            let mut all_whole = true;
            for chunk in damaged {
                all_whole &= self.repair(chunk).await;
            }
            if all_whole {
                backoff = BACKOFF;
            } else {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// Asks one peer after the other; returns true if the chunk is whole now.
    async fn repair(&self, chunk: u64) -> bool {
        let mut failed = "there is no other node".to_owned();
        for (node, addresses) in self.raft.others() {
            match self.fetch(&self.peers.link(node, &addresses), chunk).await {
                Ok(()) => {
                    tracing::info!("chunk {chunk} is whole again: its bytes came from node {node}");
                    return true;
                }
                Err(why) => failed = format!("node {node}: {why}"),
            }
        }
        tracing::warn!("chunk {chunk} could not be repaired: {failed}");
        self.core.note_failed_repair(chunk, &failed);
        false
    }

    /// Fetches a chunk from one peer and puts it in place.
    async fn fetch(&self, link: &Link<H>, chunk: u64) -> Result<(), String> {
        let core = self.core.clone();
        let begun = self.core.work(move || {
            let store = core.lock();
            (store.begin_repair(chunk), store.checkpointed())
        });
        let (Some(repair), checkpoint) = begun.await.ok_or("this node is stopping")? else {
            self.core.publish_damage();
            return Ok(());
        };
        let checkpoint = checkpoint.map_or(0, |checkpoint| checkpoint.index.0);
        let parts = ask(link, &repair, checkpoint).await;
        let parts = parts.map_err(|status| status.message().to_owned())?;
        let repaired = self.take_parts(repair, parts).await?;
        let core = self.core.clone();
        let put = self.core.work(move || {
            core.lock().finish_repair(repaired);
            core.publish_damage();
        });
        put.await.ok_or_else(|| "this node is stopping".to_owned())
    }

    async fn take_parts(
        &self,
        mut repair: Repair,
        mut parts: Streaming<v1::ChunkPart>,
    ) -> Result<Repaired, String> {
        loop {
            let part = within(STALLED, parts.message()).await;
            let part = part.map_err(|status| status.message().to_owned())?;
            let part = part.ok_or("it sent only a part")?;
            let (space, last) = (self.core.space.clone(), part.last);
            let put = self.core.work(move || {
                if !space.is_enough_to_install()? {
                    return Ok(None);
                }
                repair.put(part.offset, &part.data)?;
                Ok(Some(repair))
            });
            let put = put.await.ok_or("this node is stopping")?;
            repair = self.own(put)?.ok_or("there is no room here")?;
            if last {
                let finished = self.core.work_behind(move || repair.finish()).await;
                return self.own(finished.ok_or("this node is stopping")?);
            }
        }
    }

    /// Stops the node if the fault is one of its own disk; bytes that are not the chunk's do not stop it.
    fn own<T>(&self, outcome: Result<T, Fault>) -> Result<T, String> {
        outcome.map_err(|fault| {
            if !fault.is_damage() {
                self.failure.report(&fault);
            }
            fault.to_string()
        })
    }
}

async fn ask<H: Host>(
    link: &Link<H>,
    repair: &Repair,
    checkpoint: u64,
) -> Result<Streaming<v1::ChunkPart>, Status> {
    let asked = async {
        let origin = link.origin().await?;
        let request = v1::ChunkRequest {
            origin: Some(wire::origin(&origin)),
            number: repair.wanted().number,
            digest: wire::digest(repair.wanted().digest),
            checkpoint,
        };
        let mut client = link.client(Connection::Snapshot)?;
        link.note(Some(&origin), client.chunk(request).await)
    };
    Ok(within(STALLED, asked).await?.into_inner())
}

/// The parts of a chunk's file that are being sent to a peer.
pub(crate) type Parts = ReceiverStream<Result<v1::ChunkPart, Status>>;

/// Sends the chunk that a peer asks for.
pub(crate) async fn serve<H: Host>(
    core: &Arc<Core<H>>,
    request: &v1::ChunkRequest,
) -> Result<Parts, Status> {
    let (reader, number) = (core.reader(), request.number);
    let found = core.host().run(move || reader.chunk_source(number)).await;
    let source = found.map_err(|fault| Status::data_loss(fault.to_string()))?;
    let source = source.ok_or_else(|| Status::not_found("it has no such chunk"))?;
    if wire::digest(source.summary().digest) != request.digest {
        return Err(Status::failed_precondition("it holds other events in that chunk"));
    }
    if source.scavenged_at().is_some_and(|at| at > LogIndex(request.checkpoint)) {
        return Err(Status::failed_precondition("its chunk was scavenged by a newer checkpoint"));
    }
    let (parts, outgoing) = mpsc::channel(PARTS_AHEAD);
    tokio::spawn(send(core.clone(), source, parts));
    Ok(ReceiverStream::new(outgoing))
}

async fn send<H: Host>(
    core: Arc<Core<H>>,
    source: ChunkSource,
    parts: mpsc::Sender<Result<v1::ChunkPart, Status>>,
) {
    let (number, mut offset) = (source.summary().number, 0);
    loop {
        let part = source.clone();
        let read = core.host().run(move || part.read(offset, CHUNK_PART_BYTES)).await;
        let read = read.map_err(|fault| {
            core.note_damage(&fault);
            Status::data_loss(fault.to_string())
        });
        let length = read.as_ref().map_or(0, Bytes::len);
        let last = length < CHUNK_PART_BYTES;
        let part = read.map(|data| v1::ChunkPart { number, offset, data, last });
        // A peer that takes nothing more must not hold the file for ever.
        let is_taken = matches!(timeout(STALLED, parts.send(part)).await, Ok(Ok(())));
        if !is_taken || last {
            return;
        }
        offset += length as u64;
    }
}
