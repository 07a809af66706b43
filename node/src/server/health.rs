//! The health of a node: it is ready while it can answer a linearizable read, and live while it serves at all.

use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_proto::Consistency;
use quorate_raft::host::Host;
use quorate_raft::{Replica, Stopped};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::read;

/// The time within which a ready node must answer its own linearizable read.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// The interval at which a ready node checks that it still is, and at which one that is not tries again.
const CHECKED_EVERY: Duration = Duration::from_secs(5);
const TRIED_EVERY: Duration = Duration::from_millis(500);

/// Nothing, or the reason why a node is not ready or not live, for a person to read.
pub(crate) type Verdict = Result<(), String>;

/// The health of a node, checked all the time.
#[derive(Clone)]
pub(crate) struct Health<H: Host> {
    replica: Replica<H>,
    readiness: watch::Receiver<Verdict>,
    stopping: CancellationToken,
    listener_ended: CancellationToken,
}

impl<H: Host> Health<H> {
    /// Begins to check, until `stopping` is cancelled. The node is not ready before a check has found that it is.
    pub(crate) fn start(replica: Replica<H>, stopping: CancellationToken) -> Health<H> {
        let (found, readiness) = watch::channel(Err("it has just started".to_owned()));
        tokio::spawn(check(replica.clone(), found, stopping.clone()));
        Health { replica, readiness, stopping, listener_ended: CancellationToken::new() }
    }

    /// Returns an error if the node cannot answer a linearizable read, as of at most 10 seconds ago; the loss of a
    /// leader shows at once.
    pub(crate) fn ready(&self) -> Verdict {
        self.readiness.borrow().clone()
    }

    /// Returns a watch on what [`Health::ready`] returns.
    pub(crate) fn readiness(&self) -> watch::Receiver<Verdict> {
        self.readiness.clone()
    }

    /// Returns an error if the node has stopped, or does not serve all its listeners any more. A node that waits for a
    /// cluster or for a majority is live: nothing would come of starting it again.
    pub(crate) fn live(&self) -> Verdict {
        match self.replica.stopped().now_or_never() {
            Some(Stopped::Failed(why)) => return Err(format!("it cannot go on: {why}")),
            Some(Stopped::Shutdown) => return Err("it was shut down".to_owned()),
            None => {}
        }
        match self.listener_ended.is_cancelled() && !self.stopping.is_cancelled() {
            true => Err("a listener has ended".to_owned()),
            false => Ok(()),
        }
    }

    /// Serves a listener; the node is not live any more if it ends before the node stops.
    pub(crate) fn listener(
        &self,
        served: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.listener_ended.clone();
        async move {
            served.await;
            ended.cancel();
        }
    }
}

/// Keeps what is found up to date: the node is ready while it can answer a linearizable read, which it can if it belongs
/// to a cluster and applies what a leader commits. To know a leader is not enough: one that cannot reach this node stays
/// known for ever.
async fn check<H: Host>(
    replica: Replica<H>,
    found: watch::Sender<Verdict>,
    stopping: CancellationToken,
) {
    let mut status = replica.status();
    loop {
        let knows_leader = status.borrow_and_update().leader.is_some();
        let changed = status.wait_for(|now| now.leader.is_some() != knows_leader);
        let mut over = pin!(async {
            tokio::select! {
                () = stopping.cancelled() => true,
                _ = replica.stopped() => true,
                changed = changed => changed.is_err(),
            }
        });
        // The end of the check is polled first: a node that stops, or lost its leader, shows it at once.
        let checked = tokio::select! {
            biased;
            is_over = &mut over => Err(is_over),
            verdict = can_read(&replica, knows_leader) => Ok(verdict),
        };
        let again = match checked {
            Ok(Ok(())) => CHECKED_EVERY,
            _ => TRIED_EVERY,
        };
        let is_over = match checked {
            Ok(verdict) => {
                show(&found, verdict);
                timeout(again, over).await.unwrap_or(false)
            }
            Err(is_over) => {
                show(&found, Err("it has lost its leader, or just found one".to_owned()));
                is_over
            }
        };
        if is_over {
            return show(&found, Err("it is stopping".to_owned()));
        }
    }
}

fn show(found: &watch::Sender<Verdict>, now: Verdict) {
    found.send_if_modified(|shown| {
        let changed = *shown != now;
        *shown = now;
        changed
    });
}

async fn can_read<H: Host>(replica: &Replica<H>, knows_leader: bool) -> Verdict {
    if replica.identity().is_none() {
        return Err("it waits for a cluster to be founded: see `quorate cluster init`".to_owned());
    }
    if !knows_leader {
        return Err("it knows no leader: a majority of the nodes may be gone".to_owned());
    }
    let deadline = Instant::now() + READ_WITHIN;
    let reached = read::reach(replica, Consistency::Linearizable, deadline).await;
    reached
        .map(|_| ())
        .map_err(|problem| format!("a linearizable read of its own fails: {}", problem.message))
}
