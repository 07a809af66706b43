//! The simulation over many seeds: every promise is kept, one seed gives one run, and defects that are put
//! back are found.
//!
//! `QUORATE_SEEDS=1000 cargo test --test simulation` runs a thousand; `QUORATE_SEED=7` only that one, with
//! the log that `QUORATE_LOG` asks for; `QUORATE_DEFECT=LostVote` puts back only that defect.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorate_tests::checker::Verdict;
use quorate_tests::simulation::{
    Counts, Defect, Failed, Hung, Plan, Report, Trace, hang_the_leader, run,
};

/// The number of seeds by default.
const SEEDS_DEFAULT: u64 = 40;
/// The number of seeds within which a defect has to be found.
const SEEDS_FOR_A_DEFECT: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, which is no number")))
}

fn log_if_asked() {
    if let Ok(filter) = env::var("QUORATE_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
    }
}

/// Runs one seed on a thread of its own, so that no remains of an earlier run change it.
fn run_apart(seed: u64, defect: Option<Defect>, trace: Trace) -> Result<Report, Failed> {
    run_plan(Plan { seed, defect, with_operator: false, trace })
}

/// Does the same with an operator who changes the members.
fn run_with_operator(seed: u64, trace: Trace) -> Result<Report, Failed> {
    run_plan(Plan { seed, defect: None, with_operator: true, trace })
}

fn run_plan(plan: Plan) -> Result<Report, Failed> {
    let seed = plan.seed;
    let running = std::thread::Builder::new().name(format!("seed {seed}"));
    let running = running.spawn(move || run(&plan)).expect("a thread can be started");
    running.join().unwrap_or_else(|_| Err(Failed::Stopped("it panicked; see above".to_owned())))
}

/// Runs seeds side by side until `stop` returns true; returns the results by seed.
fn run_many(
    seeds: std::ops::Range<u64>,
    run: impl Fn(u64) -> Result<Report, Failed> + Sync,
    stop: impl Fn(&Result<Report, Failed>) -> bool + Sync,
) -> BTreeMap<u64, Result<Report, Failed>> {
    let (next, results) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let result = run(seed);
            if stop(&result) {
                next.store(seeds.end, Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, result);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the only seed that was asked for, with its log and its trace.
fn show_one(seed: u64, run: impl FnOnce(Trace) -> Result<Report, Failed>) {
    log_if_asked();
    let trace = Trace::with_lines();
    let result = run(trace.clone());
    if let Ok(path) = env::var("QUORATE_TRACE") {
        std::fs::write(&path, trace.take_lines().join("\n")).expect("the trace can be written");
    }
    println!("seed {seed}: {result:#?}");
    result.unwrap_or_else(|failed| panic!("seed {seed}: {failed}"));
}

#[test]
fn every_promise_is_kept_under_crashes_partitions_and_delays() {
    if let Some(seed) = number("QUORATE_SEED") {
        return show_one(seed, |trace| run_apart(seed, None, trace));
    }
    let seeds = number("QUORATE_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let results = run_many(0..seeds, |seed| run_apart(seed, None, Trace::new()), |_| false);
    let mut faults = Counts::default();
    let (mut seen, mut scavenged, mut simulated) = (Verdict::default(), (0, 0), 0);
    let mut failed = Vec::new();
    for (seed, result) in &results {
        match result {
            Err(why) => failed.push(format!("seed {seed}: {why}")),
            Ok(report) => {
                faults += report.faults;
                seen += report.verdict;
                scavenged.0 += report.scavenged.0;
                scavenged.1 += report.scavenged.1;
                simulated += report.simulated.as_secs();
            }
        }
    }
    println!(
        "{seeds} seeds, {simulated} s simulated: {seen:?}; {faults:?}; {} chunks scavenged of {} events",
        scavenged.0, scavenged.1
    );
    assert!(failed.is_empty(), "{} of {seeds} seeds:\n{}", failed.len(), failed.join("\n"));
    if seeds >= SEEDS_DEFAULT {
        let missed = missed(&seen, &faults, scavenged.1);
        assert!(missed.is_empty(), "{seeds} seeds prove nothing about {missed:?}");
    }
}

#[test]
fn every_promise_is_kept_while_members_come_and_go() {
    if let Some(seed) = number("QUORATE_SEED") {
        return show_one(seed, |trace| run_with_operator(seed, trace));
    }
    let seeds = number("QUORATE_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let results = run_many(0..seeds, |seed| run_with_operator(seed, Trace::new()), |_| false);
    let (mut changes, mut faults, mut seen) = (0, Counts::default(), Verdict::default());
    let mut failed = Vec::new();
    for (seed, result) in &results {
        match result {
            Err(why) => failed.push(format!("seed {seed}: {why}")),
            Ok(report) => {
                changes += report.changes;
                faults += report.faults;
                seen += report.verdict;
            }
        }
    }
    println!("{seeds} seeds, {changes} changes of members and leaders: {seen:?}; {faults:?}");
    assert!(failed.is_empty(), "{} of {seeds} seeds:\n{}", failed.len(), failed.join("\n"));
    assert!(changes >= seeds, "{changes} changes in {seeds} seeds prove little");
}

/// Seeds that once failed: 15 (a flipped bit came to light between the last two reads), 175 (the owner of a group began
/// after its term was over, and served for ever), 210 (a checkpoint that ended before its receiver's log), 225 (an older
/// catalog was refused without the way out), 330 (a bit flipped in the only copy that was left), 472 (the rest of a read
/// lacked an event that was truncated after its point). A change of the simulation may give them other runs.
#[test]
fn seeds_that_once_failed_pass() {
    for seed in [15, 175, 210, 225, 240, 330, 472] {
        let result = run_apart(seed, None, Trace::new());
        result.unwrap_or_else(|failed| panic!("seed {seed}: {failed}"));
    }
}

/// Returns the names of the required cases that never took place.
fn missed(seen: &Verdict, faults: &Counts, scavenged: u64) -> Vec<&'static str> {
    let counts = [
        ("conflicts", seen.conflicts),
        ("unknown outcomes", seen.resolved_present.min(seen.resolved_absent)),
        ("reads", seen.reads),
        ("conditions", seen.conditional.min(seen.violations)),
        ("deleted streams", seen.ends),
        ("settings", seen.settings),
        ("removed events", seen.removed),
        ("scavenged events", scavenged),
        ("snapshots", seen.snapshots.min(seen.snapshot_reads)),
        ("followed events", seen.followed.min(seen.marks)),
        ("subscriptions that fell behind", seen.fell_behind),
        ("redelivered events", seen.redeliveries),
        ("parked events", seen.parked),
        ("crashes", faults.crashes.min(faults.power_cuts)),
        ("partitions", faults.partitions.min(faults.delays)),
        ("flipped bits", faults.flips),
        ("full disks", faults.full_disks),
        ("wrong clocks", faults.clocks),
        ("damaged files", faults.damages.min(faults.refusals)),
    ];
    counts.into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what).collect()
}

#[test]
fn a_leader_whose_disk_hangs_hands_over_after_seconds_and_stops_after_half_a_minute() {
    log_if_asked();
    for seed in [1, 2, 3] {
        let running = std::thread::Builder::new().spawn(move || hang_the_leader(seed));
        let Hung { handed_over, stopped, why } = running
            .expect("a thread can be started")
            .join()
            .expect("no panic")
            .unwrap_or_else(|failed| panic!("seed {seed}: {failed}"));
        let (soon, late) = (Duration::from_secs(10), Duration::from_secs(30));
        assert!(handed_over < soon, "seed {seed}: another led after {handed_over:?}");
        assert!(stopped >= late && stopped < late + soon, "seed {seed}: it took {stopped:?}");
        assert!(why.contains("the disk hangs"), "seed {seed}: {why}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    log_if_asked();
    for seed in [1, 2, 3] {
        let [one, other] = [(), ()].map(|()| {
            let trace = Trace::with_lines();
            let result = run_apart(seed, None, trace.clone());
            assert!(result.is_ok(), "seed {seed}: {}", result.unwrap_err());
            (trace.digest(), trace.take_lines())
        });
        let parted = one.1.iter().zip(&other.1).position(|(one, other)| one != other);
        if let Some(line) = parted {
            let from = line.saturating_sub(3);
            panic!(
                "seed {seed}: two runs part at line {line}:\n{}\n--- or ---\n{}",
                one.1[from..=line].join("\n"),
                other.1[from..=line].join("\n")
            );
        }
        assert_eq!((one.0, one.1.len()), (other.0, other.1.len()), "seed {seed}");
        assert!(one.1.len() > 1_000, "seed {seed}: only {} lines of trace", one.1.len());
    }
}

/// Returns true if a failure shows the harm that the defect does.
fn shows(defect: Defect, failed: &Failed) -> bool {
    match defect {
        // A node whose vote was lost is kept out by those that saw the vote, which may be a majority of nodes. The harm
        // is a second vote in a term, for a node that did not see the first.
        Defect::LostVote => matches!(failed, Failed::TwoLeaders { .. }),
        Defect::NoReach => matches!(failed, Failed::Overlooked(_) | Failed::Broken(_)),
        Defect::IgnoredExtension => {
            matches!(failed, Failed::Stuck(why) if why.contains("asked for more time"))
        }
        _ => true,
    }
}

#[test]
fn defects_put_back_on_purpose_are_found() {
    for defect in [
        Defect::AnswerBeforeSync,
        Defect::NoRetryCheck,
        Defect::RetryByVersion,
        Defect::LostVote,
        Defect::FlippedOutcome,
        Defect::NoConditionCheck,
        Defect::NoSecondLook,
        Defect::FloorAhead,
        Defect::IgnoredExtension,
        Defect::RawClock,
        Defect::NoReach,
    ] {
        if env::var("QUORATE_DEFECT").is_ok_and(|only| only != format!("{defect:?}")) {
            continue;
        }
        let is_it = |result: &Result<Report, Failed>| {
            result.as_ref().err().is_some_and(|failed| shows(defect, failed))
        };
        let run = |seed| run_apart(seed, Some(defect), Trace::new());
        let results = run_many(0..SEEDS_FOR_A_DEFECT, run, is_it);
        let found = results.iter().find(|(_, result)| is_it(result));
        let found = found.and_then(|(seed, result)| Some((seed, result.as_ref().err()?)));
        let (seed, failed) = found
            .unwrap_or_else(|| panic!("{defect:?} is not found in {SEEDS_FOR_A_DEFECT} seeds"));
        println!("{defect:?} is found by seed {seed}, of {} tried: {failed}", results.len());
    }
}
