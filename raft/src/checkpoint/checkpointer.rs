//! Checkpoints on demand: the chunk under way ends early, on every replica at the same entry.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::LogIndex;
use quorate_proto::wire::peer::v1;
use quorate_store::command;
use tokio::sync::oneshot;

use crate::clocks::StampClock;
use crate::disk_space::Room;
use crate::error::ProposeError;
use crate::host::Host;
use crate::machine::Core;
use crate::peers::Peers;
use crate::raft::{Raft, Written};

/// The longest time to wait for the leader, and then for the checkpoint.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes checkpoints on demand.
pub(crate) struct Checkpointer<H: Host> {
    pub(crate) core: Arc<Core<H>>,
    pub(crate) raft: Raft<H>,
    pub(crate) peers: Arc<Peers<H>>,
    pub(crate) clock: Arc<StampClock<H>>,
}

impl<H: Host> Checkpointer<H> {
    /// Waits until all that is applied here now is part of a checkpoint, if that is possible: without a leader, or
    /// without room for a seal, the newest checkpoint is used as it is.
    pub(crate) async fn refresh(&self) {
        let progress = *self.core.progress().borrow();
        if progress.position <= progress.checkpointed_position {
            return;
        }
        let made = async {
            let index = self.end_chunk().await?;
            let mut checkpoints = self.core.checkpoints();
            let reached = checkpoints.wait_for(|newest| newest.is_some_and(|id| id.index >= index));
            reached.await.map(|_| ()).map_err(|_| ProposeError::Stopped)
        };
        match tokio::time::timeout(PATIENCE, made).await {
            Ok(Ok(())) => {}
            Ok(Err(lost)) => tracing::warn!("the newest checkpoint must do: {lost}"),
            Err(_) => {
                tracing::warn!("the newest checkpoint must do: another did not come about in time")
            }
        }
    }

    /// Requests the leader to end the chunk under way; returns the index at which the chunk ends.
    async fn end_chunk(&self) -> Result<LogIndex, ProposeError> {
        let (leader, addresses) = self.raft.leader().ok_or(ProposeError::Unavailable)?;
        if leader == self.raft.node() {
            return self.end_chunk_as_leader().await;
        }
        let link = self.peers.link(leader, &addresses);
        let answer = link.unary(PATIENCE, |origin, mut client| async move {
            client.checkpoint(v1::CheckpointRequest { origin: Some(origin) }).await
        });
        answer.await.map(|response| LogIndex(response.index)).map_err(|_| ProposeError::Unavailable)
    }

    /// Ends the chunk under way, if this node is the leader; returns the index at which the chunk ends.
    pub(crate) async fn end_chunk_as_leader(&self) -> Result<LogIndex, ProposeError> {
        if self.core.space.room() == Room::Full {
            return Err(ProposeError::NoRoom);
        }
        let (sender, proposed) = oneshot::channel();
        let answer = move |answer: Option<Written<H>>| {
            let index = match answer {
                Some(Ok(response)) => Ok(LogIndex(response.log_id.index)),
                Some(Err(_)) => Err(ProposeError::NotLeader),
                None => Err(ProposeError::Stopped),
            };
            let _gave_up = sender.send(index);
        };
        // Without a stamp, log time stays the same.
        let bytes = command::checkpoint(self.clock.stamp().unwrap_or_default());
        self.raft.write(bytes, None, answer).await;
        proposed.await.unwrap_or(Err(ProposeError::Stopped))
    }
}
