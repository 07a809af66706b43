//! The clocks of a cluster as one node knows them, and their comparison; values, without tasks.
//!
//! A stamp decides which events are too old, and log time never goes back; so one wrong clock must not move it. A
//! peer's clock is kept as an offset from the monotonic clock of this process: a jump of this node's own clock does
//! not touch the offsets of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::Timestamp;
use tokio::time::Instant;

/// The most that a stamp may be ahead of a majority's reference clock, or the wall clock ahead of the monotonic one.
pub(crate) const LEEWAY: Duration = Duration::from_secs(5);
/// The most that a right clock can be behind the newest stamp: the stamp was at most the leeway ahead of a right clock,
/// which may be a little ahead of other right clocks.
const BEHIND_LOG_MAX: Duration = Duration::from_secs(10);
/// The time for which a peer's answer counts.
const READING_COUNTS_FOR: Duration = Duration::from_secs(30);
/// The age from which an answer gives way to a newer one even if that took longer on its way.
const PRECISE_FOR: Duration = Duration::from_secs(10);
/// The most that the clock of a cluster's only node may be ahead of its newest stamp at a start, unless it is accepted.
const START_AHEAD_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// The times that the two clocks of this process show at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) instant: Instant,
}

/// The time that a peer's clock showed at an instant of this process.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: i64,
    at: Instant,
    /// Half of the round trip, in microseconds.
    error: i64,
}

impl Reading {
    /// Returns the time that the peer's clock shows at another instant.
    fn at(&self, instant: Instant) -> i64 {
        self.wall.saturating_add(between(self.at, instant))
    }

    /// Returns true if both can be answers of one clock that nobody set in between.
    fn agrees(&self, other: &Reading) -> bool {
        self.at(other.at).abs_diff(other.wall) <= (self.error + other.error).unsigned_abs()
    }
}

/// The state of this node's clock: fine, or the reason why stamps are not taken from it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is near the reference; or it is the clock of the cluster's only node, and did not jump.
    Fine,
    /// Too few peers have answered with their clocks yet.
    Unknown,
    /// It is this number of microseconds ahead of the reference.
    Ahead(i64),
    /// It is this number of microseconds behind the reference.
    Behind(i64),
    /// It jumped ahead by this number of microseconds, and there is no peer to confirm it.
    Jumped(i64),
}

/// The result of comparing the clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The stamp of an entry that is proposed now; none before a majority's clocks are known.
    pub(crate) stamp: Option<Timestamp>,
    /// The state of this node's own clock.
    pub(crate) fit: Fit,
    /// The microseconds by which this node's clock is ahead of the reference, and their error.
    pub(crate) offset: Option<(i64, i64)>,
}

/// The clocks of a cluster as one node knows them.
#[derive(Debug)]
pub(crate) struct Clocks {
    me: u64,
    /// The moment from which the wall clock may advance only as far as the monotonic clock.
    followed_from: Now,
    readings: BTreeMap<u64, Reading>,
    /// The newest stamp in the log, and the instant at which it was first seen here.
    log_time: Option<(i64, Instant)>,
}

impl Clocks {
    pub(crate) fn new(me: u64, now: Now) -> Clocks {
        Clocks { me, followed_from: now, readings: BTreeMap::new(), log_time: None }
    }

    /// Notes the time that a peer's clock showed, in answer to a question that was sent and answered at these instants.
    pub(crate) fn note(&mut self, peer: u64, wall: Timestamp, sent: Instant, answered: Instant) {
        let error = between(sent, answered) / 2;
        let reading = Reading { wall: wall.0.saturating_add(error), at: answered, error };
        let keeps = self.readings.get(&peer).is_some_and(|before| {
            let age = answered.saturating_duration_since(before.at);
            age < PRECISE_FOR && before.error <= error && before.agrees(&reading)
        });
        if !keeps {
            self.readings.insert(peer, reading);
        }
    }

    /// Notes the newest stamp in the log, as seen at the instant `now`.
    pub(crate) fn see_log(&mut self, newest: Timestamp, now: Instant) {
        if newest > Timestamp::default() && self.log_time.is_none_or(|(wall, _)| wall != newest.0) {
            self.log_time = Some((newest.0, now));
        }
    }

    /// Compares the clocks as of now; `voters` are the voters of every configuration in force.
    pub(crate) fn judge(&mut self, now: Now, voters: &[BTreeSet<u64>]) -> Judged {
        if voters.iter().all(|voters| voters.iter().all(|voter| *voter == self.me)) {
            return self.judge_alone(now, voters);
        }
        let references: Option<Vec<(i64, i64)>> =
            voters.iter().map(|voters| self.reference(now, voters)).collect();
        let earliest = references.and_then(|references| references.into_iter().min());
        let Some((reference, error)) = earliest else {
            return Judged { stamp: None, fit: Fit::Unknown, offset: None };
        };
        let ahead = now.wall.0.saturating_sub(reference);
        let offset = Some((ahead, error));
        let is_off = ahead.unsigned_abs() > micros(LEEWAY).unsigned_abs();
        if is_off {
            let fit =
                if ahead > 0 { Fit::Ahead(ahead) } else { Fit::Behind(ahead.saturating_neg()) };
            return Judged { stamp: Some(Timestamp(reference)), fit, offset };
        }
        self.followed_from = now;
        Judged { stamp: Some(now.wall), fit: Fit::Fine, offset }
    }

    /// Without peers, the wall clock is followed as far as the monotonic clock allows.
    fn judge_alone(&self, now: Now, voters: &[BTreeSet<u64>]) -> Judged {
        if voters.iter().all(BTreeSet::is_empty) {
            return Judged { stamp: None, fit: Fit::Unknown, offset: None };
        }
        let from = self.followed_from;
        let expected = from.wall.0.saturating_add(between(from.instant, now.instant));
        let limit = expected.saturating_add(micros(LEEWAY));
        let fit = match now.wall.0 > limit {
            true => Fit::Jumped(now.wall.0.saturating_sub(expected)),
            false => Fit::Fine,
        };
        Judged { stamp: Some(now.wall.min(Timestamp(limit))), fit, offset: None }
    }

    /// Returns the clock that this node's clock is compared with, and its error, if a majority's clocks are known.
    ///
    /// A minority of the voters may be wrong, and most of the voters whose clocks are known may be among them: of five
    /// voters, two of the three. With all known, the median lies between right clocks. With fewer, the reference is the
    /// latest clock that is not ahead of a right one, however the wrong ones are set, for a stamp that is too early
    /// removes nothing. A later clock is the reference only where the log contradicts the earlier one.
    fn reference(&self, now: Now, voters: &BTreeSet<u64>) -> Option<(i64, i64)> {
        let shown = voters.iter().filter_map(|voter| self.shows(*voter, now));
        let mut shown: Vec<(i64, i64)> = shown.collect();
        let minority = voters.len().saturating_sub(1) / 2;
        let known = shown.len();
        if known <= voters.len() / 2 {
            return None;
        }
        shown.sort_unstable();
        let earliest = (known - 1 - minority).min((known - 1) / 2);
        let latest = minority.max(known / 2);
        let candidates = shown.get(earliest..=latest)?;
        let wrong = candidates.windows(2).take_while(
            |pair| matches!(pair, [lower, upper] if self.log_contradicts(lower.0, upper.0, now)),
        );
        candidates.get(wrong.count()).copied()
    }

    /// Returns true if the lower clock is too far behind the newest stamp, which a majority's clocks allowed, to be
    /// right, while the upper one is not ahead of that stamp and the time that passed since.
    fn log_contradicts(&self, lower: i64, upper: i64, now: Now) -> bool {
        let Some((stamp, seen)) = self.log_time else { return false };
        let expected = stamp.saturating_add(between(seen, now.instant));
        lower < stamp.saturating_sub(micros(BEHIND_LOG_MAX))
            && upper <= expected.saturating_add(micros(LEEWAY))
    }

    /// Returns the time that the clock of a node shows now, with its error, if the node showed it of late.
    fn shows(&self, node: u64, now: Now) -> Option<(i64, i64)> {
        if node == self.me {
            return Some((now.wall.0, 0));
        }
        let reading = self.readings.get(&node)?;
        let age = now.instant.saturating_duration_since(reading.at);
        (age < READING_COUNTS_FOR).then(|| (reading.at(now.instant), reading.error))
    }

    /// Returns true if the clock of a peer is known and not far ahead of the time that is stamped.
    pub(crate) fn can_lead(&self, peer: u64, stamp: Timestamp, now: Now) -> bool {
        let shows = self.shows(peer, now);
        shows.is_some_and(|(shown, _)| shown.saturating_sub(stamp.0) <= micros(LEEWAY))
    }
}

/// Returns how far the clock of a cluster's only node is ahead, if it is so far that it must be accepted first.
pub(crate) fn must_be_accepted(wall: Timestamp, newest: Option<Timestamp>) -> Option<Duration> {
    let ahead = u64::try_from(wall.0.saturating_sub(newest?.0)).ok()?;
    let ahead = Duration::from_micros(ahead);
    (ahead > START_AHEAD_MAX).then_some(ahead)
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Returns the microseconds from one instant to another, which may be the earlier one.
fn between(from: Instant, to: Instant) -> i64 {
    match to.checked_duration_since(from) {
        Some(later) => micros(later),
        None => -micros(from.saturating_duration_since(to)),
    }
}

#[cfg(test)]
mod tests;
