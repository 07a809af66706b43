//! The task behind a consumer: keeps a stream open, and carries deliveries in and settlements out.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_proto::limits::GROUP_CHANGE_POSITIONS_MAX;
use quorate_proto::wire::SILENCE_MAX;
use quorate_proto::wire::v1::{ConsumeRequest, ConsumeResponse, Settlement};
use quorate_proto::{ErrorKind, Fate, Join, Outcome, Problem};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::admin::GroupRef;
use super::delivery::{ConsumerMessage, Current, Delivery};
use super::shown::event_of;
use super::stream::Stream;
use super::work::Work;
use crate::client::Client;
use crate::patience::Backoff;
use crate::trouble::{may_help_elsewhere, not_appended, not_understood, unavailable};

/// The rests after all nodes refused, or a stream ended that brought nothing.
const RESTS: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// The largest number of settlements in one message.
const SETTLEMENTS_MAX: usize = 1_000;
/// The largest number of positions that an error message names.
const POSITIONS_SHOWN: usize = 10;
/// The largest number of positions that are remembered of events that were settled in vain.
const LOST_MAX: usize = 65_536;

/// The reason why the driver has nothing to do any more.
enum Over {
    /// The application closes the consumer, and waits for the answer.
    Closed(oneshot::Sender<Result<(), Problem>>),
    /// The application dropped the consumer.
    Dropped,
}

/// The end of a stream.
enum Ended {
    Lost(Problem),
    Over(Over),
}

/// The state of the task.
///
/// Invariant: all settlements in `unsent` and `unconfirmed` are of deliveries on the open stream.
pub(super) struct Driver {
    client: Client,
    join: Join,
    messages: mpsc::UnboundedReceiver<ConsumerMessage>,
    deliver: mpsc::Sender<Result<Delivery, Problem>>,
    current: Arc<Current>,
    /// The number of the open stream.
    number: u64,
    /// True once a stream brought more than the message that lets the consumer in.
    has_received: bool,
    /// Deliveries that the application has not taken yet: no message is read before they are taken.
    undelivered: VecDeque<Delivery>,
    unsent: Vec<Settlement>,
    /// The deliveries that are held, and those still to be reported to the leader as worked on.
    work: Work,
    /// Events whose settlement is not known to be durable, by the number of the delivery.
    unconfirmed: BTreeMap<u64, Doubt>,
    /// Events that were settled on streams that are lost, and were not settled durably here afterwards.
    lost: Lost,
}

/// An event of which it is not known whether its settlement was stored.
#[derive(Clone, Copy)]
struct Doubt {
    position: u64,
    /// True if the event was to be parked.
    parks: bool,
}

impl Doubt {
    fn of(position: u64, fate: &Fate) -> Doubt {
        Doubt { position, parks: matches!(fate, Fate::Parked(_)) }
    }
}

/// The events that were settled in vain, as far as is known, by their positions.
#[derive(Default)]
struct Lost(BTreeMap<u64, Doubt>);

impl Lost {
    fn note(&mut self, doubt: Doubt) {
        if self.0.len() < LOST_MAX {
            self.0.insert(doubt.position, doubt);
        }
    }
}

impl Driver {
    pub(super) fn new(
        client: Client,
        join: Join,
        messages: mpsc::UnboundedReceiver<ConsumerMessage>,
        deliver: mpsc::Sender<Result<Delivery, Problem>>,
        current: Arc<Current>,
        work: Work,
    ) -> Driver {
        Driver {
            client,
            join,
            messages,
            deliver,
            current,
            number: 0,
            has_received: false,
            undelivered: VecDeque::new(),
            unsent: Vec::new(),
            work,
            unconfirmed: BTreeMap::new(),
            lost: Lost::default(),
        }
    }

    /// Runs until the consumer is closed or dropped, or waiting cannot help.
    pub(super) async fn run(mut self) {
        let mut rests = RESTS;
        loop {
            let opened = match self.meanwhile(open(self.client.clone(), self.join.clone())).await {
                Ok(opened) => opened,
                Err(over) => return self.end(over).await,
            };
            let lost = match opened {
                Ok(mut stream) => {
                    let ended = self.serve(&mut stream).await;
                    if std::mem::take(&mut self.has_received) {
                        rests.worked();
                    }
                    match ended {
                        Ended::Lost(problem) => {
                            self.leave_out(&stream.incoming.address, &problem);
                            problem
                        }
                        Ended::Over(over) => return self.close(stream, over).await,
                    }
                }
                Err(problem) => problem,
            };
            self.forget();
            if !may_help_elsewhere(lost.kind) {
                return self.fail(not_appended(lost)).await;
            }
            tracing::debug!(problem = %lost, "the consumer joins again");
            if let Err(over) = self.meanwhile(tokio::time::sleep(rests.failed())).await {
                return self.end(over).await;
            }
        }
    }

    /// Hands out the error that ends the consumer when there is room for it, and stays until the consumer is closed or
    /// dropped, to report the settlements that were not stored.
    async fn fail(mut self, problem: Problem) {
        let deliver = self.deliver.clone();
        let reporting = async move {
            let _ = deliver.send(Err(problem)).await;
            deliver.closed().await;
        };
        if let Err(over) = self.meanwhile(reporting).await {
            self.end(over).await;
        }
    }

    /// Waits for a future while there is no stream: what is settled meanwhile came on a lost stream, and comes again.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Result<F::Output, Over> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                message = self.messages.recv() => match message {
                    Some(ConsumerMessage::Settled { position, settlement, .. }) => {
                        self.lost.note(Doubt::of(position, &settlement.fate));
                    }
                    Some(ConsumerMessage::Begun { .. }) => {}
                    Some(ConsumerMessage::Close(reply)) => return Err(Over::Closed(reply)),
                    None => return Err(Over::Dropped),
                },
                () = self.deliver.closed() => return Err(Over::Dropped),
            }
        }
    }

    /// Carries deliveries and settlements until the stream ends or the consumer is not wanted any more.
    async fn serve(&mut self, stream: &mut Stream) -> Ended {
        self.number += 1;
        self.current.stream.store(self.number, Ordering::Release);
        let deliver = self.deliver.clone();
        loop {
            let extended_at = self.work.next_extension();
            let has_request = !self.unsent.is_empty() || !self.work.is_reported();
            tokio::select! {
                biased;
                () = sleep_until(extended_at.unwrap_or_else(Instant::now)), if extended_at.is_some() => {
                    self.work.extend(Instant::now());
                }
                permit = deliver.reserve(), if !self.undelivered.is_empty() => match permit {
                    Ok(permit) => if let Some(delivery) = self.undelivered.pop_front() {
                        permit.send(Ok(delivery));
                    },
                    Err(_) => return Ended::Over(Over::Dropped),
                },
                message = stream.incoming.next(SILENCE_MAX), if self.undelivered.is_empty() => {
                    if let Err(problem) = message.and_then(|message| self.receive(message)) {
                        return Ended::Lost(problem);
                    }
                }
                message = self.messages.recv() => match message {
                    Some(message) => if let Some(over) = self.take_in(message) {
                        return Ended::Over(over);
                    },
                    None => return Ended::Over(Over::Dropped),
                },
                // A remaining settler does not keep the consumer: its settlements so far were taken in.
                () = deliver.closed() => return Ended::Over(Over::Dropped),
                permit = stream.requests.reserve(), if has_request => match permit {
                    Ok(permit) => permit.send(self.next_request()),
                    // The next message from the node gives the reason.
                    Err(_) => {
                        self.unsent.clear();
                        self.work.take_unreported(usize::MAX);
                    }
                },
            }
        }
    }

    /// Asks other nodes first from now on. A node that fell silent is not asked again because others name it as the
    /// leader: its deliveries may come through them.
    fn leave_out(&self, address: &str, problem: &Problem) {
        let nodes = &self.client.shared.nodes;
        match problem.kind {
            ErrorKind::Deadline => nodes.is_out_of_reach(address),
            _ => nodes.failed(address),
        }
    }

    /// Takes in a message; an empty one is a sign of life.
    fn receive(&mut self, message: ConsumeResponse) -> Result<(), Problem> {
        self.has_received = true;
        for delivery in message.deliveries {
            let event = delivery.event.ok_or_else(|| not_understood("a delivery has no event"))?;
            let (attempt, number, stream) = (delivery.attempt, delivery.number, self.number);
            let event = event_of(event)?;
            let timeout = Duration::from_millis(delivery.timeout_ms);
            self.current.timeout_ms.store(delivery.timeout_ms, Ordering::Release);
            let has_lapsed = self.work.give(number, timeout);
            let delivery = Delivery { event, attempt, timeout, number, stream, has_lapsed };
            self.undelivered.push_back(delivery);
        }
        if let Some(timeout_ms) = message.timeout_ms {
            self.current.timeout_ms.store(timeout_ms, Ordering::Release);
            self.work.set_timeout(Duration::from_millis(timeout_ms), Instant::now());
        }
        for number in message.settled {
            self.confirm(number);
        }
        for number in message.lapsed {
            self.work.lapse(number);
            if let Some(Doubt { position, .. }) = self.unconfirmed.remove(&number) {
                tracing::debug!(position, "an event was settled too late, and comes again");
            }
        }
        Ok(())
    }

    /// Takes in a message of the application, and all others that wait: together they make one request.
    fn take_in(&mut self, message: ConsumerMessage) -> Option<Over> {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                ConsumerMessage::Settled { stream, position, settlement } => {
                    let doubt = Doubt::of(position, &settlement.fate);
                    if stream == self.number {
                        self.work.settle(settlement.number);
                    }
                    if stream != self.number {
                        self.lost.note(doubt);
                    } else if self.unconfirmed.insert(settlement.number, doubt).is_none() {
                        self.unsent.push(settlement.into());
                    }
                }
                ConsumerMessage::Begun { stream, number } if stream == self.number => {
                    self.work.begin(number, Instant::now());
                }
                ConsumerMessage::Begun { .. } => {}
                ConsumerMessage::Close(reply) => return Some(Over::Closed(reply)),
            }
            next = self.messages.try_recv().ok();
        }
        None
    }

    fn confirm(&mut self, number: u64) {
        if let Some(doubt) = self.unconfirmed.remove(&number) {
            self.lost.0.remove(&doubt.position);
        }
    }

    fn next_request(&mut self) -> ConsumeRequest {
        let count = self.unsent.len().min(SETTLEMENTS_MAX);
        let settlements = self.unsent.drain(..count).collect();
        let begun = self.work.take_unreported(SETTLEMENTS_MAX);
        ConsumeRequest { join: None, settlements, begun }
    }

    /// Sends the settlements, leaves, and waits until all of them are durable.
    async fn close(mut self, stream: Stream, over: Over) {
        let Stream { requests, mut incoming } = stream;
        let deadline = self.client.deadline;
        let until = Instant::now() + deadline;
        let closing = async {
            while !self.unsent.is_empty() {
                let request = self.next_request();
                requests.send(request).await.ok()?;
            }
            drop(requests);
            while let Ok(ConsumeResponse { settled, lapsed, .. }) = incoming.next(deadline).await {
                settled.into_iter().for_each(|number| self.confirm(number));
                for number in lapsed {
                    self.unconfirmed.remove(&number);
                }
            }
            Some(())
        };
        let _ = timeout_at(until, closing).await;
        self.end_by(until, over).await;
    }

    async fn end(self, over: Over) {
        let until = Instant::now() + self.client.deadline;
        self.end_by(until, over).await;
    }

    /// Reports the settlements that were not stored to the caller of `close`, as far as they can be found out by then.
    async fn end_by(mut self, until: Instant, over: Over) {
        let Over::Closed(reply) = over else { return };
        self.give_up_unconfirmed();
        if timeout_at(until, self.remove_settled()).await.is_err() {
            tracing::debug!("the group did not report in time what is settled");
        }
        let _ = reply.send(self.check_durable());
    }

    /// Removes from the lost events those that are settled by now: the leader stored the settlement before it went, or
    /// another consumer has settled the event since. An event that was to be parked and is parked was stored too.
    async fn remove_settled(&mut self) {
        let group = GroupRef::new(self.client.clone(), Ok(self.join.group.clone()));
        let positions: Vec<u64> = self.lost.0.keys().copied().collect();
        for some in positions.chunks(GROUP_CHANGE_POSITIONS_MAX) {
            match group.find_settled(some).await {
                Ok(found) => {
                    for position in found.settled {
                        self.lost.0.remove(&position);
                    }
                    for position in found.parked {
                        if self.lost.0.get(&position).is_some_and(|doubt| doubt.parks) {
                            self.lost.0.remove(&position);
                        }
                    }
                }
                Err(problem) => {
                    tracing::debug!(%problem, "the group does not report what is settled");
                    return;
                }
            }
        }
    }

    /// Returns an error that names the settled events whose settlement is not known to be durable.
    fn check_durable(&self) -> Result<(), Problem> {
        let lost = &self.lost.0;
        if lost.is_empty() {
            return Ok(());
        }
        let shown = lost.keys().take(POSITIONS_SHOWN).map(u64::to_string);
        let mut shown: Vec<String> = shown.collect();
        if lost.len() > shown.len() {
            shown.push("…".to_owned());
        }
        let message = format!(
            "it is not known whether it was kept what became of {} events, which may be delivered again: {}",
            lost.len(),
            shown.join(", ")
        );
        Err(Problem::new(ErrorKind::Unavailable, Outcome::Unknown, message))
    }

    /// Forgets the lost stream: all its deliveries come again.
    fn forget(&mut self) {
        self.current.stream.store(0, Ordering::Release);
        self.undelivered.clear();
        self.unsent.clear();
        self.work.clear();
        self.give_up_unconfirmed();
    }

    fn give_up_unconfirmed(&mut self) {
        for doubt in std::mem::take(&mut self.unconfirmed).into_values() {
            self.lost.note(doubt);
        }
    }
}

/// Joins at the leader if it is known, or at the first node that lets the consumer in.
async fn open(client: Client, join: Join) -> Result<Stream, Problem> {
    let nodes = &client.shared.nodes;
    let mut last = unavailable("no node is known");
    for address in nodes.for_appends() {
        match Stream::open(nodes, &address, &join).await {
            Ok(stream) => return Ok(stream),
            Err(problem) if !may_help_elsewhere(problem.kind) => return Err(problem),
            Err(problem) => {
                nodes.failed(&address);
                last = problem;
            }
        }
    }
    Err(last)
}
