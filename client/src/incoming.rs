//! A node's answer as it comes in, and the retries of a read when nodes fail again and again.

use std::time::Duration;

use quorate_proto::{ErrorKind, Problem};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Streaming;

use crate::client::Client;
use crate::nodes::problem;
use crate::trouble::{late, may_help_elsewhere, told, unavailable};

/// The time that a client gives a node beyond the deadline that it sent to the node.
pub(crate) const GRACE: Duration = Duration::from_millis(200);
/// The rest after the second failure in a row; it doubles after each further one …
const REST_MIN: Duration = Duration::from_millis(50);
/// … up to this, when a caller waits for the end of a read or a list.
pub(crate) const REST_MAX: Duration = Duration::from_millis(500);

/// The time for which a node may be silent within its answer: another may still answer before the deadline.
pub(crate) fn silence_max(client: &Client) -> Duration {
    client.deadline / 3 + GRACE
}

/// A node's answer.
#[derive(Debug)]
pub(crate) struct Incoming<T> {
    pub(crate) address: String,
    messages: Streaming<T>,
    began_at: Instant,
    /// The time since which the next message is awaited.
    waiting_since: Option<Instant>,
}

impl<T> Incoming<T> {
    pub(crate) fn new(address: String, messages: Streaming<T>) -> Incoming<T> {
        Incoming { address, messages, began_at: Instant::now(), waiting_since: None }
    }

    /// Returns the next message. A node that is silent for longer than `silence_max` is given up, although it may
    /// answer pings. Cancelling the future loses nothing, and does not give the node more time.
    pub(crate) async fn next(&mut self, silence_max: Duration) -> Result<T, Problem> {
        let next = self.next_or_end(silence_max).await?;
        next.ok_or_else(|| unavailable(format!("{} ended its answer early", self.address)))
    }

    /// Does the same for an answer that ends without an end message: `None` at its end.
    pub(crate) async fn next_or_end(
        &mut self,
        silence_max: Duration,
    ) -> Result<Option<T>, Problem> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let heard = timeout_at(since + silence_max, self.messages.message()).await;
        self.waiting_since = None;
        match heard {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(status)) => Err(problem(&self.address, &status)),
            Err(_) => Err(late(&self.address)),
        }
    }

    pub(crate) fn age(&self) -> Duration {
        self.began_at.elapsed()
    }
}

/// The failures since a read last made progress. After the first one another node is asked at once; after more of them
/// there is a rest, longer each time.
#[derive(Debug)]
pub(crate) struct Patience {
    rest_max: Duration,
    failures: u32,
    /// The time since which there was no progress.
    since: Option<Instant>,
    not_before: Option<Instant>,
    /// True if none of the failures was one that passes by itself.
    is_lasting: bool,
}

impl Patience {
    pub(crate) fn new(rest_max: Duration) -> Patience {
        Patience { rest_max, failures: 0, since: None, not_before: None, is_lasting: true }
    }

    /// Forgets the failures: the read made progress.
    pub(crate) fn progressed(&mut self) {
        *self = Patience::new(self.rest_max);
    }

    /// Notes that a node works on the request, though nothing has come of that yet.
    pub(crate) fn heard(&mut self) {
        self.since = None;
    }

    /// Notes that a node failed within its answer. Fails if no other node can help, or if it is time to give up.
    pub(crate) fn lost<T>(
        &mut self,
        client: &Client,
        incoming: Option<Incoming<T>>,
        problem: Problem,
    ) -> Result<(), Problem> {
        let nodes = &client.shared.nodes;
        if let Some(incoming) = incoming {
            nodes.failed(&incoming.address);
        }
        if !may_help_elsewhere(problem.kind) {
            return Err(told(problem));
        }
        self.failed(&problem);
        if self.since() + client.deadline <= Instant::now() || self.is_lasting_after(nodes.count())
        {
            self.progressed();
            return Err(told(problem));
        }
        tracing::debug!(%problem, "another node is asked to go on");
        Ok(())
    }

    /// Notes that all nodes refused. Fails if it is time to give up.
    pub(crate) fn refused(&mut self, round: Round, give_up_at: Instant) -> Result<(), Problem> {
        let last = round.last.unwrap_or_else(|| unavailable("no node is known"));
        self.failed(&last);
        if !round.may_pass || self.not_before.unwrap_or_else(Instant::now) >= give_up_at {
            self.progressed();
            return Err(told(last));
        }
        Ok(())
    }

    pub(crate) fn failed(&mut self, problem: &Problem) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        self.is_lasting &= is_lasting(problem.kind);
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        self.not_before = doublings.map(|doublings| {
            let rest = REST_MIN.saturating_mul(1 << doublings.min(16));
            now + rest.min(self.rest_max)
        });
    }

    /// Rests for as long as the failures demand. Cancelling the future does not begin the rest anew.
    pub(crate) async fn rest(&self) {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before).await;
        }
    }

    /// Returns the time since which there was no progress; now if there was no failure before.
    pub(crate) fn since(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }

    /// Returns true if there were so many failures in a row, and none that passes by itself.
    pub(crate) fn is_lasting_after(&self, failures: usize) -> bool {
        self.is_lasting && self.failures as usize >= failures
    }
}

/// The refusals of nodes that were asked one after the other.
#[derive(Default)]
pub(crate) struct Round {
    /// True if one of them may pass by itself.
    may_pass: bool,
    last: Option<Problem>,
}

impl Round {
    /// Returns true if one node was asked and there is no time to ask another.
    pub(crate) fn is_over(&self, give_up_at: Instant) -> bool {
        self.last.is_some() && give_up_at <= Instant::now()
    }

    /// Notes a node's refusal. Fails if no other node can help.
    pub(crate) fn refused(
        &mut self,
        client: &Client,
        address: &str,
        problem: Problem,
    ) -> Result<(), Problem> {
        if !may_help_elsewhere(problem.kind) {
            return Err(told(problem));
        }
        client.shared.nodes.failed(address);
        self.may_pass |= problem.kind.is_transient();
        self.last = Some(problem);
        Ok(())
    }
}

fn is_lasting(kind: ErrorKind) -> bool {
    !kind.is_transient() && kind != ErrorKind::NotReady
}
