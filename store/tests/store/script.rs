//! Runs the scripts in `tests/scripts` and compares their output with the output written in them.
//!
//! A line that begins with `>` is output; `QUORATE_REWRITE=1 cargo test -p quorate-store` replaces these
//! lines by the present output. The other lines are:
//!
//! ```text
//! # a comment
//! open 400                         a new store with this chunk size
//! at 1000                          the stamp of the entries from here on
//! append order-1 none a:Paid b:Paid, order-2 3 c:Paid, require limits-1 exists | append …
//!                                  one entry with one or more appends; ids are letters
//! append order-1 any a:Paid#red#big@cmd-1, unless tags red after 3
//!                                  tags, a correlation id; a condition, in the words of a read
//! judge order-1 any a:Paid, unless …
//!                                  a leader's judgement before it proposes an append
//! set stream S | category C | path P EXPECTATION x [count N|none] [age N|none] [truncate N]
//! delete S EXPECTATION x / tombstone S EXPECTATION x
//!                                  one entry with a change, whose id is a letter
//! put S VERSION[.SCHEMA] TEXT      one entry with an aggregate snapshot
//! group NAME create|configure|delete|reset|replay|drop|progress …
//!                                  one entry with a request to a consumer group (see `group_words`)
//! groups                           all consumer groups, with everything that is kept of them
//! show S                           the state of a stream
//! blank 3 / attach TEXT            entries without a command
//! command HEX                      an entry with these bytes
//! seal                             runs the seals that are due
//! restart                          kills the store and opens it again
//! state                            the point that the store has reached
//! read all | stream S | category C | path P [types A,B] [tags A,B] [correlation C] [after N] [before N]
//!      [from T] [until T] [backwards] [limit N] [with-snapshot [schema-max N]] [with-system] [or category …]
//! ```

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use quorate_proto::{
    Append, Change, ChangeKind, Condition, CorrelationId, Direction, Event, Expectation, Path,
    Position, Query, QueryItem, Read, Requirement, Scope, Setting, SettingsChange, Snapshot,
    Source, Tag, Timestamp, Version, Write,
};
use quorate_store::vfs::Survival;
use quorate_store::{Payload, Prejudged, Rejection, Settings, StreamState, Verdict, command};

use crate::group_words;
use crate::support::{World, category, exactly, id, kind, read, stream};

#[test]
fn every_script_prints_what_stands_in_it() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut differences = String::new();
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script");
        let printed = run(&script);
        if std::env::var_os("QUORATE_REWRITE").is_some() {
            std::fs::write(&path, &printed).expect("writes");
            continue;
        }
        for ((number, line, expected), (_, _, output)) in
            steps(&script).into_iter().zip(steps(&printed))
        {
            if expected != output {
                let (expected, output) = (expected.join("\n  "), output.join("\n  "));
                let place = format!("{}:{number}: {line}", path.display());
                writeln!(differences, "{place}\nexpected:\n  {expected}\nprinted:\n  {output}\n")
                    .expect("writes");
            }
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

/// Returns the lines of a script that are no output, each with its number and the output after it.
fn steps(script: &str) -> Vec<(usize, &str, Vec<&str>)> {
    let mut steps: Vec<(usize, &str, Vec<&str>)> = Vec::new();
    for (line, number) in script.lines().zip(1..) {
        match steps.last_mut() {
            Some((_, _, output)) if line.starts_with('>') => output.push(line),
            _ => steps.push((number, line, Vec::new())),
        }
    }
    steps
}

/// Returns the script with the output of each line after it.
fn run(script: &str) -> String {
    let mut runner = Runner { world: World::new(1_000_000), at: 0 };
    let mut out = String::new();
    for line in script.lines().filter(|line| !line.starts_with('>')) {
        writeln!(out, "{line}").expect("writes");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for printed in runner.line(line).lines() {
            writeln!(out, "> {printed}").expect("writes");
        }
    }
    out
}

struct Runner {
    world: World,
    at: i64,
}

impl Runner {
    fn line(&mut self, line: &str) -> String {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "open" => {
                self.world = World::new(rest.parse().expect("a chunk size"));
                String::new()
            }
            "at" => {
                self.at = rest.parse().expect("a time");
                String::new()
            }
            "append" => {
                let appends: Vec<Append> = line.split(" | ").map(parse_append).collect();
                let verdicts = self.world.append(self.at, &appends);
                verdicts.iter().map(|verdict| show(verdict) + "\n").collect()
            }
            "judge" => match self.world.reader().prejudge(&parse_append(line)).expect("judges") {
                Prejudged::Answer(verdict) => show(&verdict),
                Prejudged::Propose { checked } => format!("propose it, checked through {checked}"),
                Prejudged::Violated(problem) => {
                    let violations: Vec<String> =
                        problem.violations.iter().map(ToString::to_string).collect();
                    format!("{}, as of {}", violations.join("; "), self.world.store.position())
                }
            },
            "set" | "delete" | "tombstone" => {
                let change = parse_change(line).to_append().expect("a change");
                self.request(&command::encode_append(&change))
            }
            "put" => {
                let words: Vec<&str> = rest.splitn(3, ' ').collect();
                let (version, schema) = words[1].split_once('.').unwrap_or((words[1], "1"));
                let snapshot = Snapshot {
                    stream: stream(words[0]),
                    version: Version(version.parse().expect("a version")),
                    schema: schema.parse().expect("a schema"),
                    data: Bytes::copy_from_slice(words[2].as_bytes()),
                };
                self.request(&command::encode_snapshot(&snapshot))
            }
            "group" => {
                let incarnation =
                    |name: &_| self.world.reader().group(name).map(|group| group.incarnation);
                self.request(&group_words::parse(rest, incarnation).encode())
            }
            "groups" => group_words::list(&self.world.reader()),
            "show" => {
                let state = self.world.reader().stream(&stream(rest)).expect("reads");
                show_stream(&state)
            }
            "blank" => {
                (0..rest.parse().expect("a count"))
                    .for_each(|_| drop(self.world.apply(Payload::Blank)));
                String::new()
            }
            "attach" => {
                self.world.apply(Payload::Attachment(Bytes::copy_from_slice(rest.as_bytes())));
                String::new()
            }
            "command" => self.command(rest),
            "seal" => format!("{} sealed", self.world.seal()),
            "restart" => {
                self.world.restart(Survival::Nothing);
                self.state()
            }
            "state" => self.state(),
            "read" => self.read(rest),
            other => panic!("`{other}` is no word of scripts"),
        }
    }

    fn command(&mut self, hex: &str) -> String {
        let digits: Vec<char> = hex.chars().filter(|one| !one.is_whitespace()).collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex");
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        let log_id = quorate_proto::LogId::new(1, self.world.log.len() as u64);
        let payload = Payload::Command(bytes.into());
        let applied = self.world.store.apply(quorate_store::Entry { log_id, payload });
        applied.map_or_else(|fault| fault.to_string(), |verdicts| format!("{verdicts:?}"))
    }

    fn request(&mut self, request: &Bytes) -> String {
        let mut builder = command::Builder::new(Timestamp(self.at));
        builder.push(request);
        let verdicts = self.world.apply(Payload::Command(builder.finish()));
        verdicts.iter().map(show).collect()
    }

    fn state(&self) -> String {
        let store = &self.world.store;
        let log_id = |id: Option<quorate_proto::LogId>| {
            id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
        };
        let chunks = store.export().expect("exports").map_or(0, |export| export.chunks().len());
        format!(
            "applied {}, position {}, checkpointed {}, chunks {chunks}, attachment `{}`{}{}",
            log_id(store.applied()),
            store.position(),
            log_id(store.checkpointed()),
            String::from_utf8_lossy(store.attachment()),
            if store.seal_due() { ", seal due" } else { "" },
            if store.must_wait() { ", must wait" } else { "" },
        )
    }

    fn read(&self, rest: &str) -> String {
        let asked = parse_read(rest);
        let reader = self.world.reader();
        let mut out = String::new();
        for event in read(&reader, &asked, 1000) {
            let (number, version) = (event.position, event.version);
            let letter = letter(event.event.id);
            let (stream, kind, at) = (event.stream, event.event.kind, event.recorded_at.0);
            writeln!(out, "{number} {stream}@{version} {kind} {letter} at {at}").expect("writes");
        }
        let scan = reader.scan(&asked).expect("begins");
        if let Some(recorded) = scan.snapshot() {
            let Snapshot { version, data, .. } = &recorded.snapshot;
            let text = String::from_utf8_lossy(data);
            out.insert_str(0, &format!("snapshot at version {version}: {text}\n"));
        }
        if let Some(schema) = scan.snapshot_schema_passed_over() {
            out.insert_str(0, &format!("schema {schema} is passed over\n"));
        }
        let version = scan.version().map_or(String::new(), |at| format!(", version {at}"));
        out + &format!("as of {}{version}", scan.as_of())
    }
}

fn show(verdict: &Verdict) -> String {
    match verdict {
        Verdict::SnapshotStored(version) => format!("kept at version {version}"),
        Verdict::Appended(done) | Verdict::Repeated(done) => {
            let versions: Vec<String> = done.versions.iter().map(ToString::to_string).collect();
            let (first, last, at) = (done.first_position, done.last_position, done.recorded_at.0);
            let word =
                if matches!(verdict, Verdict::Repeated(_)) { "repeated" } else { "appended" };
            format!("{word} at {first}..{last}, versions {}, at {at}", versions.join(" "))
        }
        Verdict::Group(outcome) => group_words::show(*outcome),
        Verdict::Unsettled(_) => "it may be older than the window".into(),
        Verdict::Rejected(Rejection::IdReused(id)) => format!("id {} is reused", letter(*id)),
        Verdict::Rejected(rejection) => {
            let is_final = if rejection.is_final() { " (for good)" } else { "" };
            quorate_proto::Problem::from(rejection.clone()).to_string() + is_final
        }
    }
}

fn show_stream(state: &StreamState) -> String {
    let StreamState { as_of, version, first_version, deleted, closed, own, effective, snapshot } =
        state;
    let settings = |settings: &Settings| {
        let limits = [
            ("count", settings.max_count),
            ("age", settings.max_age_us),
            ("truncate", settings.truncate_before),
        ];
        let shown = limits.iter().filter_map(|(name, value)| Some(format!("{name} {}", (*value)?)));
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() { "nothing".to_owned() } else { shown.join(" ") }
    };
    format!(
        "versions {first_version}..{version}, deleted at {deleted}{}, own {}, under {}{}, as of {as_of}",
        if *closed { ", closed" } else { "" },
        settings(own),
        settings(effective),
        snapshot.map_or(String::new(), |version| format!(", snapshot at {version}")),
    )
}

fn letter(id: quorate_proto::EventId) -> char {
    char::from(id.as_bytes()[15] - 1)
}

fn parse_expectation(word: &str) -> Expectation {
    match word {
        "any" => Expectation::Any,
        "none" => Expectation::None,
        "exists" => Expectation::Exists,
        version => exactly(version.parse().expect("an expectation")),
    }
}

fn parse_append(line: &str) -> Append {
    let (_, parts) = line.split_once(' ').expect("a word before");
    let mut append = Append::default();
    for part in parts.split(", ") {
        let words: Vec<&str> = part.split(' ').collect();
        if words[0] == "require" {
            let expectation = parse_expectation(words[2]);
            append.requirements.push(Requirement { stream: stream(words[1]), expectation });
            continue;
        }
        if words[0] == "unless" {
            let (query, bounds) = parse_query(part.trim_start_matches("unless "));
            let after = Position(bounds.bounds.after);
            append.conditions.push(Condition { query, after });
            continue;
        }
        append.writes.push(Write {
            stream: stream(words[0]),
            expectation: parse_expectation(words[1]),
            events: words[2..].iter().map(|word| parse_event(word)).collect(),
        });
    }
    append
}

/// Parses a line such as `set category order any a count 3 age none` or `delete order-1 5 a`.
fn parse_change(line: &str) -> Change {
    let mut words = line.split(' ');
    let mut next = || words.next().expect("a word");
    let word = next();
    let scope = match if word == "set" { next() } else { "stream" } {
        "stream" => Scope::Stream(stream(next())),
        "category" => Scope::Category(category(next())),
        "path" => Scope::Path(Path::new(next()).expect("a path")),
        other => panic!("`{other}` has no settings"),
    };
    let expectation = parse_expectation(next());
    let id = id(u64::from(next().bytes().next().expect("a letter")));
    let mut settings = SettingsChange::default();
    while let Some(word) = words.next() {
        let value: Option<u64> = words.next().and_then(|value| value.parse().ok());
        let setting = value.map_or(Setting::Clear, Setting::Put);
        match word {
            "count" => settings.max_count = setting,
            "age" => settings.max_age_us = setting,
            "truncate" => settings.truncate_before = value,
            other => panic!("`{other}` is no setting"),
        }
    }
    let kind = match word {
        "set" => ChangeKind::Settings(settings),
        "delete" => ChangeKind::Delete,
        _ => ChangeKind::Tombstone,
    };
    Change { scope, expectation, id, kind }
}

/// Parses a word such as `a:Paid#red#big@cmd-1`.
fn parse_event(word: &str) -> Event {
    let (word, correlation_id) = word.split_once('@').unwrap_or((word, ""));
    let mut parts = word.split('#');
    let (letter, type_name) =
        parts.next().and_then(|first| first.split_once(':')).expect("an id and a type");
    let letter = letter.bytes().next().expect("a letter");
    Event {
        tags: parts.map(|tag| Tag::new(tag).expect("a tag")).collect(),
        correlation_id: CorrelationId::new(correlation_id).ok(),
        ..Event::new(id(u64::from(letter)), kind(type_name), Bytes::from_static(b"{}"))
    }
}

fn parse_read(rest: &str) -> Read {
    let (query, read) = parse_query(rest);
    // A single stream is a source of its own, bounded by versions; several streams are a query.
    let source = match &query.items[..] {
        [QueryItem { scope: Some(Scope::Stream(stream)), types, tags, correlation }] => {
            let (stream, types) = (stream.clone(), types.clone());
            Source::Stream { stream, types, tags: tags.clone(), correlation: correlation.clone() }
        }
        _ => Source::Query(query),
    };
    Read { source, ..read }
}

/// Parses a read into its query and its other settings.
fn parse_query(rest: &str) -> (Query, Read) {
    let mut read = Read::query(Query::everything());
    let mut items = vec![QueryItem::default()];
    let mut words = rest.split(' ');
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value");
        let item = items.last_mut().expect("an item");
        match word {
            "all" => {}
            "or" => items.push(QueryItem::default()),
            "stream" => item.scope = Some(Scope::Stream(stream(next()))),
            "category" => item.scope = Some(Scope::Category(category(next()))),
            "path" => item.scope = Some(Scope::Path(Path::new(next()).expect("a path"))),
            "types" => item.types = next().split(',').map(kind).collect(),
            "tags" => {
                item.tags = next().split(',').map(|name| Tag::new(name).expect("a tag")).collect();
            }
            "correlation" => {
                item.correlation = Some(CorrelationId::new(next()).expect("an id"));
            }
            "with-snapshot" => read.with_snapshot = true,
            "schema-max" => {
                read.snapshot_schema_max = Some(next().parse().expect("a number"));
            }
            "with-system" => read.with_system = true,
            "after" => read.bounds.after = next().parse().expect("a number"),
            "before" => read.bounds.before = Some(next().parse().expect("a number")),
            "from" => read.bounds.from = Some(Timestamp(next().parse().expect("a time"))),
            "until" => read.bounds.until = Some(Timestamp(next().parse().expect("a time"))),
            "limit" => read.limit = Some(next().parse().expect("a number")),
            "backwards" => read.direction = Direction::Backwards,
            other => panic!("`{other}` is no word of a read"),
        }
    }
    (Query { items }, read)
}
