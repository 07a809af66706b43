//! The outcome of an entry, in the one form that its digest is made from.
//!
//! ```text
//! outcome   log index 8, verdicts
//! verdict   1 appended: first position 8, last 8, recorded_at 8, count 4, versions 8 each
//!           2 kept: version 8
//!           3 conflict: count 4, failures, count 4, violations
//!           4 id reused: id 16
//!           5 stream closed: stream 1 + n
//!           6 forgotten
//!           7 check too old
//!           8 group: outcome 1 (0 done, 1 not found, 2 differs, 3 full, 4 stale), count 8
//!           9 limits full: kind of the scope's key 1, name 1 + n
//!           10 repeated: as appended
//!           11 unsettled: the verdict unless the append was made before the window
//! failure   stream 1 + n, actual 8, expected 1 (0 any, 1 none, 2 exists, 3 exactly, and then 8 more)
//! violation condition 4, position 8
//! ```
//!
//! It stands on no disk, but two builds that replicate one log must agree on it.

use quorate_proto::{Appended, Expectation, Failure, GroupOutcome, LogIndex, Violation};
use xxhash_rust::xxh3::xxh3_128;

use super::Output;
use crate::format::Key;
use crate::verdict::{Rejection, Verdict};

/// Returns the digest after an entry, given the digest before it.
pub(crate) fn digest(before: u128, index: LogIndex, verdicts: &[Verdict]) -> u128 {
    let mut out = Vec::with_capacity(24 + verdicts.len() * 40);
    out.put_u128(before);
    out.put_u64(index.0);
    for verdict in verdicts {
        put_verdict(verdict, &mut out);
    }
    xxh3_128(&out)
}

fn put_verdict(verdict: &Verdict, out: &mut Vec<u8>) {
    match verdict {
        Verdict::Appended(appended) => {
            out.put_u8(1);
            put_appended(appended, out);
        }
        Verdict::Repeated(appended) => {
            out.put_u8(10);
            put_appended(appended, out);
        }
        Verdict::SnapshotStored(version) => {
            out.put_u8(2);
            out.put_u64(version.0);
        }
        Verdict::Group(outcome) => {
            let (number, count) = match outcome {
                GroupOutcome::Done(count) => (0, *count),
                GroupOutcome::NotFound => (1, 0),
                GroupOutcome::Differs => (2, 0),
                GroupOutcome::Full => (3, 0),
                GroupOutcome::Stale => (4, 0),
            };
            out.put_u8(8);
            out.put_u8(number);
            out.put_u64(count);
        }
        Verdict::Rejected(rejection) => put_rejection(rejection, out),
        Verdict::Unsettled(unsettled) => {
            out.put_u8(11);
            put_rejection(&unsettled.rejection, out);
        }
    }
}

fn put_appended(appended: &Appended, out: &mut Vec<u8>) {
    out.put_u64(appended.first_position.0);
    out.put_u64(appended.last_position.0);
    out.put_i64(appended.recorded_at.0);
    out.put_u32(count(appended.versions.len()));
    appended.versions.iter().for_each(|version| out.put_u64(version.0));
}

fn put_rejection(rejection: &Rejection, out: &mut Vec<u8>) {
    match rejection {
        Rejection::Conflict { failures, violations } => {
            out.put_u8(3);
            out.put_u32(count(failures.len()));
            failures.iter().for_each(|failure| put_failure(failure, out));
            out.put_u32(count(violations.len()));
            for Violation { condition, position } in violations {
                out.put_u32(count(*condition));
                out.put_u64(position.0);
            }
        }
        Rejection::IdReused(id) => {
            out.put_u8(4);
            out.put(id.as_bytes());
        }
        Rejection::StreamClosed(stream) => {
            out.put_u8(5);
            out.put_short(stream.as_str().as_bytes());
        }
        Rejection::Forgotten => out.put_u8(6),
        Rejection::CheckTooOld => out.put_u8(7),
        Rejection::LimitsFull(scope) => {
            out.put_u8(9);
            let key = Key::of_scope(scope);
            out.put_u8(key.kind());
            out.put_short(key.name().as_bytes());
        }
    }
}

fn put_failure(failure: &Failure, out: &mut Vec<u8>) {
    out.put_short(failure.stream.as_str().as_bytes());
    out.put_u64(failure.actual.0);
    match failure.expected {
        Expectation::Any => out.put_u8(0),
        Expectation::None => out.put_u8(1),
        Expectation::Exists => out.put_u8(2),
        Expectation::Exactly(version) => {
            out.put_u8(3);
            out.put_u64(version.0);
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("bounded by the limits of an append")
}

#[cfg(test)]
mod tests {
    use quorate_proto::{EventId, Position, StreamName, Timestamp, Version};

    use super::*;

    fn appended(version: u64) -> Verdict {
        Verdict::Appended(Appended {
            versions: vec![Version(version)],
            first_position: Position(4),
            last_position: Position(4),
            recorded_at: Timestamp(9),
        })
    }

    /// Replicas of two builds compare the digest: a change of these numbers needs a new cluster level.
    #[test]
    fn the_digest_of_an_outcome_stays_what_it_is() {
        let stream = StreamName::new("order-1").expect("a name");
        let (expected, actual) = (Expectation::Exactly(Version(2)), Version(3));
        let failures = vec![Failure { stream: stream.clone(), expected, actual }];
        let violations = vec![Violation { condition: 1, position: Position(8) }];
        let verdicts = [
            appended(1),
            Verdict::SnapshotStored(Version(7)),
            Verdict::Rejected(Rejection::Conflict { failures, violations }),
            Verdict::Rejected(Rejection::IdReused(EventId::from_bytes([5; 16]).expect("an id"))),
            Verdict::Rejected(Rejection::StreamClosed(stream)),
            Verdict::Rejected(Rejection::Forgotten),
            Verdict::Rejected(Rejection::CheckTooOld),
        ];
        let digest = digest(1, LogIndex(2), &verdicts);
        assert_eq!(format!("{digest:032x}"), "90e66558b1a3212b6afc1ef11daa2d38");
    }

    #[test]
    fn the_digest_of_what_requests_to_groups_came_to_stays_what_it_is() {
        let outcomes = [
            GroupOutcome::Done(300),
            GroupOutcome::NotFound,
            GroupOutcome::Differs,
            GroupOutcome::Full,
            GroupOutcome::Stale,
        ];
        let digest = digest(1, LogIndex(2), &outcomes.map(Verdict::Group));
        assert_eq!(format!("{digest:032x}"), "29d03a5ba266bdb97eb61b59edcfddbf");
    }

    #[test]
    fn every_part_of_an_outcome_counts() {
        let base = digest(1, LogIndex(2), &[appended(1)]);
        for other in [
            digest(0, LogIndex(2), &[appended(1)]),
            digest(1, LogIndex(3), &[appended(1)]),
            digest(1, LogIndex(2), &[appended(2)]),
            digest(1, LogIndex(2), &[]),
            digest(1, LogIndex(2), &[appended(1), appended(1)]),
            digest(1, LogIndex(2), &[Verdict::Group(GroupOutcome::Done(1))]),
        ] {
            assert_ne!(other, base);
        }
    }
}
