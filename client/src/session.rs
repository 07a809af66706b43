//! One append session: a pipelined stream of appends to one leader, in one term.

use std::time::Duration;

use quorate_proto::wire::v1::session_answer::Outcome as Answer;
use quorate_proto::wire::v1::{AppendSessionRequest, AppendSessionResponse, SessionAnswer};
use quorate_proto::{Appended, ErrorKind, Invalid, Outcome, Problem};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::nodes::{Nodes, problem};

/// The time that a node may take to open a session.
const OPEN_TIME: Duration = Duration::from_secs(2);
/// The number of messages that wait for the network; later appends wait outside and make larger messages.
const QUEUE_MESSAGES: usize = 4;

/// An open session.
pub(crate) struct Session {
    pub(crate) address: String,
    pub(crate) requests: mpsc::Sender<AppendSessionRequest>,
    pub(crate) answers: Answers,
    /// The time at which the first message came: deadlines are counted from it.
    pub(crate) since: Instant,
}

/// The answers of a session.
pub(crate) struct Answers {
    address: String,
    stream: Streaming<AppendSessionResponse>,
}

impl Answers {
    /// Returns the next answers, in the order in which they were decided, and the leader's address if the
    /// node reports it; or the error that there are no more.
    pub(crate) async fn next(&mut self) -> Result<AppendSessionResponse, Problem> {
        match self.stream.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(unavailable(format!("{} ended the session", self.address))),
            Err(status) => Err(problem(&self.address, &status)),
        }
    }
}

impl Session {
    /// Opens a session with the leader if a node reports its address and it can be reached, otherwise with
    /// the first node that forwards to it.
    pub(crate) async fn open(nodes: &Nodes) -> Result<Session, Problem> {
        let mut last = None;
        for address in nodes.for_appends() {
            match Session::open_at(nodes, &address).await {
                Ok((session, leader)) => return Ok(session.moved_to(nodes, &leader).await),
                Err(problem) => {
                    nodes.failed(&address);
                    last = Some(problem);
                }
            }
        }
        Err(last.unwrap_or_else(|| unavailable("no node is known")))
    }

    async fn moved_to(self, nodes: &Nodes, leader: &str) -> Session {
        if leader == self.address || !nodes.learn_leader(leader) {
            return self;
        }
        match Session::open_at(nodes, leader).await {
            Ok((session, _)) => session,
            Err(problem) => {
                tracing::debug!(leader, %problem, "appends go through {}", self.address);
                nodes.is_out_of_reach(leader);
                self
            }
        }
    }

    async fn open_at(nodes: &Nodes, address: &str) -> Result<(Session, String), Problem> {
        let opening = async {
            let (requests, queue) = mpsc::channel(QUEUE_MESSAGES);
            let mut client = nodes.events(address)?;
            let opened = client.append_session(ReceiverStream::new(queue)).await;
            let mut stream = opened.map_err(|status| problem(address, &status))?.into_inner();
            let first = stream.message().await.map_err(|status| problem(address, &status))?;
            let since = Instant::now();
            let first =
                first.ok_or_else(|| unavailable(format!("{address} ended the session at once")))?;
            let address = address.to_owned();
            let answers = Answers { address: address.clone(), stream };
            let session = Session { address, requests, answers, since };
            Ok((session, first.leader))
        };
        let late = |_| unavailable(format!("{address} did not open a session in time"));
        tokio::time::timeout(OPEN_TIME, opening).await.map_err(late)?
    }
}

/// Returns the result in one answer; an answer that this build does not understand is an error.
pub(crate) fn outcome_of(answer: SessionAnswer) -> Result<Appended, Problem> {
    let not_understood = |invalid: Invalid| {
        let message = format!("the node's answer is not understood: {invalid}");
        Problem::new(ErrorKind::Internal, Outcome::Unknown, message)
    };
    match answer.outcome {
        Some(Answer::Appended(appended)) => Ok(appended.into()),
        Some(Answer::Problem(problem)) => {
            Err(Problem::try_from(problem).unwrap_or_else(not_understood))
        }
        Some(Answer::Kept(_) | Answer::Group(_)) | None => {
            Err(not_understood(Invalid::new("outcome", "is missing")))
        }
    }
}

fn unavailable(message: impl Into<String>) -> Problem {
    Problem::new(ErrorKind::Unavailable, Outcome::Unknown, message)
}
