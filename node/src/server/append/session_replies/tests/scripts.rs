//! Runs the scripts of the folder `scripts`: each shows a scenario of one session, and is a test of the script's name.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p quorate-node session_replies` writes the present output into the scripts. A new
//! script becomes a test when this file is compiled anew.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use futures_util::FutureExt;
use goldenscript::Context;
use quorate_proto::wire::problem_of;

use super::*;

test_each_file::test_each_path! { in "node/src/server/append/session_replies/scripts" => run }

fn run(path: &Path) {
    let (replies, answers) = SessionReplies::new();
    let (leader_term, passed_on) = (LeaderTerm::new(Term(3)), BTreeMap::new());
    let (replies, answers) = (Some(replies), Some(answers));
    let runner = &mut Runner { replies, answers, leader_term, passed_on };
    goldenscript::run(runner, path).expect("a script");
}

/// The commands of a script.
#[derive(goldenscript::Command)]
enum Command {
    /// Passes appends on.
    PassOn {
        numbers: Vec<u64>,
        #[arg(key, optional)]
        expires_alone: bool,
    },
    /// Answers an append that was passed on.
    Answer {
        number: u64,
        answer: String,
    },
    /// Answers appends that are not passed on.
    Reject {
        numbers: Vec<u64>,
        #[arg(key, optional)]
        bytes: usize,
    },
    /// Gives up an append that expired before it could be passed on.
    GiveUp {
        number: u64,
        #[arg(key, optional)]
        expires_alone: bool,
    },
    /// Takes the next message, as the transport does.
    Next,
    /// Drops the answers, as a client that leaves does.
    Leave,
    /// Drops the replies, as a session does that has no more appends.
    Close,
    State,
}

struct Runner {
    replies: Option<SessionReplies>,
    answers: Option<Answers>,
    leader_term: LeaderTerm,
    passed_on: BTreeMap<u64, Reply>,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let replies = || self.replies.as_ref().ok_or("the replies were dropped");
        match command {
            Command::PassOn { numbers, expires_alone } => {
                for number in numbers {
                    let reply = reply(replies()?, *number, &self.leader_term, *expires_alone);
                    self.passed_on.insert(*number, reply.now_or_never().ok_or("no place")?);
                }
            }
            Command::Answer { number, answer } => {
                let reply = self.passed_on.remove(number).ok_or("it was not passed on")?;
                reply.answer(match answer.as_str() {
                    "rejected" => rejected(),
                    "expired" => Answer::Lost(problem::expired()),
                    "unknown" => Answer::Lost(problem::stopping(Outcome::Unknown)),
                    "lost" => Answer::Lost(problem::stopping(Outcome::NotAppended)),
                    _ => return Err("no such answer".into()),
                });
            }
            Command::Reject { numbers, bytes } => {
                for number in numbers {
                    let Some(place) = replies()?.place(*bytes).now_or_never() else {
                        return Ok(format!("no place for {number}"));
                    };
                    replies()?.answer(*number, place, rejected());
                }
            }
            Command::GiveUp { number, expires_alone } => {
                let replies = replies()?;
                let place = replies.place(0).now_or_never().ok_or("no place")?;
                let given_up = replies.give_up(*number, place, problem::expired(), *expires_alone);
                return Ok(given_up.map_or_else(
                    |end| format!("the session must end: {end}"),
                    |()| String::new(),
                ));
            }
            Command::State => {
                let replies = replies()?;
                let idle = if replies.is_idle() { "idle" } else { "busy" };
                let session = if replies.0.over.is_cancelled() { "is over" } else { "goes on" };
                let term = if self.leader_term.has_ended() { "has ended" } else { "goes on" };
                return Ok(format!("{idle}, the session {session}, its leader term {term}"));
            }
            Command::Next => return Ok(self.next()),
            Command::Leave => self.answers = None,
            Command::Close => self.replies = None,
        }
        Ok(String::new())
    }
}

impl Runner {
    fn next(&mut self) -> String {
        let Some(answers) = &mut self.answers else { return "the client left".to_owned() };
        match answers.next().now_or_never() {
            None => "nothing yet".to_owned(),
            Some(None) => "closed".to_owned(),
            Some(Some(Ok(message))) => format!("answers to {:?}", numbers(&message)),
            Some(Some(Err(status))) => {
                let kind = problem_of(&status).expect("our detail").kind;
                format!("the session ends: {kind:?}")
            }
        }
    }
}
