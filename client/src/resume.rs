//! Answers that one node begins and others continue when it is lost: reads, subscriptions and lists.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use quorate_proto::Problem;
use quorate_proto::wire::SILENCE_MAX;
use quorate_proto::wire::v1::events_client::EventsClient;
use tokio::time::{Instant, timeout};
use tonic::{Response, Status, Streaming};

use crate::client::Client;
use crate::connection::Connection;
use crate::incoming::{GRACE, Incoming, silence_max};
use crate::nodes::problem;
use crate::patience::Patience;
use crate::trouble::{late, unavailable};

/// A node, for requests about events.
pub(crate) type EventsNode = EventsClient<Connection>;
/// The beginning of a node's answer.
pub(crate) type Answering<M> = BoxFuture<'static, Result<Response<Streaming<M>>, Status>>;

/// An answer as far as it has come, and the request for the rest of it.
///
/// Invariant: the request asks for exactly what has not been taken in, so that no item comes twice and none is left
/// out, whichever node continues.
pub(crate) trait Answer: Debug + Send + Sync + 'static {
    /// A message of a node's answer.
    type Message: Debug + Send + 'static;
    /// An item that the caller gets.
    type Item: Debug + Send + 'static;

    /// Requests the rest from a node, which may take this time to begin.
    fn request(&self, node: EventsNode, time_left_ms: u64) -> Answering<Self::Message>;

    /// Takes in the first message of a node.
    fn begin(
        &mut self,
        first: Self::Message,
        ready: &mut VecDeque<Self::Item>,
    ) -> Result<Received, Problem> {
        self.take(first, ready)
    }

    /// Takes in a message. An error is the node's: another one is asked to continue.
    fn take(
        &mut self,
        message: Self::Message,
        ready: &mut VecDeque<Self::Item>,
    ) -> Result<Received, Problem>;

    /// Returns true if there is nothing left to request.
    fn is_exhausted(&self) -> bool {
        false
    }

    /// Notes that the node was lost, and that another one is asked.
    fn lost(&mut self, _ready: &mut VecDeque<Self::Item>) {}
}

/// The meaning of a message for the answer.
pub(crate) enum Received {
    /// The node answers, which does not show yet that it can do more than the nodes before it.
    Beginning,
    /// The node works on the answer, though nothing has come of that yet.
    Work,
    /// The answer is further than before.
    Progress,
    /// The answer is complete.
    End,
}

/// An answer that goes on at another node when its node is lost, fails, or is silent for too long.
#[derive(Debug)]
pub(crate) struct Resumed<A: Answer> {
    client: Client,
    pub(crate) answer: A,
    /// Items that the caller has not taken yet.
    ready: VecDeque<A::Item>,
    /// `None` while no node works on the answer.
    incoming: Option<Incoming<A::Message>>,
    /// The time for which a node may be silent within its answer.
    silence_max: Duration,
    patience: Patience,
    /// Decides which node is asked first.
    turn: usize,
    has_ended: bool,
}

impl<A: Answer> Resumed<A> {
    /// Returns an answer that fails when it makes no progress within the client's deadline.
    pub(crate) fn within_deadline(client: Client, answer: A) -> Resumed<A> {
        let (silence_max, patience) = (silence_max(&client), Patience::within(client.deadline));
        Resumed::new(client, answer, silence_max, patience)
    }

    /// Returns an answer that goes on for as long as it takes. Many of them spread over the nodes.
    pub(crate) fn endless(client: Client, answer: A) -> Resumed<A> {
        let turn = client.shared.nodes.next_turn();
        let resumed = Resumed::new(client, answer, SILENCE_MAX, Patience::endless());
        Resumed { turn, ..resumed }
    }

    fn new(client: Client, answer: A, silence_max: Duration, patience: Patience) -> Resumed<A> {
        let (ready, incoming) = (VecDeque::new(), None);
        Resumed {
            client,
            answer,
            ready,
            incoming,
            silence_max,
            patience,
            turn: 0,
            has_ended: false,
        }
    }

    /// Returns the next item; `None` at the end. Cancelling the future loses nothing.
    pub(crate) async fn try_next(&mut self) -> Result<Option<A::Item>, Problem> {
        while self.ready.is_empty() && !self.has_ended {
            let Some(incoming) = &mut self.incoming else {
                self.find_node().await?;
                continue;
            };
            let message = incoming.next(self.silence_max).await;
            match message.and_then(|message| self.answer.take(message, &mut self.ready)) {
                Ok(received) => self.note(received),
                Err(problem) => self.lose(&problem)?,
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Returns all items into memory.
    pub(crate) async fn collect(&mut self) -> Result<Vec<A::Item>, Problem> {
        let mut items = Vec::new();
        while let Some(item) = self.try_next().await? {
            items.push(item);
            items.extend(self.ready.drain(..));
        }
        Ok(items)
    }

    /// Converts this into a stream of `futures`, which ends after an error.
    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<A::Item, Problem>> {
        let next = |mut answer: Resumed<A>| async move {
            Ok(answer.try_next().await?.map(|item| (item, answer)))
        };
        stream::try_unfold(self, next).boxed()
    }

    fn note(&mut self, received: Received) {
        match received {
            Received::Beginning => {}
            Received::Work => self.patience.worked(),
            Received::Progress => self.patience.progressed(),
            Received::End => {
                self.has_ended = true;
                self.incoming = None;
            }
        }
    }

    /// Leaves the node. Fails if no other node can do better, or if it is time to give up.
    fn lose(&mut self, problem: &Problem) -> Result<(), Problem> {
        let nodes = &self.client.shared.nodes;
        if let Some(incoming) = self.incoming.take() {
            nodes.failed(&incoming.address);
            self.patience.served_for(incoming.age());
        }
        if self.patience.is_endless() {
            self.turn = nodes.next_turn();
        }
        self.patience.failed(problem, nodes.count())?;
        self.patience.rest_longer(problem)?;
        tracing::debug!(%problem, "another node is asked to go on");
        self.answer.lost(&mut self.ready);
        Ok(())
    }

    /// Asks nodes in turn until one begins to send the rest of the answer.
    pub(crate) async fn find_node(&mut self) -> Result<(), Problem> {
        if self.answer.is_exhausted() {
            self.has_ended = true;
            return Ok(());
        }
        let give_up_at = self.patience.give_up_at();
        loop {
            self.patience.rest().await;
            let mut last = None;
            for address in self.client.shared.nodes.in_turn(self.turn) {
                if last.is_some() && give_up_at.is_some_and(|at| at <= Instant::now()) {
                    break;
                }
                let Err(problem) = self.ask(address.clone(), give_up_at).await else {
                    return Ok(());
                };
                tracing::debug!(%problem, "a node cannot go on with the answer");
                let nodes = &self.client.shared.nodes;
                self.patience.failed(&problem, nodes.count())?;
                nodes.failed(&address);
                last = Some(problem);
            }
            let last = last.unwrap_or_else(|| unavailable("no node is known"));
            self.patience.rest_longer(&last)?;
        }
    }

    /// Asks one node, for a part of the time that is left: another may do better.
    async fn ask(&mut self, address: String, give_up_at: Option<Instant>) -> Result<(), Problem> {
        let left = give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
        let time = left.unwrap_or(Duration::MAX).min(self.client.deadline / 3);
        let node = self.client.shared.nodes.events(&address)?;
        let answer = self.answer.request(node, (time.as_millis() as u64).max(1));
        let asking = async {
            let mut messages = answer.await?.into_inner();
            let first = messages.message().await?;
            Ok((messages, first))
        };
        // The node's own report of its deadline is worth more than our report of its silence.
        let answered = timeout(time + GRACE, asking).await.map_err(|_| late(&address))?;
        let (messages, first) = answered.map_err(|status| problem(&address, &status))?;
        let first = first.ok_or_else(|| unavailable(format!("{address} answered nothing")))?;
        let received = self.answer.begin(first, &mut self.ready)?;
        self.incoming = Some(Incoming::new(address, messages));
        self.note(received);
        Ok(())
    }
}
