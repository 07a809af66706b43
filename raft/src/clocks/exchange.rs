//! Asks the other nodes for the times on their clocks, and warns when this node's own clock is off.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::Timestamp;
use quorate_proto::wire::peer::v1;
use tokio::time::Instant;

use super::offsets::{Fit, Judged, LEEWAY, micros};
use super::stamp::StampClock;
use crate::adapter::types::Addresses;
use crate::host::Host;
use crate::leadership::handover::Handover;
use crate::machine::Core;
use crate::peers::Peers;
use crate::raft::Raft;
use crate::status::Clock;

/// The interval at which the others are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The interval while too few have answered: a leader waits for them with its first entry.
const ASK_SOON: Duration = Duration::from_millis(100);
/// The longest time that an answer may take; half of it is the largest error.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Asks again and again until the node ends. If this node leads and its clock is ahead, a node whose clock is not is
/// asked to lead.
pub(crate) async fn run<H: Host>(
    clock: Arc<StampClock<H>>,
    core: Arc<Core<H>>,
    raft: Raft<H>,
    peers: Arc<Peers<H>>,
    mut handover: Handover<H>,
) {
    let mut logged = None;
    loop {
        let others = raft.others();
        // Each answer counts as soon as it arrives.
        join_all(others.iter().map(|(node, addresses)| ask(&clock, &peers, *node, addresses)))
            .await;
        let log_time = core.reader().point().recorded_at;
        clock.clocks().see_log(log_time, Instant::now());
        let judged = clock.judge();
        logged = show(&clock, &judged, log_time, logged);
        if let (Fit::Ahead(by), Some(stamp)) = (judged.fit, judged.stamp) {
            let (why, now) = (format!("a clock {} ahead", span(by)), clock.now());
            handover.ask(&why, |voter| clock.clocks().can_lead(voter, stamp, now)).await;
        }
        let rest = if judged.stamp.is_some() { ASK_EVERY } else { ASK_SOON };
        tokio::time::sleep(rest).await;
    }
}

async fn ask<H: Host>(clock: &StampClock<H>, peers: &Peers<H>, node: u64, addresses: &Addresses) {
    let link = peers.link(node, addresses);
    let answer = link.unary(ANSWERED_WITHIN, |origin, mut client| async move {
        let request = v1::TimeRequest { origin: Some(origin) };
        let sent = Instant::now();
        let answer = client.time(request).await?;
        Ok(answer.map(|shown| (shown, sent)))
    });
    // A node that does not answer is left out.
    if let Ok((v1::TimeResponse { now_us }, sent)) = answer.await {
        clock.clocks().note(node, Timestamp(now_us), sent, Instant::now());
    }
}

/// Publishes the comparison of the clocks, and logs it if the kind of trouble changed; returns the kind.
fn show<H: Host>(
    clock: &StampClock<H>,
    judged: &Judged,
    log_time: Timestamp,
    logged: Option<Discriminant<Fit>>,
) -> Option<Discriminant<Fit>> {
    let wrong = wrong(judged, clock.now().wall, log_time);
    let kind = wrong.is_some().then(|| discriminant(&judged.fit));
    match &wrong {
        Some(wrong) if kind != logged => tracing::warn!("the clock of this node is wrong: {wrong}"),
        None if logged.is_some() => tracing::info!("the clock of this node is right again"),
        _ => {}
    }
    let ahead_ms = judged.offset.map(|(ahead, _)| ahead / 1_000);
    clock.shown.send_if_modified(|shown| {
        let now = Clock { ahead_ms, wrong };
        let changed = *shown != now;
        *shown = now;
        changed
    });
    kind
}

/// Returns the reason why the clock of this node is not to be relied on, if there is one.
fn wrong(judged: &Judged, wall: Timestamp, log_time: Timestamp) -> Option<String> {
    let late = log_time.0.saturating_sub(wall.0);
    match judged.fit {
        Fit::Ahead(by) => Some(format!(
            "its clock is {} ahead of the others': it stamps with their time, and does not lead while another can",
            span(by)
        )),
        Fit::Behind(by) => {
            Some(format!("its clock is {} behind the others': it stamps with their time", span(by)))
        }
        Fit::Jumped(by) => Some(format!(
            "its clock jumped {} ahead, and there is no other to compare it with: it stamps as if it had not; if \
             the clock is right now, start the node again",
            span(by)
        )),
        Fit::Fine | Fit::Unknown if late > micros(LEEWAY) => Some(format!(
            "its clock is {} behind the newest stamp in its log: until then log time stands still",
            span(late)
        )),
        Fit::Fine | Fit::Unknown => None,
    }
}

/// Formats a length of time for people.
fn span(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds / (24 * 3600) {
        0..2 => format!("{seconds} s"),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_described_in_words() {
        let words = |fit, wall, log_time| {
            let judged = Judged { stamp: None, fit, offset: None };
            wrong(&judged, Timestamp(wall), Timestamp(log_time)).unwrap_or_default()
        };
        let second = 1_000_000;
        assert_eq!(words(Fit::Fine, 0, 5 * second), "");
        assert!(words(Fit::Fine, 0, 6 * second).contains("6 s behind the newest stamp"));
        assert!(words(Fit::Ahead(365 * 86_400 * second), 0, 0).contains("365 days ahead"));
        assert!(words(Fit::Behind(3_600 * second), 0, 0).contains("3600 s behind the others'"));
        assert!(words(Fit::Jumped(7 * second), 0, 0).contains("jumped 7 s ahead"));
    }
}
