//! The clock by which this node stamps entries: its own, compared with those of the voters.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_proto::Timestamp;
use quorate_store::defect::{self, Defect};
use tokio::sync::watch;
use tokio::time::Instant;

use super::offsets::{Clocks, Judged, Now};
use crate::host::Host;
use crate::raft::Raft;
use crate::status::Clock;

/// The clock by which this node stamps entries.
pub(crate) struct StampClock<H: Host> {
    host: H,
    raft: Raft<H>,
    clocks: Mutex<Clocks>,
    /// The published comparison of the clocks.
    pub(super) shown: watch::Sender<Clock>,
}

impl<H: Host> StampClock<H> {
    pub(crate) fn new(host: H, raft: Raft<H>) -> StampClock<H> {
        let now = Now { wall: host.now(), instant: Instant::now() };
        let clocks = Mutex::new(Clocks::new(raft.node(), now));
        StampClock { host, raft, clocks, shown: watch::Sender::default() }
    }

    /// Returns the times that the clocks of this process show.
    pub(crate) fn now(&self) -> Now {
        Now { wall: self.host.now(), instant: Instant::now() }
    }

    /// Returns the stamp of an entry that is proposed now; none before enough peers answered with their clocks.
    pub(crate) fn stamp(&self) -> Option<Timestamp> {
        if defect::is_present(Defect::RawClock) {
            return Some(self.host.now());
        }
        self.judge().stamp
    }

    /// Returns a watch on the published comparison of the clocks.
    pub(crate) fn shown(&self) -> watch::Receiver<Clock> {
        self.shown.subscribe()
    }

    /// Compares this node's clock with those of the voters, as of now.
    pub(super) fn judge(&self) -> Judged {
        let (membership, now) = (self.raft.membership(), self.now());
        self.clocks().judge(now, membership.membership().get_joint_config())
    }

    pub(super) fn clocks(&self) -> MutexGuard<'_, Clocks> {
        // An answer of a peer is only ever replaced whole.
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
