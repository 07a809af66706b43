//! The owner's handling of its inputs: messages of consumers, and requests for the state that only it knows.

use quorate_proto::wire::v1;
use quorate_proto::{ErrorKind, Join, Outcome, Problem, Settlement};
use quorate_raft::host::Host;
use tokio::sync::oneshot;

use super::super::dispatcher::{self, ConsumerId, Left};
use super::super::outbox;
use super::{Consumer, Input, JoinedConsumer, Owner, Watched};

impl<H: Host> Owner<H> {
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Join { join, reply } => self.join(join, reply),
            Input::Begin { id, numbers } => self.begin(id, numbers),
            Input::Settle { id, settlements } => self.settle(id, settlements),
            Input::Expel { id, problem } => self.expel(id, problem),
            Input::Leave { id, how } => self.leave(id, how),
            Input::Watch { reply } => drop(reply.send(self.watched())),
        }
    }

    fn join(&mut self, join: Join, reply: oneshot::Sender<Result<JoinedConsumer, Problem>>) {
        let id = match self.dispatcher.join(join.consumer, join.window, join.tells_begun) {
            Ok(id) => id,
            Err(full) => {
                let message = full.to_string();
                let full = Problem::new(ErrorKind::Overloaded, Outcome::NotAppended, message);
                return drop(reply.send(Err(full)));
            }
        };
        let joined = v1::Joined {
            term: self.leader_term.term.0,
            leader: self.groups.appends.routes.leader_address(),
            settings: Some((*self.dispatcher.settings()).into()),
        };
        let (outbox, outgoing) = outbox::open(id, joined, self.drained.0.clone());
        let consumer = Consumer { outbox, unconfirmed: 0, has_left: false };
        self.consumers.insert(id, consumer);
        if reply.send(Ok(JoinedConsumer { id, outgoing })).is_err() {
            self.leave(id, Left::Gracefully);
        }
    }

    fn begin(&mut self, id: ConsumerId, numbers: Vec<u64>) {
        match self.dispatcher.begin(id, numbers, self.clock.now()) {
            Ok(lapsed) => {
                if let Some(consumer) = self.consumers.get(&id) {
                    consumer.outbox.lapse(lapsed);
                }
            }
            Err(invalid) => self.expel(id, invalid.into()),
        }
    }

    fn settle(&mut self, id: ConsumerId, settlements: Vec<Settlement>) {
        let count = settlements.len() as u64;
        match self.dispatcher.settle(id, settlements, self.clock.now()) {
            Ok(lapsed) => {
                if let Some(consumer) = self.consumers.get_mut(&id) {
                    consumer.unconfirmed += count - lapsed.len() as u64;
                    consumer.outbox.lapse(lapsed);
                }
            }
            Err(invalid) => self.expel(id, invalid.into()),
        }
    }

    /// Ends the stream of a consumer that sent an invalid message: the consumer counts as lost.
    fn expel(&mut self, id: ConsumerId, problem: Problem) {
        self.dispatcher.leave(id, Left::Lost, self.clock.now());
        if let Some(consumer) = self.consumers.remove(&id) {
            consumer.outbox.end(Some(problem));
        }
    }

    fn leave(&mut self, id: ConsumerId, how: Left) {
        self.dispatcher.leave(id, how, self.clock.now());
        match how {
            Left::Lost => drop(self.consumers.remove(&id)),
            Left::Gracefully => {
                if let Some(consumer) = self.consumers.get_mut(&id) {
                    consumer.has_left = true;
                }
                self.dismiss();
            }
        }
    }

    fn watched(&self) -> Watched {
        let consumer = |consumer: &dispatcher::Consumer| v1::GroupConsumer {
            name: consumer.name.clone(),
            in_flight: consumer.in_flight(),
            window: consumer.window,
            settled: consumer.settled,
        };
        Watched {
            floor: self.dispatcher.floor(),
            in_flight: self.dispatcher.in_flight(),
            consumers: self.dispatcher.consumers().iter().map(consumer).collect(),
        }
    }
}
