//! Measures the room on the disk, and makes a leader with little room hand over. A leader that applies nothing before a
//! chunk is repaired hands over, too.

use std::sync::Arc;
use std::time::Duration;

use super::handover::Handover;
use crate::disk_space::{Room, Space};
use crate::failure::Failure;
use crate::host::Host;
use crate::log::RaftLog;
use crate::machine::Core;

/// The interval at which the room is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Measures the room until the node ends.
pub(crate) async fn watch<H: Host>(
    core: Arc<Core<H>>,
    log: RaftLog,
    mut handover: Handover<H>,
    failure: Failure,
) {
    loop {
        let space = core.space.clone();
        match core.host().run(move || space.measure()).await {
            Ok(free) => note(&core.space, free, &log),
            Err(fault) => return failure.report(fault),
        }
        if core.space.room() > Room::Plenty || core.applies_after_a_repair() {
            handover.ask_one_with_room("too little room, or a damaged chunk,").await;
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

fn note(space: &Space, free: u64, log: &RaftLog) {
    let Some(room) = space.note(free) else { return };
    let reserve = space.reserve();
    match room {
        Room::Plenty => tracing::info!("{free} bytes are free: there is room again"),
        Room::Low => tracing::warn!("{free} bytes are free, of a reserve of {reserve}"),
        Room::Full => tracing::error!(
            "{free} bytes are free, less than half of a reserve of {reserve}: no entries are taken"
        ),
    }
    log.fill_ahead(room < Room::Full);
}
