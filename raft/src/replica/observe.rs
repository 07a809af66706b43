//! Turns openraft's metrics and the store's progress into the status, and notices a core that died.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::adapter::types;
use crate::disk_space::space::{Found, Room};
use crate::host::Host;
use crate::machine::{Health, Progress};
use crate::replica::running::Running;
use crate::status::{Member, Refusal, Role, Status};

/// The shortest interval at which growing numbers are shown; a change of role or term is shown at once.
const PROGRESS_EVERY: Duration = Duration::from_millis(10);

/// Keeps the status up to date until Raft ends.
pub(crate) async fn observe<H: Host>(running: Arc<Running<H>>, status: watch::Sender<Status>) {
    let mut metrics = running.raft.metrics();
    let mut server = running.raft.server_metrics();
    let mut progress = running.core.progress();
    let mut space = running.core.space.found();
    let mut health = running.core.health.subscribe();
    let mut clock = running.clock.subscribe();
    let mut refusals = running.guard.refusals();
    loop {
        let refused = refusals.borrow_and_update().clone();
        let known = (*progress.borrow_and_update(), *space.borrow_and_update());
        clock.mark_unchanged();
        let shown = show(&running, known, health.borrow_and_update().clone(), refused);
        status.send_if_modified(|status| {
            let changed = *status != shown;
            *status = shown;
            changed
        });
        let state = metrics.borrow_watched().running_state.clone();
        if let Err(fatal) = state {
            running.failure.report(fatal);
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
            running.failure.report("Raft's core has ended");
            return;
        }
    }
}

fn show<H: Host>(
    running: &Running<H>,
    (progress, space): (Progress, Found),
    health: Health,
    refusals: Vec<Refusal>,
) -> Status {
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    let members: Vec<Member> = metrics
        .membership_config
        .nodes()
        .map(|(id, place)| Member {
            id: *id,
            client_address: place.client_address.clone(),
            peer_address: place.peer_address.clone(),
        })
        .collect();
    let index = |id: Option<quorate_proto::LogId>| id.map(|id| id.index);
    Status {
        id: Some(running.identity.node),
        role: match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        },
        term: quorate_proto::Term(metrics.current_term),
        leader: members.iter().find(|member| Some(member.id) == metrics.current_leader).cloned(),
        committed: index(metrics.local_committed.map(types::ours)).max(index(progress.applied)),
        applied: index(progress.applied),
        position: progress.position,
        checkpointed: index(progress.checkpointed),
        checkpointed_position: progress.checkpointed_position,
        purged: index(metrics.purged.map(types::ours)),
        members,
        pressure: progress.pressure,
        refusals,
        free_bytes: space.free,
        reserve_bytes: running.core.space.reserve(),
        low_on_space: space.room > Room::Plenty,
        damaged: health.damaged,
        scrub: health.scrub,
        scavenged: health.scavenged,
        clock: running.clock.borrow().clone(),
        disagreement: health.disagreement,
    }
}
