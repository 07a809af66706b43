//! Turns openraft's metrics and the store's progress into the status, and notices a core that died.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::adapter::types;
use crate::disk_space::{Measurement, Room};
use crate::failure::Failure;
use crate::host::Host;
use crate::machine::{Core, Health, Progress};
use crate::raft::Raft;
use crate::status::{Clock, Member, Refusal, Role, Status};

/// The shortest interval at which growing numbers are shown; a change of role or term is shown at once.
const PROGRESS_EVERY: Duration = Duration::from_millis(10);

/// Keeps the status up to date until Raft ends.
pub(super) async fn observe<H: Host>(
    raft: Raft<H>,
    core: Arc<Core<H>>,
    mut clock: watch::Receiver<Clock>,
    mut refusals: watch::Receiver<Vec<Refusal>>,
    failure: Failure,
    status: watch::Sender<Status>,
) {
    let mut metrics = raft.watch_metrics();
    let mut server = raft.watch_server();
    let mut progress = core.progress();
    let mut space = core.space.found();
    let mut health = core.health.subscribe();
    loop {
        let disk = (*space.borrow_and_update(), core.space.reserve());
        let shown = Status {
            refusals: refusals.borrow_and_update().clone(),
            clock: clock.borrow_and_update().clone(),
            ..show(&raft, *progress.borrow_and_update(), disk, health.borrow_and_update().clone())
        };
        status.send_if_modified(|status| {
            let changed = *status != shown;
            *status = shown;
            changed
        });
        let state = metrics.borrow_watched().running_state.clone();
        if let Err(fatal) = state {
            failure.report(fatal);
            return;
        }
        let slowly = async {
            let alive = tokio::select! {
                changed = metrics.changed() => changed.is_ok(),
                changed = progress.changed() => changed.is_ok(),
                changed = space.changed() => changed.is_ok(),
                changed = health.changed() => changed.is_ok(),
                changed = clock.changed() => changed.is_ok(),
            };
            if alive {
                tokio::time::sleep(PROGRESS_EVERY).await;
            }
            alive
        };
        let alive = tokio::select! {
            changed = server.changed() => changed.is_ok(),
            changed = refusals.changed() => changed.is_ok(),
            alive = slowly => alive,
        };
        if !alive {
            failure.report("Raft's core has ended");
            return;
        }
    }
}

/// Returns the status, refusals and the clock aside.
fn show<H: Host>(
    raft: &Raft<H>,
    progress: Progress,
    (found, reserve_bytes): (Measurement, u64),
    health: Health,
) -> Status {
    raft.metrics(|metrics| {
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let members: Vec<Member> = metrics
            .membership_config
            .nodes()
            .map(|(id, addresses)| Member {
                id: *id,
                client_address: addresses.client_address.clone(),
                peer_address: addresses.peer_address.clone(),
                is_voter: voters.contains(id),
            })
            .collect();
        let index = |id: Option<quorate_proto::LogId>| id.map(|id| id.index);
        Status {
            id: Some(raft.node()),
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Candidate => Role::Candidate,
                ServerState::Follower => Role::Follower,
                ServerState::Learner | ServerState::Shutdown => Role::Learner,
            },
            term: quorate_proto::Term(metrics.current_term),
            leader: members
                .iter()
                .find(|member| Some(member.id) == metrics.current_leader)
                .cloned(),
            committed: index(metrics.local_committed.map(types::ours)).max(index(progress.applied)),
            applied: index(progress.applied),
            position: progress.position,
            checkpointed: index(progress.checkpointed),
            checkpointed_position: progress.checkpointed_position,
            purged: index(metrics.purged.map(types::ours)),
            members,
            voters_change: metrics.membership_config.membership().get_joint_config().len() > 1,
            pressure: progress.pressure,
            free_bytes: found.free,
            reserve_bytes,
            low_on_space: found.room > Room::Plenty,
            damaged: health.damaged,
            scrub: health.scrub,
            scavenged: health.scavenged,
            disagreement: health.disagreement,
            ..Status::default()
        }
    })
}
