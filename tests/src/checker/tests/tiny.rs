//! Tests that a brute-force search agrees with the checker on tiny histories.

use super::super::*;
use super::*;

#[test]
fn a_brute_force_search_agrees_on_tiny_histories() {
    let (mut explained, mut refused) = (0, 0);
    for seed in 0..30_000 {
        let (history, log) = tiny(&mut Random::part(seed, 1));
        let verdict = check(&history, std::slice::from_ref(&log));
        let due = brute_force::is_explained(&history, &log);
        assert_eq!(verdict.is_ok(), due, "seed {seed}: {verdict:?}\n{history:#?}\n{log:#?}");
        if due { explained += 1 } else { refused += 1 }
    }
    assert!(explained > 5_000 && refused > 5_000, "{explained} explained, {refused} refused");
}

/// Returns a small run of a correct store, some of it then bent: moments moved, answers removed or changed.
fn tiny(random: &mut Random) -> (History, Vec<RecordedEvent>) {
    let mut history = History::default();
    let mut log: Vec<RecordedEvent> = Vec::new();
    let mut entries: Vec<usize> = vec![0];
    for number in 1..=random.between(2, 6) {
        // The true point of each operation lies roughly in the middle of its own ten moments.
        let invoked = number * 10 - random.below(25).min(number * 10);
        let returned = number * 10 + 1 + random.below(25);
        if random.chance(55) {
            let request = tiny_append(random, number as u8);
            let answer = tiny_apply(&request, &mut log);
            entries.push(log.len());
            let answer = (!random.chance(20)).then_some((returned, answer));
            history.appends.push(Operation { client: 0, invoked, request, answer });
        } else {
            let old = *random.pick(&entries) as u64;
            let end = log.len() as u64;
            let consistency = *random.pick(&[
                LINEARIZABLE,
                LINEARIZABLE,
                Consistency::Local,
                Consistency::AtLeast(Position(old)),
            ]);
            let stale = random.chance(if consistency == LINEARIZABLE { 10 } else { 50 });
            let mut request = everything(consistency);
            if random.chance(50) {
                request = Read { consistency, ..Read::stream(stream("a-1")) };
            }
            let answer = seen(&log, &request, if stale { old } else { end });
            let answer = Some((returned, answer));
            history.reads.push(Operation { client: 0, invoked, request, answer });
        }
    }
    if random.chance(75) {
        bend(random, &mut history, &mut log);
    }
    (history, log)
}

fn tiny_append(random: &mut Random, number: u8) -> Append {
    let expectations =
        [ANY, Expectation::None, Expectation::Exists, exactly(random.below(4)), exactly(1)];
    let name = *random.pick(&["a-1", "a-1", "b-1"]);
    let numbers = [number, number + 100];
    let events = if random.chance(25) { 2 } else { 1 };
    let mut append = append(name, *random.pick(&expectations), &numbers[..events]);
    if random.chance(20) {
        let (stream, expectation) = (stream("c-1"), *random.pick(&expectations));
        append.requirements.push(Requirement { stream, expectation });
    }
    append
}

fn tiny_apply(append: &Append, log: &mut Vec<RecordedEvent>) -> AppendAnswer {
    let version = |log: &[RecordedEvent], name: &StreamName| {
        log.iter().filter(|event| event.stream == *name).count() as u64
    };
    let mut failures = Vec::new();
    for (stream, expected) in super::super::demands(append) {
        let (stream, actual) = (stream.clone(), Version(version(log, stream)));
        if !expected.is_met_at(actual) {
            failures.push(Failure { stream, expected, actual });
        }
    }
    if !failures.is_empty() {
        return AppendAnswer::Rejected { failures, violations: Vec::new() };
    }
    let mut last = 0;
    let write = &append.writes[0];
    for event in &write.events {
        last = version(log, &write.stream) + 1;
        let position = log.len() as u64 + 1;
        let number = event.data[0];
        log.push(recorded(position, write.stream.as_str(), last, number));
    }
    appended(log.len() as u64, last)
}

/// Moves an operation in time, drops the last event, or gives one append the answer of another.
fn bend(random: &mut Random, history: &mut History, log: &mut Vec<RecordedEvent>) {
    let appends = history.appends.len() as u64;
    match random.below(4) {
        0 if appends > 0 => {
            let operation = &mut history.appends[random.below(appends) as usize];
            let shift = random.below(60);
            operation.invoked += shift;
            if let Some((returned, _)) = &mut operation.answer {
                *returned += shift;
            }
        }
        1 if !history.reads.is_empty() => {
            let reads = history.reads.len() as u64;
            let operation = &mut history.reads[random.below(reads) as usize];
            let shift = random.below(60);
            operation.invoked += shift;
            if let Some((returned, _)) = &mut operation.answer {
                *returned += shift;
            }
        }
        2 if appends > 1 => {
            let answer = history.appends[random.below(appends) as usize].answer.clone();
            let operation = &mut history.appends[random.below(appends) as usize];
            operation.answer = answer.map(|(_, answer)| (operation.invoked + 5, answer));
        }
        _ => {
            log.pop();
        }
    }
}
