//! The words of scripts for consumer groups.
//!
//! ```text
//! group billing create category order [after 3] [WORD VALUE]…     settings: strategy, timeout, attempts,
//! group billing configure attempts 3 [WORD VALUE]…                delay, window
//! group billing delete
//! group billing reset 5
//! group billing replay all | 3,4     group billing drop all | 3,4
//! group billing progress [floor 5] [settled 7,8] [failed 6x2@900] [parked 9x10:reason] [term 2] [incarnation 3]
//!                                    tried twice, due at 900; tried ten times
//! ```

use std::fmt::Write as _;

use quorate_proto::{
    Failed, GroupDefinition, GroupName, GroupOutcome, GroupProgress, GroupRequest, GroupSettings,
    LogIndex, Parked, Position, Query, QueryItem, Scope, Selection, Strategy, Term, Timestamp,
};
use quorate_store::Reader;

use crate::group_model::Asked;
use crate::support::category;

/// Parses a request; `incarnation` returns the incarnation of a group.
pub(crate) fn parse(line: &str, incarnation: impl Fn(&GroupName) -> Option<LogIndex>) -> Asked {
    let (name, rest) = line.split_once(' ').expect("a name and a word");
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let name = GroupName::new(name).expect("a name");
    let mut term = Term(1);
    let request = match word {
        "create" => GroupRequest::Create(parse_definition(rest)),
        "configure" => GroupRequest::Configure(parse_settings(rest)),
        "delete" => GroupRequest::Delete,
        "reset" => GroupRequest::Reset(position(rest)),
        "replay" => GroupRequest::Replay(selection(rest)),
        "drop" => GroupRequest::Drop(selection(rest)),
        "progress" => {
            let incarnation = incarnation(&name).unwrap_or_default();
            GroupRequest::Progress(parse_progress(rest, incarnation, &mut term))
        }
        other => panic!("`{other}` is nothing to ask of a group"),
    };
    Asked { name, term, id: None, request }
}

fn pairs(rest: &str) -> impl Iterator<Item = (&str, &str)> {
    let words: Vec<&str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
    let pairs: Vec<_> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter()
}

fn parse_definition(rest: &str) -> GroupDefinition {
    let mut item = QueryItem::default();
    let (mut after, mut settings) = (Position(0), GroupSettings::default());
    for (word, value) in pairs(rest) {
        match word {
            "category" => item.scope = Some(Scope::Category(category(value))),
            "after" => after = position(value),
            _ => set(&mut settings, word, value),
        }
    }
    GroupDefinition { query: Query { items: vec![item] }, after, settings }
}

fn parse_settings(rest: &str) -> GroupSettings {
    let mut settings = GroupSettings::default();
    pairs(rest).for_each(|(word, value)| set(&mut settings, word, value));
    settings
}

fn set(settings: &mut GroupSettings, word: &str, value: &str) {
    match word {
        "strategy" => settings.strategy = Strategy::parse(value).expect("a strategy"),
        "timeout" => settings.timeout_ms = number(value),
        "attempts" => settings.attempts_max = number(value) as u32,
        "delay" => settings.retry_delay_ms = number(value),
        "window" => settings.window = number(value) as u32,
        other => panic!("`{other}` is no setting of a group"),
    }
}

fn parse_progress(rest: &str, incarnation: LogIndex, term: &mut Term) -> GroupProgress {
    let mut progress = GroupProgress { incarnation, ..GroupProgress::default() };
    for (word, value) in pairs(rest) {
        match word {
            "floor" => progress.floor = position(value),
            "settled" => progress.settled = positions(value),
            "failed" => progress.failed = value.split(',').map(parse_failed).collect(),
            "parked" => progress.parked = value.split(',').map(parse_parked).collect(),
            "incarnation" => progress.incarnation = LogIndex(number(value)),
            "term" => *term = Term(number(value)),
            other => panic!("`{other}` is no word of progress"),
        }
    }
    progress
}

/// Parses a word such as `6x2@900`.
fn parse_failed(word: &str) -> Failed {
    let (at, rest) = word.split_once('x').expect("a position and attempts");
    let (attempts, due) = rest.split_once('@').expect("attempts and a time");
    let due = Timestamp(due.parse().expect("a time"));
    Failed { position: position(at), attempts: number(attempts) as u32, due }
}

/// Parses a word such as `9x10:reason`.
fn parse_parked(word: &str) -> Parked {
    let (at, rest) = word.split_once('x').expect("a position and attempts");
    let (attempts, reason) = rest.split_once(':').expect("attempts and a reason");
    let (reason, parked_at) = (reason.to_owned(), Timestamp(0));
    Parked { position: position(at), attempts: number(attempts) as u32, reason, parked_at }
}

fn selection(word: &str) -> Selection {
    if word == "all" { Selection::All } else { Selection::Positions(positions(word)) }
}

fn positions(list: &str) -> Vec<Position> {
    list.split(',').map(position).collect()
}

fn position(word: &str) -> Position {
    Position(number(word))
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

pub(crate) fn show(outcome: GroupOutcome) -> String {
    match outcome {
        GroupOutcome::Done(count) => format!("done: {count}"),
        GroupOutcome::NotFound => "not found".to_owned(),
        GroupOutcome::Differs => "differs".to_owned(),
        GroupOutcome::Full => "full".to_owned(),
        GroupOutcome::Stale => "stale".to_owned(),
    }
}

/// Lists everything that readers see of the groups.
pub(crate) fn list(reader: &Reader) -> String {
    let mut out = String::new();
    for summary in reader.groups() {
        let name = &summary.name;
        let state = reader.group(name).expect("it is listed");
        let settings = state.definition.settings;
        writeln!(
            out,
            "{name} since {}, changed at {}, {}, {} attempts, from {}: floor {}, settled {}",
            state.incarnation,
            state.revision,
            settings.strategy,
            settings.attempts_max,
            state.definition.after,
            state.floor,
            numbers(&state.settled),
        )
        .expect("writes");
        for Failed { position, attempts, due } in state.failed {
            writeln!(out, "  {position} failed {attempts} times, due at {}", due.0)
                .expect("writes");
        }
        for parked in reader.parked(name, Position(0), usize::MAX).expect("it is listed") {
            let Parked { position, attempts, reason, parked_at } = parked;
            let at = parked_at.0;
            writeln!(out, "  {position} parked after {attempts} times at {at}: {reason}")
                .expect("writes");
        }
    }
    if out.is_empty() { "none".to_owned() } else { out }
}

fn numbers(positions: &[Position]) -> String {
    let all: Vec<String> = positions.iter().map(ToString::to_string).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
}
