//! Read indexes: all waiting readers share a round, one round is under way at a time, and a reader joins the
//! next round that was not sent yet.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use quorate_proto::LogIndex;
use quorate_proto::wire::peer::v1;
use tokio::sync::{mpsc, oneshot};

use crate::error::ProposeError;
use crate::host::Host;
use crate::peers::Peers;
use crate::raft::Raft;

type Waiter = oneshot::Sender<Result<LogIndex, ProposeError>>;

/// The queue of the readers.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    queue: mpsc::UnboundedSender<Waiter>,
}

/// The receiving end of the queue.
pub(crate) struct ReadQueue(mpsc::UnboundedReceiver<Waiter>);

impl Reads {
    pub(crate) fn new() -> (Reads, ReadQueue) {
        let (queue, waiters) = mpsc::unbounded_channel();
        (Reads { queue }, ReadQueue(waiters))
    }

    /// Joins the next round and waits for its read index.
    pub(crate) async fn join(&self) -> Result<LogIndex, ProposeError> {
        let (waiter, answer) = oneshot::channel();
        self.queue.send(waiter).map_err(|_| ProposeError::Stopped)?;
        answer.await.map_err(|_| ProposeError::Stopped)?
    }
}

impl ReadQueue {
    /// Runs rounds until no reader can join any more.
    pub(crate) async fn run<H: Host>(mut self, raft: Raft<H>, peers: Arc<Peers<H>>) {
        while let Some(first) = self.0.recv().await {
            let mut waiters = vec![first];
            while let Ok(next) = self.0.try_recv() {
                waiters.push(next);
            }
            let answer = round(&raft, &peers).await;
            for waiter in waiters {
                let _gave_up = waiter.send(answer);
            }
        }
    }
}

/// Runs one round, against the leader wherever it is.
async fn round<H: Host>(raft: &Raft<H>, peers: &Peers<H>) -> Result<LogIndex, ProposeError> {
    let (leader, addresses) = raft.leader().ok_or(ProposeError::Unavailable)?;
    if leader == raft.node() {
        return as_leader(raft, peers.deadline()).await;
    }
    let link = peers.link(leader, &addresses);
    let answer = link.unary(peers.deadline(), |origin, mut client| async move {
        client.read_index(v1::ReadIndexRequest { origin: Some(origin) }).await
    });
    match answer.await {
        Ok(response) => Ok(LogIndex(response.index)),
        Err(_) => Err(ProposeError::Unavailable),
    }
}

/// Runs a round on the leader: it asks a majority whether it still leads.
pub(crate) async fn as_leader<H: Host>(
    raft: &Raft<H>,
    deadline: Duration,
) -> Result<LogIndex, ProposeError> {
    let asked = raft.call(|raft| raft.get_read_linearizer(ReadPolicy::ReadIndex));
    match tokio::time::timeout(deadline, asked).await {
        Ok(Ok(linearizer)) => Ok(LogIndex(linearizer.read_log_id().index())),
        Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_)))) => {
            Err(ProposeError::NotLeader)
        }
        Ok(Err(RaftError::APIError(_))) | Err(_) => Err(ProposeError::Unavailable),
        Ok(Err(RaftError::Fatal(_))) => Err(ProposeError::Stopped),
    }
}
