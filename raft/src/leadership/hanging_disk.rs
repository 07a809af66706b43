//! Looks after a disk that hangs: heartbeats do not use the disk, so a leader would go on leading although it
//! acknowledges nothing itself. Such a leader hands over, and a node whose disk hangs for much longer stops.

use std::time::Duration;

use tokio::time::Instant;

use super::handover::Handover;
use crate::failure::Failure;
use crate::host::Host;
use crate::log::RaftLog;

/// The interval at which the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The wait of the log's oldest batch for the disk after which a leader hands over.
const HANDS_OVER_AFTER: Duration = Duration::from_secs(3);
/// The wait of the log's oldest batch for the disk after which a node stops.
const STOPS_AFTER: Duration = Duration::from_secs(30);

/// The action that a disk that hangs makes necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    Nothing,
    HandOver,
    Stop,
}

/// The batch that waits for the disk, and the time since which it waits.
#[derive(Default)]
struct Waiting(Option<(u64, Instant)>);

impl Waiting {
    /// Returns the action; `batch` is the one that is to become durable next.
    fn demand(&mut self, batch: Option<u64>, now: Instant) -> Demand {
        let since = match (self.0, batch) {
            (Some((same, since)), Some(batch)) if same == batch => since,
            _ => now,
        };
        self.0 = batch.map(|batch| (batch, since));
        match now.saturating_duration_since(since) {
            waited if waited >= STOPS_AFTER => Demand::Stop,
            waited if waited >= HANDS_OVER_AFTER => Demand::HandOver,
            _ => Demand::Nothing,
        }
    }
}

/// Looks at the log until the node ends. Nothing here waits for the disk.
pub(crate) async fn watch<H: Host>(log: RaftLog, mut handover: Handover<H>, failure: Failure) {
    let mut waiting = Waiting::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match waiting.demand(log.awaited_batch(), Instant::now()) {
            Demand::Nothing => {}
            Demand::HandOver => handover.ask_one_with_room("a disk that hangs").await,
            Demand::Stop => {
                let seconds = STOPS_AFTER.as_secs();
                let why = format!("the disk hangs: it wrote nothing of the log for {seconds} s");
                return failure.report(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_batch_that_waits_and_waits_demands_something() {
        let mut waiting = Waiting::default();
        let start = Instant::now();
        let mut demand =
            |batch, seconds| waiting.demand(batch, start + Duration::from_secs(seconds));
        let demands = [
            demand(None, 0),
            demand(None, 100),
            demand(Some(1), 101),
            demand(Some(2), 103),
            demand(Some(2), 105),
            demand(Some(2), 106),
            demand(Some(3), 107),
            demand(Some(3), 136),
            demand(Some(3), 137),
            demand(None, 138),
            demand(Some(4), 139),
        ];
        use Demand::{HandOver, Nothing, Stop};
        let expected = [
            Nothing, Nothing, Nothing, Nothing, Nothing, HandOver, Nothing, HandOver, Stop,
            Nothing, Nothing,
        ];
        assert_eq!(demands, expected);
    }
}
