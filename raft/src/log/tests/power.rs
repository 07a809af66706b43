//! The power is cut at every operation that changes the disk, also while a start repairs an earlier cut.

use quorate_store::vfs::{MemVfs, Survival};

use super::*;

/// Runs a script on a disk whose power is cut after `changes` changes; returns true if something failed.
fn run_until_cut(script: &[Step], changes: u64) -> (MemVfs, Run, bool) {
    let vfs = MemVfs::new();
    vfs.cut_after(changes);
    let mut run = Run::new(Model::default());
    let Ok((log, mut writer)) = open_log(&vfs) else { return (vfs, run, true) };
    run.go(script, &log, &mut writer);
    let failed = pump(&mut writer).is_err();
    (vfs, run, failed)
}

fn survivals(seed: u64) -> Vec<Survival> {
    let seeds = (0..4).map(|nth| Survival::Seeded(seed * 4 + nth));
    [Survival::Nothing, Survival::Everything].into_iter().chain(seeds).collect()
}

/// Opens the log after a cut, cuts every start once more, and checks that the log goes on once it opens.
fn check_every_start(cut: &MemVfs, run: &Run, seed: u64) {
    // A catalog may stand at the last acknowledged commit, and must not make a start fail.
    let options = || LogOptions { covered: run.acknowledged().last_committed(), ..options() };
    for changes in 0.. {
        let vfs = cut.fork();
        vfs.cut_after(changes);
        let opened = open_with(&vfs, options()).is_ok();
        vfs.restart(Survival::Seeded(seed + changes));
        let (log, mut writer) = open_with(&vfs, options()).expect("a cut start can be made again");
        let held = run.state_of(&log);
        if opened {
            check_goes_on(&vfs, &held, &log, &mut writer);
            return;
        }
    }
}

/// Checks that entries appended after a start stay, and that remains of a cut do not come back.
fn check_goes_on(vfs: &MemVfs, held: &Model, log: &RaftLog, writer: &mut LogWriter) {
    let mut run = Run::new(held.clone());
    run.go(&[Step::Vote, Step::Append(vec![100, 5000, 0]), Step::Write], log, writer);
    run.go(&[Step::Sync, Step::Append(vec![9000]), Step::Write, Step::Sync], log, writer);
    assert_eq!(run.answers.last_good(), Some(run.states.len() - 3));
    vfs.restart(Survival::Nothing);
    let (log, _writer) = open_log(vfs).expect("opens");
    run.state_of(&log);
}

fn cut_everywhere(script: &[Step], stride: usize, seed: u64) {
    for changes in (0..).step_by(stride) {
        let (cut, run, failed) = run_until_cut(script, changes);
        for survival in survivals(seed.wrapping_mul(1000) + changes) {
            let vfs = cut.fork();
            vfs.restart(survival);
            check_every_start(&vfs, &run, changes);
        }
        if !failed {
            return;
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_answered() {
    for seed in 0..6 {
        cut_everywhere(&script(seed, 60), 1, seed);
    }
}

#[test]
fn a_power_cut_during_turnover_of_segments_loses_nothing_that_was_answered() {
    // With large entries and steady purging, every few batches take a new segment and give one back.
    let mut script = Vec::new();
    for _ in 0..12 {
        script.extend([Step::Append(vec![9000, 9000]), Step::Write, Step::Sync, Step::Commit(9)]);
        script.extend([
            Step::Purge(2),
            Step::Append(vec![50]),
            Step::Vote,
            Step::Write,
            Step::Sync,
        ]);
        script.extend([Step::Truncate(1), Step::Write, Step::Sync, Step::Sync]);
    }
    cut_everywhere(&script, 1, 99);
}

#[test]
fn a_failed_sync_is_final_and_what_was_answered_before_is_there_after_a_restart() {
    for seed in 0..4 {
        let script = script(100 + seed, 80);
        for syncs in 0.. {
            let vfs = MemVfs::new();
            let mut run = Run::new(Model::default());
            let (log, mut writer) = open_log(&vfs).expect("opens");
            vfs.fail_sync_after(syncs);
            run.go(&script, &log, &mut writer);
            if pump(&mut writer).is_ok() {
                break;
            }
            let failed = run.answers.all().into_iter().find(|(_, answer)| answer.is_err());
            log.save_vote(vote(1000), run.answers.done(usize::MAX));
            let (_, last) = run.answers.all().pop().expect("it is answered at once");
            assert!(last.is_err() && failed.is_none_or(|(_, first)| first == last));
            assert!(writer.write().is_err() && writer.sync().is_err() && !writer.wait());
            for survival in survivals(syncs) {
                let vfs = vfs.fork();
                vfs.restart(survival);
                let (log, _writer) = open_log(&vfs).expect("opens again");
                run.state_of(&log);
            }
        }
    }
}
