//! The shared parts of the log's tests. A script of steps runs against the log and against a model; after
//! any failure or restart, the log must be at one of the states of the model that are allowed then.

mod behaviour;
mod damage;
mod disk;
mod formats;
mod model;
mod power;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::vfs::MemVfs;

use super::*;

/// A pseudo-random sequence (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }
}

fn directory() -> PathBuf {
    PathBuf::from("/node/log")
}

fn options() -> LogOptions {
    LogOptions {
        cluster: [7; 16],
        log: 0,
        node: 3,
        segment_bytes: LogOptions::SEGMENT_BYTES_MIN,
        cache_bytes: 2000,
        covered: None,
        reach: Reach::default(),
        boot: 0,
    }
}

fn open_log(vfs: &MemVfs) -> Result<(RaftLog, LogWriter), Fault> {
    open_with(vfs, options())
}

fn open_with(vfs: &MemVfs, options: LogOptions) -> Result<(RaftLog, LogWriter), Fault> {
    RaftLog::open(Arc::new(vfs.clone()), &directory(), options)
}

fn pump(writer: &mut LogWriter) -> Result<(), Fault> {
    writer.write()?;
    writer.sync()
}

/// Returns an entry whose payload differs from entry to entry and from term to term.
fn entry(term: u64, index: u64, length: usize) -> LogEntry {
    let mut dice = Dice(term << 32 | index);
    let payload: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
    let kind = match index % 7 {
        0 => EntryKind::Membership,
        _ if length == 0 => EntryKind::Blank,
        _ => EntryKind::Normal,
    };
    LogEntry { id: LogId::new(term, index), kind, payload: payload.into() }
}

fn vote(term: u64) -> VoteRecord {
    VoteRecord { term, node: term % 3, committed: term.is_multiple_of(2) }
}

fn peer(node: u64, boot: u64) -> PeerMemory {
    PeerMemory { node, boot, acknowledged: Some(LogId::new(1, boot)), vote: vote(boot) }
}

/// The number of the state that a step leads to, and the answer to the step.
type Answer = (usize, Result<(), String>);

/// The answers to the steps, in order.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<Answer>>>);

impl Answers {
    fn done(&self, number: usize) -> Done {
        let answers = Arc::clone(&self.0);
        Box::new(move |answer| {
            let answer = answer.map_err(|fault| fault.to_string());
            answers.lock().expect("answers").push((number, answer));
        })
    }

    fn all(&self) -> Vec<Answer> {
        self.0.lock().expect("answers").clone()
    }

    /// Returns the last number that was answered with success.
    fn last_good(&self) -> Option<usize> {
        self.all().iter().filter(|(_, answer)| answer.is_ok()).map(|(number, _)| *number).max()
    }
}

/// The contents of a log, as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    vote: Option<VoteRecord>,
    purged: Option<LogId>,
    last: Option<LogId>,
    truncation: Option<TruncationRecord>,
    entries: Vec<LogEntry>,
    committed: u64,
    boots: u64,
}

/// An operation on a log.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Vote,
    /// Truncates this many of the last entries, but none that is committed.
    Truncate(u64),
    /// Commits this many more entries.
    Commit(u64),
    /// Purges this many of the committed entries.
    Purge(u64),
    /// Purges this far beyond the end.
    PurgeBeyond(u64),
    Remember,
    Write,
    Sync,
}

impl Step {
    /// Returns the number of states that the step leads through.
    fn parts(&self) -> usize {
        if let Step::Append(lengths) = self { lengths.len() } else { 1 }
    }
}

impl Model {
    fn term(&self) -> u64 {
        self.vote.map_or(1, |vote| vote.term)
    }

    fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index.0 + 1)
    }

    /// Does the step to the model, and to a log.
    fn step(&mut self, step: &Step, log: &RaftLog, writer: &mut LogWriter, done: Done) {
        match step {
            Step::Append(lengths) => {
                let (term, from) = (self.term(), self.next_index());
                let entries: Vec<_> = (from..)
                    .zip(lengths)
                    .map(|(index, length)| entry(term, index, *length))
                    .collect();
                self.entries.extend(entries.iter().cloned());
                self.last = entries.last().map(|entry| entry.id).or(self.last);
                log.append(entries, done);
            }
            Step::Vote => {
                self.vote = Some(vote(self.term() + 1));
                log.save_vote(vote(self.term()), done);
            }
            Step::Truncate(count) => self.truncate(*count, log, done),
            Step::Commit(count) => {
                let last = self.last.map_or(0, |last| last.index.0);
                self.committed = (self.committed + count).min(last);
                if let Some(id) = self.id(self.committed) {
                    log.save_committed(id);
                }
            }
            Step::Purge(count) => {
                let from = self.entries.first().map_or(0, |entry| entry.id.index.0);
                let index = (from + count).min(self.committed);
                if let Some(id) = self.id(index) {
                    self.purge(id, log);
                }
            }
            Step::PurgeBeyond(count) => {
                let id = LogId::new(self.term(), self.next_index() + count);
                self.committed = id.index.0;
                log.save_committed(id);
                self.purge(id, log);
            }
            Step::Remember => {
                self.boots += 1;
                log.remember(peer(self.boots % 2, self.boots));
            }
            Step::Write => drop(writer.write()),
            Step::Sync => drop(writer.sync()),
        }
    }

    fn id(&self, index: u64) -> Option<LogId> {
        self.entries.iter().map(|entry| entry.id).find(|id| id.index.0 == index)
    }

    /// Returns the last committed entry that is there, or was there.
    fn last_committed(&self) -> Option<LogId> {
        self.id(self.committed).or(self.purged)
    }

    fn truncate(&mut self, count: u64, log: &RaftLog, done: Done) {
        let floor = self.entries.iter().filter(|entry| entry.id.index.0 <= self.committed).count();
        let keep = self.entries.len().saturating_sub(count as usize).max(floor);
        let dropped = keep < self.entries.len();
        self.entries.truncate(keep);
        let end = self.entries.last().map(|entry| entry.id).or(self.purged);
        if dropped {
            self.last = end;
            let vote = self.vote.unwrap_or_default();
            self.truncation = Some(TruncationRecord { end, vote });
        }
        log.truncate_after(end.or(self.last), done);
    }

    fn purge(&mut self, id: LogId, log: &RaftLog) {
        if self.purged.is_none_or(|purged| purged.index < id.index) {
            self.purged = Some(id);
            self.entries.retain(|entry| entry.id.index > id.index);
            if self.last.is_none_or(|last| last.index < id.index) {
                self.last = Some(id);
            }
        }
        log.purge(id);
    }

    /// Returns true if the log is at this state, except for marks and peers, which may be further on.
    fn is_held_by(&self, log: &RaftLog) -> bool {
        let state = log.state();
        (state.vote, state.purged, state.last, state.truncation)
            == (self.vote, self.purged, self.last, self.truncation)
            && self.entries == read_all(log)
    }
}

/// Reads all entries of a log, in many small reads.
fn read_all(log: &RaftLog) -> Vec<LogEntry> {
    let state = log.state();
    let Some(last) = state.last else { return Vec::new() };
    let until = last.index.0 + 1;
    let mut next = state.purged.map_or(0, |purged| purged.index.0 + 1);
    let mut entries = Vec::new();
    while next < until {
        let page = log.read(next, until, 5000).expect("what the log says it holds can be read");
        next += page.len() as u64;
        entries.extend(page);
    }
    entries
}

/// Returns a pseudo-random script with `count` steps.
fn script(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = Dice(seed);
    (0..count).map(|_| random_step(&mut dice)).collect()
}

fn random_step(dice: &mut Dice) -> Step {
    match dice.below(24) {
        0..=5 => {
            let count = 1 + dice.below(4);
            Step::Append((0..count).map(|_| random_length(dice)).collect())
        }
        6 => Step::Vote,
        7 => Step::Truncate(dice.below(6)),
        8..=9 => Step::Commit(dice.below(8)),
        10 => Step::Purge(dice.below(12)),
        11 if dice.below(4) == 0 => Step::PurgeBeyond(dice.below(5)),
        11..=12 => Step::Remember,
        13..=17 => Step::Write,
        _ => Step::Sync,
    }
}

fn random_length(dice: &mut Dice) -> usize {
    let bound = match dice.below(16) {
        0 => 1,
        1..=9 => 600,
        10..=13 => 6000,
        14 => 20_000,
        _ => 70_000,
    };
    dice.below(bound) as usize
}

/// A script's run: the states of the model before the first step, after each step, and after each entry of an
/// append, because a cut may come between two entries.
struct Run {
    states: Vec<Model>,
    answers: Answers,
}

impl Run {
    fn new(model: Model) -> Run {
        Run { states: vec![model], answers: Answers::default() }
    }

    /// Runs steps until the log fails.
    fn go(&mut self, script: &[Step], log: &RaftLog, writer: &mut LogWriter) {
        for step in script {
            let before = self.states.last().expect("a state").clone();
            let mut after = before.clone();
            let number = self.states.len() + step.parts() - 1;
            after.step(step, log, writer, self.answers.done(number));
            let new = after.entries.len().saturating_sub(before.entries.len());
            for part in 1..step.parts() {
                let mut between = before.clone();
                let entries = &after.entries[..after.entries.len() - new + part];
                between.entries = entries.to_vec();
                between.last = entries.last().map(|entry| entry.id);
                self.states.push(between);
            }
            self.states.push(after);
        }
    }

    /// Returns the last state that was acknowledged.
    fn acknowledged(&self) -> &Model {
        &self.states[self.answers.last_good().unwrap_or(0)]
    }

    /// Returns the state that the log is at, which must be one of those from the last acknowledged state on.
    fn state_of(&self, log: &RaftLog) -> Model {
        let acknowledged = self.answers.last_good().unwrap_or(0);
        let allowed = &self.states[acknowledged..];
        let held = allowed.iter().find(|model| model.is_held_by(log));
        let held = held.unwrap_or_else(|| {
            panic!(
                "the log is at no state it may be at: {:?}; acknowledged {:?}; submitted {:?}",
                log.state(),
                allowed.first(),
                allowed.last()
            )
        });
        let (committed, boots) = self.check_marks(acknowledged, log);
        Model { committed, boots, ..held.clone() }
    }

    /// Checks that the marks are at least the acknowledged ones, and at most the submitted ones.
    fn check_marks(&self, acknowledged: usize, log: &RaftLog) -> (u64, u64) {
        let state = log.state();
        let least = &self.states[acknowledged];
        let most = self.states.last().expect("a state");
        let committed = state.committed.map_or(0, |id| id.index.0);
        let reachable = state.last.map_or(0, |last| last.index.0);
        assert!(committed >= least.committed.min(reachable), "a committed mark was lost");
        assert!(committed <= most.committed, "a committed mark was invented");
        let boots = state.peers.iter().map(|peer| peer.boot).max().unwrap_or(0);
        assert!((least.boots..=most.boots).contains(&boots), "a peer was forgotten or invented");
        assert!(state.peers.iter().all(|known| *known == peer(known.node, known.boot)));
        (committed, boots)
    }
}
