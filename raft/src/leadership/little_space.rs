//! Measures the room on the disk, and makes a leader with little room hand over. A leader that applies nothing before a
//! chunk is repaired hands over, too.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use quorate_store::Fault;
use tokio::time::Instant;

use crate::disk_space::space::Room;
use crate::host::Host;
use crate::leadership::handover;
use crate::replica::running::Running;

/// The interval at which the room is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The time that a chosen node has to take over before another is asked.
pub(crate) const HAND_OVER_EVERY: Duration = Duration::from_secs(5);

/// Measures the room until the node ends.
pub(crate) async fn watch<H: Host>(running: Arc<Running<H>>) {
    let mut handed_over: Option<Instant> = None;
    loop {
        let (vfs, path) = (running.host.vfs(), running.directory.clone());
        let measured =
            running.host.run(move || vfs.free_bytes(&path).map_err(Fault::io("measure", &path)));
        match measured.await {
            Ok(free) => note(&running, free),
            Err(fault) => return running.failure.report(fault),
        }
        let is_time = handed_over.is_none_or(|at| at.elapsed() >= HAND_OVER_EVERY);
        let why = "too little room, or a damaged chunk,";
        if is_time && must_hand_over(&running) && hand_over(&running, why).await {
            handed_over = Some(Instant::now());
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

fn note<H: Host>(running: &Running<H>, free: u64) {
    let space = &running.core.space;
    let Some(room) = space.note(free) else { return };
    let reserve = space.reserve();
    match room {
        Room::Plenty => tracing::info!("{free} bytes are free: there is room again"),
        Room::Low => tracing::warn!("{free} bytes are free, of a reserve of {reserve}"),
        Room::Full => tracing::error!(
            "{free} bytes are free, less than half of a reserve of {reserve}: no entries are taken"
        ),
    }
    running.log.fill_ahead(room < Room::Full);
}

fn must_hand_over<H: Host>(running: &Running<H>) -> bool {
    running.core.space.room() > Room::Plenty || running.core.applies_after_a_repair()
}

/// Asks a voter with room to take over because of `why`, if this node leads; returns true if one was asked. A voter
/// that is short of room too is never asked, so leadership does not go back and forth.
pub(crate) async fn hand_over<H: Host>(running: &Running<H>, why: &str) -> bool {
    let now = Instant::now();
    let heir = handover::heir(running, |voter| running.rooms.of(voter, now) == Some(Room::Plenty));
    let Some(heir) = heir else { return false };
    tracing::warn!("{why} keeps this node from leading: node {heir} is asked to");
    handover::hand_over(running, heir).await
}

/// Returns true if appends of users can be taken: here, and by enough voters.
pub(crate) fn has_room<H: Host>(running: &Running<H>) -> bool {
    if running.core.space.room() > Room::Plenty {
        return false;
    }
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    let now = Instant::now();
    metrics.membership_config.membership().get_joint_config().iter().all(|voters| {
        let full = voters.iter().filter(|voter| running.rooms.of(**voter, now) == Some(Room::Full));
        full.count() <= voters.len().saturating_sub(1) / 2
    })
}
