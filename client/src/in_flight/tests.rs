//! Runs the scripts of the folder `scripts`: each shows a scenario of the appends of one session, and is a test of the
//! script's name.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p quorate-client in_flight` writes the present output into the scripts. A new
//! script becomes a test when this file is compiled anew.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use goldenscript::Context;
use quorate_proto::{Event, EventId, EventType, Failure, Position, Timestamp, Version};

use super::*;

test_each_file::test_each_path! { in "client/src/in_flight/scripts" => run }

fn run(path: &Path) {
    let runner = &mut Runner {
        start: Instant::now(),
        now: 0,
        in_flight: InFlightAppends::default(),
        callers: BTreeMap::new(),
    };
    goldenscript::run(runner, path).expect("a script");
}

/// The commands of a script. Times are milliseconds since the session's first message.
#[derive(goldenscript::Command)]
enum Command {
    /// Submits an append to each of these streams, to end within 9 s.
    Push {
        streams: Vec<String>,
        #[arg(key)]
        within: Option<u64>,
        #[arg(key, optional)]
        expect_exists: bool,
    },
    At(u64),
    Take {
        #[arg(key)]
        bytes: Option<usize>,
    },
    Answer {
        number: u64,
        answer: String,
    },
    /// Ends the session because of a problem.
    Lose(String),
    Tick,
    /// Drops all appends, as a client that ends does.
    Drop,
    State,
}

struct Runner {
    start: Instant,
    now: u64,
    in_flight: InFlightAppends,
    /// The callers that wait for an answer, by the numbers of their appends.
    callers: BTreeMap<u64, oneshot::Receiver<Result<Done, AppendError>>>,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let now = self.start + Duration::from_millis(self.now);
        match command {
            Command::Push { streams, within, expect_exists } => {
                let expectation =
                    if *expect_exists { Expectation::Exists } else { Expectation::Any };
                let give_up_at = now + Duration::from_millis(within.unwrap_or(9_000));
                for stream in streams {
                    let (caller, answer) = oneshot::channel();
                    let attempts = Attempts::new(now, give_up_at, None);
                    let append = append(StreamName::new(stream)?, expectation);
                    self.in_flight.push(InFlightAppend::new(append, attempts, caller, None));
                    self.callers.insert(self.in_flight.next, answer);
                }
                Ok(String::new())
            }
            Command::At(time) => {
                self.now = *time;
                Ok(String::new())
            }
            Command::Take { bytes } => {
                let bytes_max = bytes.unwrap_or(usize::MAX);
                let sent = self.in_flight.take(now, self.start, bytes_max);
                let sent: String = sent.iter().map(show_sent).collect();
                Ok(if sent.is_empty() { "nothing to send".to_owned() } else { sent })
            }
            Command::Answer { number, answer } => {
                let answer = match answer.as_str() {
                    "appended" => Ok(appended(*number)),
                    word => Err(problem(word)?),
                };
                Ok(show_session(self.in_flight.answered(now, *number, answer)))
            }
            Command::Lose(word) => {
                self.in_flight.lost(now, &problem(word)?);
                Ok(String::new())
            }
            Command::Tick => Ok(show_session(self.in_flight.tick(now))),
            Command::Drop => {
                self.in_flight = InFlightAppends::default();
                Ok(String::new())
            }
            Command::State => {
                let count = self.in_flight.in_flight.len();
                let owed =
                    if self.in_flight.has_sent() { "owes an answer" } else { "owes nothing" };
                Ok(format!("{count} under way, the session {owed}"))
            }
        }
    }

    /// Prints the answers that callers got from the command.
    fn end_command(&mut self, _: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        self.callers.retain(|number, caller| {
            let Ok(answer) = caller.try_recv() else { return true };
            let answer = match answer {
                Ok(done) => format!("appended, version {}", done.version),
                Err(AppendError::Conflict(_)) => "conflict".to_owned(),
                Err(AppendError::Rejected(problem)) => format!("rejected, {problem}"),
                Err(AppendError::Unknown(unknown)) => format!("unknown, {}", unknown.problem()),
            };
            out += &format!("{number}: {answer}\n");
            false
        });
        Ok(out)
    }
}

fn append(stream: StreamName, expectation: Expectation) -> Append {
    let id = EventId::from_bytes([7; 16]).expect("an id");
    Append::to(
        stream,
        expectation,
        vec![Event::new(id, EventType::new("Made").expect("a type"), "1")],
    )
}

fn appended(version: u64) -> Appended {
    Appended {
        versions: vec![Version(version)],
        first_position: Position(version),
        last_position: Position(version),
        recorded_at: Timestamp(0),
    }
}

fn problem(word: &str) -> Result<Problem, &'static str> {
    match word {
        "conflict" => {
            let stream = StreamName::new("a").expect("a name");
            let failure = Failure { stream, expected: Expectation::None, actual: Version(1) };
            Ok(Problem::conflict(vec![failure], Vec::new()))
        }
        "busy" => Ok(Problem::new(ErrorKind::Overloaded, Outcome::NotAppended, "busy")),
        "late" => Ok(Problem::new(ErrorKind::Deadline, Outcome::NotAppended, "late")),
        "lost" => Ok(Problem::new(ErrorKind::Unavailable, Outcome::Unknown, "lost")),
        _ => Err("no such answer"),
    }
}

fn show_sent(sent: &SessionAppend) -> String {
    let alone = if sent.expires_alone { ", expires alone" } else { "" };
    format!("{}: sent, deadline {}{alone}\n", sent.number, sent.deadline_ms)
}

fn show_session(result: Result<(), Problem>) -> String {
    match result {
        Ok(()) => "the session goes on".to_owned(),
        Err(problem) => format!("the session must end: {problem}"),
    }
}
