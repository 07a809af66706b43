//! The follower's side of forwarding: one pipelined stream of encoded appends to the leader.

use std::collections::BTreeMap;
use std::pin::pin;

use bytes::Bytes;
use quorate_proto::limits::PEER_MESSAGE_BYTES_MAX;
use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::peer::v1::forward_client::ForwardClient;
use quorate_proto::wire::v1;
use quorate_proto::wire::{SESSION_LIFE, deadline_ms};
use quorate_proto::{ErrorKind, Outcome, Problem, Term};
use quorate_raft::host::Host;
use quorate_raft::{Member, Replica, Status, transport};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::super::problem;
use super::answer::Answer;
use super::deadline::Due;
use super::proposal::Proposal;
use super::reply::Reply;

/// The approximate number of bytes of appends in one message.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// The time within which a leader must accept a stream; otherwise it counts as unreachable.
const OPENED_WITHIN: Duration = Duration::from_secs(3);
/// The maximum number of messages that wait for the transport; more would only wait longer.
const MESSAGES_WAITING_MAX: usize = 2;

/// A handle of a stream to one leader in one term. The stream ends with the first append that is lost.
#[derive(Clone)]
pub(crate) struct Forwarding {
    leader: u64,
    term: Term,
    queue: mpsc::UnboundedSender<Proposal>,
}

impl Forwarding {
    /// Opens a stream, in the background.
    pub(crate) fn open<H: Host>(replica: &Replica<H>, leader: Member, term: Term) -> Forwarding {
        let (queue, waiting) = mpsc::unbounded_channel();
        let forwarding = Forwarding { leader: leader.id, term, queue };
        let stream = Stream {
            queue: waiting,
            unanswered: BTreeMap::new(),
            sent: 0,
            number: 0,
            lacked_room: false,
        };
        tokio::spawn(stream.run(replica.clone(), leader, term));
        forwarding
    }

    /// Returns true if this is a stream to this leader in this term, and is not over.
    pub(crate) fn leads_to(&self, leader: &Member, term: Term) -> bool {
        self.leader == leader.id && self.term == term && !self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_closed()
    }

    pub(crate) fn send(&self, proposal: Proposal) {
        if let Err(mpsc::error::SendError(proposal)) = self.queue.send(proposal) {
            let why = "the connection to the leader was lost; nothing was appended";
            proposal.reply.answer(lost(Outcome::NotAppended, why));
        }
    }
}

/// The task behind a [`Forwarding`].
///
/// Invariants:
/// * `unanswered` holds every append that was taken from the queue and not answered.
/// * Appends with numbers up to `sent` were handed to the transport; the others certainly were not.
struct Stream {
    queue: mpsc::UnboundedReceiver<Proposal>,
    unanswered: BTreeMap<u64, Reply>,
    sent: u64,
    number: u64,
    /// True if an append was refused for lack of room: no later append may continue on another stream.
    lacked_room: bool,
}

/// The reason for the end of a stream without a loss.
enum Ended {
    /// The stream reached its maximum age, and every append that it took is answered.
    Old,
    /// The term ended, or nobody can send any more.
    Over,
}

/// A stream that the leader has accepted.
struct Open {
    outbound: mpsc::Sender<peer::ForwardRequest>,
    inbound: Streaming<v1::AppendSessionResponse>,
    /// The time of the leader's first message: deadlines are counted from then.
    since: Instant,
}

impl Stream {
    async fn run<H: Host>(mut self, replica: Replica<H>, leader: Member, term: Term) {
        let why = loop {
            match self.forward(&replica, &leader, term).await {
                Ok(Ended::Old) if self.lacked_room => break problem::room_again().message,
                Ok(Ended::Old) => {}
                Ok(Ended::Over) => break "the leader changed".to_owned(),
                Err(why) => break why,
            }
        };
        self.queue.close();
        let sent = self.sent;
        for (number, reply) in std::mem::take(&mut self.unanswered) {
            let known = if number <= sent { Outcome::Unknown } else { Outcome::NotAppended };
            reply.answer(lost(known, &why));
        }
        while let Ok(proposal) = self.queue.try_recv() {
            proposal.reply.answer(lost(Outcome::NotAppended, &why));
        }
    }

    /// Forwards until the stream or the term ends, or nobody can send any more.
    async fn forward<H: Host>(
        &mut self,
        replica: &Replica<H>,
        leader: &Member,
        term: Term,
    ) -> Result<Ended, String> {
        let opening = timeout(OPENED_WITHIN, open(replica, leader, term)).await;
        let open = opening.map_err(|_| "the leader does not answer")??;
        self.exchange(open, replica.status(), term).await
    }

    async fn exchange(
        &mut self,
        open: Open,
        mut status: watch::Receiver<Status>,
        term: Term,
    ) -> Result<Ended, String> {
        let Open { outbound, mut inbound, since } = open;
        let mut message = Vec::new();
        let mut bytes = 0;
        let mut more = true;
        let mut old = false;
        let mut life = pin!(sleep_until(since + SESSION_LIFE));
        while (more && !old) || !self.unanswered.is_empty() {
            tokio::select! {
                biased;
                () = &mut life, if !old => old = true,
                answers = inbound.message() => match answers {
                    Ok(Some(answers)) => self.answer(answers)?,
                    Ok(None) => return Ok(Ended::Over),
                    Err(status) => return Err(status.message().to_owned()),
                },
                _ = status.wait_for(|status| status.term > term) => return Ok(Ended::Over),
                permit = outbound.reserve(), if !message.is_empty() => {
                    let permit = permit.map_err(|_| "the connection to the leader was lost")?;
                    let appends = std::mem::take(&mut message);
                    bytes = 0;
                    self.sent = self.number;
                    permit.send(peer::ForwardRequest { opening: None, appends });
                }
                next = self.queue.recv(), if more && !old && bytes < MESSAGE_BYTES => match next {
                    Some(proposal) => {
                        bytes += self.take(proposal, since, &mut message)?;
                        while bytes < MESSAGE_BYTES
                            && let Ok(proposal) = self.queue.try_recv()
                        {
                            bytes += self.take(proposal, since, &mut message)?;
                        }
                    }
                    None => more = false,
                },
            }
        }
        Ok(if more { Ended::Old } else { Ended::Over })
    }

    /// Puts an append into the message and returns its length. Error: its deadline has passed and it does not
    /// expire alone; the stream ends, because no later append may overtake it when it is sent again.
    fn take(
        &mut self,
        proposal: Proposal,
        since: Instant,
        message: &mut Vec<peer::ForwardedAppend>,
    ) -> Result<usize, String> {
        let Proposal { encoded, due: Due { deadline, expires_alone, .. }, reply, .. } = proposal;
        if deadline <= Instant::now() {
            let expired = problem::expired();
            let why = expired.message.clone();
            reply.answer(Answer::Lost(expired));
            return if expires_alone { Ok(0) } else { Err(why) };
        }
        self.number += 1;
        self.unanswered.insert(self.number, reply);
        let bytes = encoded.len();
        let deadline_ms = deadline_ms(deadline.saturating_duration_since(since));
        let number = self.number;
        let request = encoded;
        message.push(peer::ForwardedAppend { number, request, deadline_ms, expires_alone });
        Ok(bytes)
    }

    fn answer(&mut self, answers: v1::AppendSessionResponse) -> Result<(), String> {
        for v1::SessionAnswer { number, outcome } in answers.answers {
            let answer = Answer::try_from(outcome);
            let answer = answer.map_err(|invalid| format!("the leader's answer: {invalid}"))?;
            self.lacked_room |= answer == Answer::NoRoom;
            if let Some(reply) = self.unanswered.remove(&number) {
                reply.answer(answer);
            }
        }
        Ok(())
    }
}

/// Opens a stream and waits for its first message.
async fn open<H: Host>(replica: &Replica<H>, leader: &Member, term: Term) -> Result<Open, String> {
    let channel = transport::channel(replica.host(), &leader.peer_address)
        .map_err(|error| error.to_string())?;
    let (outbound, requests) = mpsc::channel(MESSAGES_WAITING_MAX);
    let opening = opening_of(replica, leader, term).ok_or("this node has no identity")?;
    let opening = peer::ForwardRequest { opening: Some(opening), appends: Vec::new() };
    outbound.send(opening).await.map_err(|_| "the stream is closed")?;
    let mut client = ForwardClient::new(channel)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let message_of = |status: tonic::Status| status.message().to_owned();
    let opened = client.forward(ReceiverStream::new(requests)).await.map_err(message_of)?;
    let mut inbound = opened.into_inner();
    let first = inbound.message().await.map_err(message_of)?;
    first.ok_or("the leader ended the stream at once")?;
    Ok(Open { outbound, inbound, since: Instant::now() })
}

/// Returns the opening message of a stream to the leader, which names the cluster, both nodes and the term.
pub(crate) fn opening_of<H: Host>(
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
