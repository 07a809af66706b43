//! The scrubber: reads every byte of every chunk, slowly, so that damage is found while other nodes still have
//! the chunk whole.

use std::sync::Arc;
use std::time::Duration;

use quorate_store::ScrubStep;

use crate::failure::Failure;
use crate::host::Host;
use crate::machine::Core;

/// The number of bytes that are read at once.
const STEP_BYTES: u64 = 1024 * 1024;
/// The time between two rounds, so that small stores are not read all the time.
const REST: Duration = Duration::from_secs(3600);
/// The advice about a damaged catalog, which ends the sentence about the fault.
const ADVICE: &str = "leave this node stopped: the others go on without it as long as they are a majority: add a new \
     node in its place with `quorate cluster replace`";

/// Scrubs, round after round, until the node ends.
pub(crate) async fn run<H: Host>(core: Arc<Core<H>>, failure: Failure, bytes_per_second: u64) {
    if bytes_per_second == 0 {
        return;
    }
    loop {
        if round(&core, &failure, bytes_per_second).await.is_none() {
            return;
        }
        core.health.send_modify(|health| {
            health.scrub.chunk = None;
            health.scrub.last_full = Some(core.host().now());
        });
        tokio::time::sleep(REST).await;
    }
}

/// Scrubs all chunks once; `None` if the node cannot go on.
async fn round<H: Host>(
    core: &Arc<Core<H>>,
    failure: &Failure,
    bytes_per_second: u64,
) -> Option<()> {
    let store = core.clone();
    let mut scrub = core.work(move || store.lock().scrub()).await?;
    let budget = STEP_BYTES.min(bytes_per_second);
    loop {
        let (step, rest) = core.work_behind(move || (scrub.step(budget), scrub)).await?;
        scrub = rest;
        let verified = match step {
            Ok(ScrubStep::Whole(bytes)) => {
                core.health.send_modify(|health| {
                    health.scrub.chunk = scrub.chunk();
                    health.scrub.verified_bytes += bytes;
                });
                bytes
            }
            Ok(ScrubStep::Damaged { fault, .. }) => {
                core.note_damage(&fault);
                budget
            }
            Ok(ScrubStep::Done) => return Some(()),
            // A damaged chunk can come from another node; a damaged catalog, only together with all chunks.
            Err(fault) if fault.is_damage() => {
                failure.report(format!("{fault}; {ADVICE}"));
                return None;
            }
            Err(fault) => {
                failure.report(fault);
                return None;
            }
        };
        tokio::time::sleep(Duration::from_secs_f64(verified as f64 / bytes_per_second as f64))
            .await;
    }
}
