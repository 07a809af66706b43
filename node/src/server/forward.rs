//! The follower's side of forwarding: one pipelined stream of encoded appends to the leader.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::limits::PEER_MESSAGE_BYTES_MAX;
use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::peer::v1::forward_client::ForwardClient;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::session_answer::Outcome as WireOutcome;
use quorate_proto::{ErrorKind, Outcome, Problem, Term};
use quorate_raft::host::Host;
use quorate_raft::{Member, Replica, Status, transport};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::pending::{Answer, Waiter};
use super::problem;

/// About how many bytes of appends go into one message.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// A leader that does not take a stream by then is not there.
const OPENED_WITHIN: Duration = Duration::from_secs(3);
/// Messages that wait for the transport; more would only wait longer.
const MESSAGES_WAITING_MAX: usize = 2;

/// An append on its way to the leader.
pub(crate) struct Forwarded {
    pub(crate) encoded: Bytes,
    pub(crate) deadline: Instant,
    pub(crate) waiter: Waiter,
}

/// A stream to one leader in one term. A handle; the stream ends with the first append that is lost.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    leader: u64,
    term: Term,
    queue: mpsc::UnboundedSender<Forwarded>,
}

impl Forwarding {
    /// Opens a stream, in the background.
    pub(crate) fn open<H: Host>(replica: &Replica<H>, leader: Member, term: Term) -> Forwarding {
        let (queue, waiting) = mpsc::unbounded_channel();
        let forwarding = Forwarding { leader: leader.id, term, queue };
        let stream = Stream { queue: waiting, unanswered: BTreeMap::new(), sent: 0, number: 0 };
        tokio::spawn(stream.run(replica.clone(), leader, term));
        forwarding
    }

    /// Whether this is a stream to that leader in that term, and lives.
    pub(crate) fn leads_to(&self, leader: &Member, term: Term) -> bool {
        self.leader == leader.id && self.term == term && !self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_closed()
    }

    pub(crate) fn send(&self, forwarded: Forwarded) {
        if let Err(mpsc::error::SendError(forwarded)) = self.queue.send(forwarded) {
            let why = "the connection to the leader was lost; nothing was appended";
            forwarded.waiter.answer(lost(Outcome::NotAppended, why));
        }
    }
}

/// The task behind a [`Forwarding`].
///
/// Invariants:
/// * `unanswered` holds every append that was taken from the queue and not answered.
/// * Those with numbers up to `sent` were handed to the transport; the others certainly were not.
struct Stream {
    queue: mpsc::UnboundedReceiver<Forwarded>,
    unanswered: BTreeMap<u64, Waiter>,
    sent: u64,
    number: u64,
}

impl Stream {
    async fn run<H: Host>(mut self, replica: Replica<H>, leader: Member, term: Term) {
        let why = match self.forward(&replica, &leader, term).await {
            Ok(()) => "the leader changed".to_owned(),
            Err(why) => why,
        };
        self.queue.close();
        let sent = self.sent;
        for (number, waiter) in std::mem::take(&mut self.unanswered) {
            let known = if number <= sent { Outcome::Unknown } else { Outcome::NotAppended };
            waiter.answer(lost(known, &why));
        }
        while let Ok(forwarded) = self.queue.try_recv() {
            forwarded.waiter.answer(lost(Outcome::NotAppended, &why));
        }
    }

    /// Forwards until the stream or the term ends, or nobody can send any more.
    async fn forward<H: Host>(
        &mut self,
        replica: &Replica<H>,
        leader: &Member,
        term: Term,
    ) -> Result<(), String> {
        let channel = transport::channel(replica.host(), &leader.peer_address)
            .map_err(|error| error.to_string())?;
        let (outbound, requests) = mpsc::channel(MESSAGES_WAITING_MAX);
        let opening = opening_of(replica, leader, term).ok_or("this node has no identity")?;
        let opening = peer::ForwardRequest { opening: Some(opening), appends: Vec::new() };
        outbound.send(opening).await.map_err(|_| "the stream is closed")?;
        let mut client = ForwardClient::new(channel)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let opened = timeout(OPENED_WITHIN, client.forward(ReceiverStream::new(requests))).await;
        let answer = opened.map_err(|_| "the leader does not answer")?;
        let inbound = answer.map_err(|status| status.message().to_owned())?.into_inner();
        self.exchange(outbound, inbound, replica.status(), term).await
    }

    async fn exchange(
        &mut self,
        outbound: mpsc::Sender<peer::ForwardRequest>,
        mut inbound: Streaming<v1::AppendSessionResponse>,
        mut status: watch::Receiver<Status>,
        term: Term,
    ) -> Result<(), String> {
        let mut message = Vec::new();
        let mut bytes = 0;
        let mut more = true;
        while more || !self.unanswered.is_empty() {
            tokio::select! {
                biased;
                answers = inbound.message() => match answers {
                    Ok(Some(answers)) => self.answer(answers)?,
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(status.message().to_owned()),
                },
                _ = status.wait_for(|status| status.term > term) => return Ok(()),
                permit = outbound.reserve(), if !message.is_empty() => {
                    let permit = permit.map_err(|_| "the connection to the leader was lost")?;
                    let appends = std::mem::take(&mut message);
                    bytes = 0;
                    self.sent = self.number;
                    permit.send(peer::ForwardRequest { opening: None, appends });
                }
                next = self.queue.recv(), if more && bytes < MESSAGE_BYTES => match next {
                    Some(forwarded) => {
                        bytes += self.take(forwarded, &mut message);
                        while bytes < MESSAGE_BYTES
                            && let Ok(forwarded) = self.queue.try_recv()
                        {
                            bytes += self.take(forwarded, &mut message);
                        }
                    }
                    None => more = false,
                },
            }
        }
        Ok(())
    }

    /// Puts an append into the message, and tells its bytes.
    fn take(&mut self, forwarded: Forwarded, message: &mut Vec<peer::ForwardedAppend>) -> usize {
        let Forwarded { encoded, deadline, waiter } = forwarded;
        let left = deadline.saturating_duration_since(Instant::now());
        let time_left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        if time_left_ms == 0 {
            waiter.answer(Answer::Rejected(problem::expired()));
            return 0;
        }
        self.number += 1;
        self.unanswered.insert(self.number, waiter);
        let bytes = encoded.len();
        message.push(peer::ForwardedAppend { number: self.number, append: encoded, time_left_ms });
        bytes
    }

    fn answer(&mut self, answers: v1::AppendSessionResponse) -> Result<(), String> {
        for v1::SessionAnswer { number, outcome } in answers.answers {
            let answer = match outcome {
                Some(WireOutcome::Appended(appended)) => Answer::Appended(appended.into()),
                Some(WireOutcome::Problem(problem)) => match Problem::try_from(problem) {
                    Ok(problem) => Answer::Rejected(problem),
                    Err(invalid) => return Err(format!("the leader's answer: {invalid}")),
                },
                None => return Err("the leader's answer is empty".to_owned()),
            };
            if let Some(waiter) = self.unanswered.remove(&number) {
                waiter.answer(answer);
            }
        }
        Ok(())
    }
}

fn opening_of<H: Host>(
    replica: &Replica<H>,
    leader: &Member,
    term: Term,
) -> Option<peer::ForwardOpening> {
    let identity = replica.identity()?;
    Some(peer::ForwardOpening {
        cluster: Bytes::copy_from_slice(&identity.cluster),
        log: identity.log,
        sender: identity.node,
        leader: leader.id,
        term: term.0,
    })
}

fn lost(outcome: Outcome, why: &str) -> Answer {
    Answer::Lost(Problem::new(ErrorKind::Unavailable, outcome, why))
}
