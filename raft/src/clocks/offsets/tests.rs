//! The choice of the stamp, as a table and for drawn clocks.

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;
/// The true time at the beginning of each test.
const TRUE: i64 = 1_600_000_000 * SECOND;

/// One node of a cluster with its clocks.
struct Bench {
    clocks: Clocks,
    start: Instant,
    /// Seconds since the start.
    elapsed: u64,
    /// The difference of this node's wall clock from the true time.
    own: i64,
    voters: Vec<BTreeSet<u64>>,
}

impl Bench {
    /// Returns node 1 of `voters` nodes, with a clock that is off by `own`.
    fn new(voters: u64, own: i64) -> Bench {
        let start = Instant::now();
        let clocks = Clocks::new(1, Now { wall: Timestamp(TRUE + own), instant: start });
        Bench { clocks, start, elapsed: 0, own, voters: vec![(1..=voters).collect()] }
    }

    fn truth(&self) -> i64 {
        TRUE + self.elapsed as i64 * SECOND
    }

    fn now(&self) -> Now {
        let instant = self.start + Duration::from_secs(self.elapsed);
        Now { wall: Timestamp(self.truth() + self.own), instant }
    }

    fn wait(&mut self, seconds: u64) {
        self.elapsed += seconds;
    }

    /// Takes the answer of a peer whose clock is off by `off` and was read half a round trip ago.
    fn note(&mut self, peer: u64, off: i64, round_trip: Duration) {
        let answered = self.now().instant;
        let shown = self.truth() + off - micros(round_trip) / 2;
        self.clocks.note(peer, Timestamp(shown), answered - round_trip, answered);
    }

    fn judge(&mut self) -> Judged {
        let (now, voters) = (self.now(), self.voters.clone());
        self.clocks.judge(now, &voters)
    }

    /// Returns the difference of the stamp from the true time.
    fn stamped_off(&mut self) -> Option<i64> {
        let truth = self.truth();
        self.judge().stamp.map(|stamp| stamp.0 - truth)
    }
}

const QUICK: Duration = Duration::ZERO;

#[test]
fn nothing_is_stamped_before_a_majority_reported_its_clocks() {
    let mut three = Bench::new(3, 0);
    assert_eq!((three.judge().stamp, three.judge().fit), (None, Fit::Unknown));
    three.note(2, 0, QUICK);
    assert_eq!(three.stamped_off(), Some(0));
    let mut five = Bench::new(5, 0);
    five.note(2, 0, QUICK);
    assert_eq!(five.stamped_off(), None);
    five.note(9, 0, QUICK);
    assert_eq!(five.stamped_off(), None, "a learner is no part of a majority");
    five.note(3, 0, QUICK);
    assert_eq!(five.stamped_off(), Some(0));
}

#[test]
fn a_majority_is_needed_of_every_configuration_in_force() {
    let mut bench = Bench::new(3, 0);
    bench.voters.push([1, 4, 5].into());
    bench.note(2, 0, QUICK);
    bench.note(3, 0, QUICK);
    assert_eq!(bench.stamped_off(), None);
    bench.note(4, 0, QUICK);
    assert_eq!(bench.stamped_off(), Some(0));
}

#[test]
fn a_clock_far_from_the_median_is_not_stamped_with() {
    for (own, peers, stamped, fit) in [
        (0, [0, 0], 0, Fit::Fine),
        (4 * SECOND, [0, 0], 4 * SECOND, Fit::Fine),
        (6 * SECOND, [0, 0], 0, Fit::Ahead(6 * SECOND)),
        (YEAR, [0, SECOND], SECOND, Fit::Ahead(YEAR - SECOND)),
        (-YEAR, [0, SECOND], 0, Fit::Behind(YEAR)),
        (0, [YEAR, 0], 0, Fit::Fine),
        (0, [-YEAR, 0], 0, Fit::Fine),
        (YEAR, [-YEAR, 0], 0, Fit::Ahead(YEAR)),
    ] {
        let mut bench = Bench::new(3, own);
        bench.note(2, peers[0], QUICK);
        bench.note(3, peers[1], QUICK);
        let judged = bench.judge();
        assert_eq!(judged.stamp, Some(Timestamp(TRUE + stamped)), "{own} {peers:?}");
        assert_eq!(judged.fit, fit, "{own} {peers:?}");
    }
}

#[test]
fn of_two_clocks_that_differ_the_earlier_one_is_believed() {
    for (own, peer) in [(YEAR, 0), (0, YEAR)] {
        let mut bench = Bench::new(3, own);
        bench.note(2, peer, QUICK);
        assert_eq!(bench.stamped_off(), Some(0), "{own} {peer}");
    }
}

#[test]
fn most_of_the_clocks_that_are_known_may_be_wrong() {
    // Two of five clocks are wrong, and both were among the first three that were known.
    for (own, peers) in
        [(0, [YEAR, YEAR]), (YEAR, [0, YEAR]), (0, [YEAR, HOUR]), (SECOND, [YEAR, 0])]
    {
        let mut bench = Bench::new(5, own);
        bench.note(2, peers[0], QUICK);
        bench.note(5, peers[1], QUICK);
        let stamped = bench.stamped_off().expect("a majority is known");
        assert!(stamped.abs() <= SECOND, "{own} {peers:?}: {stamped}");
    }
    // The log contradicts the two clocks that are behind.
    for (own, peers) in [(0, [-YEAR, -HOUR]), (-HOUR, [0, -YEAR]), (-YEAR, [-YEAR, 0])] {
        let mut bench = Bench::new(5, own);
        bench.clocks.see_log(Timestamp(TRUE), bench.start);
        bench.wait(600);
        bench.note(2, peers[0], QUICK);
        bench.note(5, peers[1], QUICK);
        assert_eq!(bench.stamped_off(), Some(0), "{own} {peers:?}");
    }
}

#[test]
fn of_two_clocks_that_differ_the_one_far_behind_the_newest_stamp_is_not_believed() {
    // The newest stamp was true when it was seen, and the third node is away.
    for (own, peer) in [(-HOUR, 0), (0, -HOUR)] {
        let mut bench = Bench::new(3, own);
        bench.clocks.see_log(Timestamp(TRUE), bench.start);
        bench.wait(600);
        bench.note(2, peer, QUICK);
        assert_eq!(bench.stamped_off(), Some(0), "{own} {peer}");
        let fit = if own < 0 { Fit::Behind(HOUR) } else { Fit::Fine };
        assert_eq!(bench.judge().fit, fit);
    }
}

#[test]
fn the_newest_stamp_lets_no_clock_pass_that_is_further_ahead_of_it_than_time_has_gone_on() {
    for (stamp, own, peer, stamped) in [
        // A clock a year ahead does not become right because the other clock, or the log, is wrong, too.
        (0, -HOUR, YEAR, -HOUR),
        (HOUR, 0, YEAR, 0),
        (HOUR, 0, HOUR + 6 * SECOND, 0),
        // These clocks are not far from each other, nor from the log.
        (5 * SECOND, -4 * SECOND, 4 * SECOND, -4 * SECOND),
    ] {
        let mut bench = Bench::new(3, own);
        bench.clocks.see_log(Timestamp(TRUE + stamp), bench.start);
        bench.note(2, peer, QUICK);
        assert_eq!(bench.stamped_off(), Some(stamped), "{stamp} {own} {peer}");
    }
}

#[test]
fn a_clock_that_jumps_under_a_leader_changes_no_stamp_until_the_others_jump_too() {
    let mut bench = Bench::new(3, 0);
    bench.note(2, 0, QUICK);
    bench.note(3, 0, QUICK);
    assert_eq!(bench.stamped_off(), Some(0));
    bench.wait(1);
    bench.own = HOUR;
    assert_eq!(bench.stamped_off(), Some(0));
    bench.note(2, HOUR, QUICK);
    assert_eq!(bench.stamped_off(), Some(HOUR), "two of three agree");
}

#[test]
fn an_old_answer_counts_for_nothing() {
    let mut bench = Bench::new(3, 0);
    bench.note(2, 0, QUICK);
    bench.wait(READING_COUNTS_FOR.as_secs());
    assert_eq!(bench.stamped_off(), None);
}

#[test]
fn a_slow_answer_does_not_replace_a_quick_one_unless_the_clock_was_set() {
    let slow = Duration::from_secs(2);
    let mut bench = Bench::new(3, 0);
    bench.note(2, 0, Duration::from_millis(2));
    bench.wait(1);
    bench.note(2, SECOND / 2, slow);
    assert_eq!(bench.judge().offset, Some((0, 0)), "the lower of two is this node's own");
    assert_eq!(bench.clocks.readings[&2].error, 1_000);
    bench.note(2, HOUR, slow);
    assert_eq!(bench.clocks.readings[&2].error, SECOND);
    bench.wait(PRECISE_FOR.as_secs());
    bench.note(2, HOUR, 2 * slow);
    assert_eq!(bench.clocks.readings[&2].error, 2 * SECOND);
}

#[test]
fn a_node_alone_follows_its_clock_as_far_as_the_monotonic_clock_goes() {
    let mut bench = Bench::new(1, 0);
    bench.wait(3_600);
    assert_eq!(bench.stamped_off(), Some(0));
    bench.own = 4 * SECOND;
    assert_eq!((bench.stamped_off(), bench.judge().fit), (Some(4 * SECOND), Fit::Fine));
    bench.own = YEAR;
    bench.wait(60);
    assert_eq!((bench.stamped_off(), bench.judge().fit), (Some(5 * SECOND), Fit::Jumped(YEAR)));
    bench.own = -HOUR;
    assert_eq!((bench.stamped_off(), bench.judge().fit), (Some(-HOUR), Fit::Fine));
}

#[test]
fn a_node_that_belongs_to_no_configuration_stamps_nothing() {
    let mut bench = Bench::new(0, 0);
    assert_eq!(bench.stamped_off(), None);
    bench.voters.clear();
    assert_eq!(bench.stamped_off(), None);
}

#[test]
fn leadership_goes_to_nobody_whose_clock_is_unknown_or_ahead() {
    let mut bench = Bench::new(3, YEAR);
    bench.note(2, 0, QUICK);
    bench.note(3, 10 * SECOND, QUICK);
    let (now, stamp) = (bench.now(), Timestamp(TRUE));
    let can_lead = [2, 3, 4].map(|peer| bench.clocks.can_lead(peer, stamp, now));
    assert_eq!(can_lead, [true, false, false]);
}

#[test]
fn the_only_node_needs_consent_to_start_far_ahead_of_its_newest_stamp() {
    let day = 24 * HOUR;
    let ahead = |by: i64| must_be_accepted(Timestamp(TRUE + by), Some(Timestamp(TRUE)));
    assert_eq!((ahead(-YEAR), ahead(0), ahead(400 * day)), (None, None, None));
    assert_eq!(ahead(400 * day + 1), Some(START_AHEAD_MAX + Duration::from_micros(1)));
    assert_eq!(must_be_accepted(Timestamp(TRUE), None), None, "nothing was stamped yet");
}

proptest! {
    #[test]
    fn a_minority_of_wrong_clocks_moves_no_stamp_further_ahead_than_the_leeway_and_the_error(
        voters in 2_u64..=7,
        offsets in prop::collection::vec((-YEAR..YEAR, -SECOND..SECOND), 7),
        wrong in prop::collection::btree_set(1_u64..=7, 0..=3),
        order in Just((2_u64..=7).collect::<Vec<u64>>()).prop_shuffle(),
        missing in 0_usize..=3,
        round_trip_ms in 0_u64..2_000,
        share in 0_i64..=100,
    ) {
        let minority = (voters - 1) / 2;
        let wrong: BTreeSet<u64> =
            wrong.into_iter().filter(|node| *node <= voters).take(minority as usize).collect();
        let off = |node: u64| match (wrong.contains(&node), offsets[node as usize - 1]) {
            (true, (wrong, _)) => wrong,
            (false, (_, right)) => right,
        };
        let mut bench = Bench::new(voters, off(1));
        let round_trip = Duration::from_millis(round_trip_ms);
        let peers = order.into_iter().filter(|peer| *peer <= voters);
        let missing = missing.min(minority as usize);
        for peer in peers.skip(missing) {
            let answered = bench.now().instant;
            // The peer reads its clock anywhere between question and answer.
            let read_before = micros(round_trip) * share / 100;
            let shown = Timestamp(bench.truth() + off(peer) - read_before);
            bench.clocks.note(peer, shown, answered - round_trip, answered);
        }
        let stamped = bench.stamped_off().expect("a majority is known");
        let allowed = micros(LEEWAY) + SECOND + micros(round_trip) / 2 + 1;
        prop_assert!(stamped <= allowed, "{stamped}");
        // A stamp that is too early removes nothing, and comes only while clocks are unknown.
        prop_assert!(missing > 0 || stamped >= -allowed, "{stamped}");
    }
}
