//! openraft's state machine and snapshot builder.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use quorate_store::Fault;

use super::core::{Checkpoint, Core};
use crate::adapter::entry::stored;
use crate::adapter::types::{self, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::host::Host;

/// The store as openraft's worker drives it.
pub(crate) struct Machine<H>(pub(crate) Arc<Core<H>>);

impl<H: Host> Machine<H> {
    /// Notes a fault for the whole node before openraft learns of it.
    fn fault(&self, fault: Fault) -> io::Error {
        if self.0.note_damage(&fault) {
            let advice = "start the node again: it repairs the chunk from another node first";
            self.0.failure.report(format!("{fault}; {advice}"));
        } else {
            self.0.failure.report(&fault);
        }
        io::Error::other(fault)
    }
}

impl<H: Host> RaftStateMachine<Types<H>> for Machine<H> {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Machine<H>;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let store = self.0.lock();
        Ok((store.applied().map(types::theirs), stored(store.attachment())?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<H>>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let _inside = self.0.for_its_turn().await?;
            let verdicts = self.0.apply(entry).map_err(|fault| self.fault(fault))?;
            if let Some(responder) = responder {
                responder.send(verdicts);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine<H> {
        Machine(self.0.clone())
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta,
        checkpoint: Checkpoint,
    ) -> io::Result<()> {
        let _inside = self.0.enter()?;
        self.0.install(checkpoint).await.map_err(|fault| self.fault(fault))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<Checkpoint>>> {
        self.0.snapshot()
    }
}

impl<H: Host> RaftSnapshotBuilder<Types<H>> for Machine<H> {
    type SnapshotData = Checkpoint;

    /// Returns the newest checkpoint. Checkpoints are made at boundaries, whether openraft asks or not.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot<Checkpoint>> {
        self.0.sealed().await;
        let empty = || Snapshot { meta: SnapshotMeta::default(), snapshot: Checkpoint::Empty };
        Ok(self.0.snapshot()?.unwrap_or_else(empty))
    }
}
