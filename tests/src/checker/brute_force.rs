//! A second opinion on tiny histories: every order is tried against a store of two loops.

use quorate_proto::{
    Append, Consistency, Expectation, Failure, Position, Read, RecordedEvent, StreamName,
    Timestamp, Version,
};

use super::Canonical;
use crate::history::{AppendAnswer, History, Operation, ReadAnswer};

/// Returns true if some order of the operations that respects real time gives all answers and ends in this
/// log. Histories of more than a dozen operations take too long.
pub(super) fn is_explained(history: &History, log: &[RecordedEvent]) -> bool {
    let appends = history.appends.iter().map(Step::Append);
    let reads = history.reads.iter().filter(|read| read.answer.is_some()).map(Step::Read);
    let mut steps: Vec<Step<'_>> = appends.chain(reads).collect();
    search(&mut steps, &mut Vec::new(), log)
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Append(&'a Operation<Append, AppendAnswer>),
    Read(&'a Operation<Read, ReadAnswer>),
}

impl Step<'_> {
    fn invoked(&self) -> u64 {
        match self {
            Step::Append(one) => one.invoked,
            Step::Read(one) => one.invoked,
        }
    }

    fn returned(&self) -> u64 {
        match self {
            Step::Append(one) => one.answer.as_ref().map_or(u64::MAX, |(moment, _)| *moment),
            Step::Read(one) => one.answer.as_ref().map_or(u64::MAX, |(moment, _)| *moment),
        }
    }
}

/// Tries all orders of the remaining steps; `model` is the log so far, one append an entry.
fn search(
    steps: &mut Vec<Step<'_>>,
    model: &mut Vec<Vec<RecordedEvent>>,
    log: &[RecordedEvent],
) -> bool {
    if steps.iter().all(|step| step.returned() == u64::MAX) && model.concat() == log {
        return true;
    }
    let earliest = steps.iter().map(Step::returned).min().unwrap_or(u64::MAX);
    for at in 0..steps.len() {
        if steps[at].invoked() > earliest {
            continue;
        }
        let step = steps.remove(at);
        let before = model.len();
        let explained = run(step, model, log) && search(steps, model, log);
        model.truncate(before);
        steps.insert(at, step);
        if explained {
            return true;
        }
    }
    false
}

/// Takes one step; false if its answer differs from the model's.
fn run(step: Step<'_>, model: &mut Vec<Vec<RecordedEvent>>, log: &[RecordedEvent]) -> bool {
    match step {
        Step::Append(operation) => {
            let answer = operation.answer.as_ref().map(|(_, answer)| answer);
            let append = &operation.request;
            let result = apply(append, model, log);
            match answer {
                None | Some(AppendAnswer::Appended { .. }) => {
                    result.is_ok_and(|result| answer.is_none_or(|answer| *answer == result))
                }
                Some(AppendAnswer::Rejected { failures, .. }) if failures.is_empty() => true,
                Some(AppendAnswer::Rejected { failures, .. }) => {
                    let now = result.as_ref().is_err_and(|now| now == failures);
                    let lasting = failures.iter().any(
                        |one| matches!(one.expected, Expectation::Exactly(n) if one.actual > n),
                    );
                    let earlier =
                        || (0..model.len()).any(|len| failing(append, &model[..len]) == *failures);
                    now || (result.is_err() && lasting && earlier())
                }
            }
        }
        Step::Read(operation) => {
            let (_, answer) = operation.answer.as_ref().expect("others are left out");
            let read = &operation.request;
            let earliest =
                if read.consistency == Consistency::Linearizable { model.len() } else { 0 };
            (earliest..=model.len()).any(|len| {
                let seen = model[..len].concat();
                let canonical = Canonical::of(&seen).expect("the model is a log");
                let fresh = match read.consistency {
                    Consistency::AtLeast(least) => canonical.end() >= least,
                    _ => true,
                };
                fresh && canonical.answer(read, canonical.end()) == *answer
            })
        }
    }
}

fn apply(
    append: &Append,
    model: &mut Vec<Vec<RecordedEvent>>,
    log: &[RecordedEvent],
) -> Result<AppendAnswer, Vec<Failure>> {
    let id = append.writes[0].events[0].id;
    let done = model.iter().position(|entry| entry[0].event.id == id);
    let at = match done {
        Some(at) => at,
        None => {
            let failures = failing(append, model);
            if !failures.is_empty() {
                return Err(failures);
            }
            let entry = entry(append, model, log);
            model.push(entry);
            model.len() - 1
        }
    };
    let written = &model[..=at];
    let versions = append.writes.iter().map(|write| version(&write.stream, written)).collect();
    let RecordedEvent { position, recorded_at, .. } = written[at][written[at].len() - 1];
    Ok(AppendAnswer::Appended { versions, position, recorded_at })
}

/// Returns the events of an append. The stamps are taken from the log, as no order determines them.
fn entry(
    append: &Append,
    model: &[Vec<RecordedEvent>],
    log: &[RecordedEvent],
) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let end = model.iter().map(Vec::len).sum::<usize>();
    for write in &append.writes {
        let before = version(&write.stream, model).0;
        for (event, version) in write.events.iter().zip(before + 1..) {
            let place = end + events.len();
            events.push(RecordedEvent {
                position: Position(place as u64 + 1),
                stream: write.stream.clone(),
                version: Version(version),
                recorded_at: log
                    .get(place)
                    .map_or(Timestamp(place as i64 + 1), |event| event.recorded_at),
                event: event.clone(),
            });
        }
    }
    events
}

fn failing(append: &Append, model: &[Vec<RecordedEvent>]) -> Vec<Failure> {
    let failure = |(stream, expected): (&StreamName, Expectation)| {
        let actual = version(stream, model);
        let stream = stream.clone();
        (!expected.is_met_at(actual)).then_some(Failure { stream, expected, actual })
    };
    super::demands(append).filter_map(failure).collect()
}

fn version(stream: &StreamName, model: &[Vec<RecordedEvent>]) -> Version {
    Version(model.iter().flatten().filter(|event| event.stream == *stream).count() as u64)
}
