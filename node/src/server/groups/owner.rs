//! The owner of a group: a task on the leader that hands out the group's events, for one term, while it has consumers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::wire::{LIFE_SIGN_EVERY, v1};
use quorate_proto::{
    ErrorKind, GroupName, GroupOutcome, GroupRequest, Join, LogIndex, Outcome, Position, Problem,
    Settlement, Term,
};
use quorate_raft::host::Host;
use quorate_store::command::encode_group_progress;
use quorate_store::{GroupState, Reader, StoredEvent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::append::{Answer, Applied, LeaderTerm};
use super::super::problem;
use super::clock::Clock;
use super::dispatcher::{ConsumerId, Dispatcher, Handed, Left, Taken};
use super::leadership::LeadershipWatch;
use super::outbox::{Outbox, Outgoing};
use super::subscription::{self, Found};
use super::{Groups, events, not_found, takeover, unavailable};

mod inputs;

/// The time after which progress that was not taken is proposed again: the leader may be out of touch for a moment …
const PROPOSED_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// … or there is no room, on the disk or for the group's state.
const ROOM_LOOKED_FOR_AFTER: Duration = Duration::from_secs(1);
/// The most inputs that are taken before the owner does something else.
const INPUTS_AT_ONCE: usize = 64;
/// The time that consumers which are sent away wait for the proposal under way.
const LAST_CONFIRMED_WITHIN: Duration = Duration::from_millis(300);
/// The most events that are handed out before the owner waits for inputs and answers again.
const HANDED_OUT_AT_ONCE: usize = 256;

/// A message to the owner from the tasks that serve consumers, or that show the group.
pub(super) enum Input {
    /// A consumer wants to join.
    Join { join: Join, reply: oneshot::Sender<Result<JoinedConsumer, Problem>> },
    /// A consumer works on events: their time begins.
    Begin { id: ConsumerId, numbers: Vec<u64> },
    /// A consumer settles events.
    Settle { id: ConsumerId, settlements: Vec<Settlement> },
    /// A consumer sent a message that is not allowed.
    Expel { id: ConsumerId, problem: Problem },
    /// A consumer left.
    Leave { id: ConsumerId, how: Left },
    /// A request for the state that only the owner knows.
    Watch { reply: oneshot::Sender<Watched> },
}

/// A consumer that was let in.
pub(super) struct JoinedConsumer {
    pub(super) id: ConsumerId,
    pub(super) outgoing: Outgoing,
}

/// The state of a group that only its owner knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) floor: Position,
    pub(super) in_flight: u64,
    pub(super) consumers: Vec<v1::GroupConsumer>,
}

/// A consumer as the owner sees it.
struct Consumer {
    outbox: Outbox,
    /// The number of settlements that were taken and are not durable yet.
    unconfirmed: u64,
    /// True if it left, and waits only for confirmations.
    has_left: bool,
}

/// The task's state once it has taken over.
///
/// Invariants:
/// - at most one proposal is under way, and the owner does not end before it is decided: a later owner of the same
///   term would not know of it;
/// - the term is the one in which the state was read.
struct Owner<H: Host> {
    groups: Arc<Groups<H>>,
    name: GroupName,
    leader_term: LeaderTerm,
    reader: Reader,
    clock: Clock,
    dispatcher: Dispatcher<StoredEvent>,
    revision: LogIndex,
    /// True if the group must be read again: it was changed during a proposal, or had no room for one.
    is_stale: bool,
    consumers: BTreeMap<ConsumerId, Consumer>,
    subscription: mpsc::Receiver<Found>,
    /// The events that were read and not taken in yet.
    backlog: VecDeque<StoredEvent>,
    drained: (mpsc::UnboundedSender<ConsumerId>, mpsc::UnboundedReceiver<ConsumerId>),
    proposal: Option<oneshot::Receiver<Answer>>,
    /// The instant before which nothing is proposed.
    rests_until: Option<Instant>,
}

/// Runs until the group has no consumers any more, or cannot be served here any more. A consumer that joins just
/// then learns from the closed channel that the owner has ended.
pub(super) async fn run<H: Host>(
    groups: Arc<Groups<H>>,
    name: GroupName,
    term: Term,
    mut inbox: mpsc::Receiver<Input>,
) {
    let mut leadership = groups.leadership.clone();
    // Every later change of the leadership concerns this owner. A term that is over already will not end again: a
    // consumer that came in it may have been late.
    let leads = leadership.wait_for(|leadership| leadership.has_reached(term)).await;
    if !leads.is_ok_and(|leadership| leadership.leads_in == Some(term)) {
        return refuse(inbox, &unavailable("the leader changed"));
    }
    let mut owner = match Owner::take_over(groups, name, term).await {
        Ok(owner) => owner,
        Err(problem) => return refuse(inbox, &problem),
    };
    let ended = owner.serve(&mut inbox, &mut leadership).await;
    refuse_later(&mut inbox);
    owner.end(ended).await;
}

/// Answers all joins that wait with the reason why there is no owner.
fn refuse(mut inbox: mpsc::Receiver<Input>, problem: &Problem) {
    inbox.close();
    while let Ok(input) = inbox.try_recv() {
        if let Input::Join { reply, .. } = input {
            let _ = reply.send(Err(problem.clone()));
        }
    }
}

/// Drops the inputs that came too late: the next owner serves their consumers.
fn refuse_later(inbox: &mut mpsc::Receiver<Input>) {
    inbox.close();
    while inbox.try_recv().is_ok() {}
}

impl<H: Host> Owner<H> {
    async fn take_over(
        groups: Arc<Groups<H>>,
        name: GroupName,
        term: Term,
    ) -> Result<Owner<H>, Problem> {
        let replica = &groups.appends.replica;
        let (reader, state) = takeover::state(replica, &name).await?;
        let known = takeover::known(replica, &reader, &state).await?;
        let GroupState { definition, revision, floor, .. } = state;
        let subscription =
            subscription::begin(groups.live.clone(), reader.clone(), definition.query, floor);
        let stamp = replica.stamp().ok_or_else(|| unavailable("too few clocks are known yet"))?;
        let clock = Clock::start(stamp, reader.point().recorded_at);
        Ok(Owner {
            name,
            leader_term: LeaderTerm::new(term),
            reader,
            clock,
            dispatcher: Dispatcher::new(definition.settings, known),
            revision,
            is_stale: false,
            consumers: BTreeMap::new(),
            subscription,
            backlog: VecDeque::new(),
            drained: mpsc::unbounded_channel(),
            proposal: None,
            rests_until: None,
            groups,
        })
    }

    /// Serves consumers. Returns none when no consumer is left, else the reason why the owner cannot go on.
    async fn serve(
        &mut self,
        inbox: &mut mpsc::Receiver<Input>,
        leadership: &mut watch::Receiver<LeadershipWatch>,
    ) -> Option<Problem> {
        let stopping = self.groups.stopping.clone();
        let mut was_asked = false;
        let mut sign_at = Instant::now() + LIFE_SIGN_EVERY;
        loop {
            let more = match self.step().await {
                Ok(more) => more,
                Err(problem) => return Some(problem),
            };
            if was_asked && self.is_idle() {
                return None;
            }
            let due = self.due();
            let reads =
                self.backlog.is_empty() && self.dispatcher.has_room() && !self.consumers.is_empty();
            let went = tokio::select! {
                biased;
                () = stopping.cancelled() => Err(problem::stopping(Outcome::NotAppended)),
                changed = leadership.changed() => match changed {
                    Ok(()) => {
                        let now = *leadership.borrow_and_update();
                        self.check_leadership(now).await
                    }
                    Err(_) => Err(problem::stopping(Outcome::NotAppended)),
                },
                () = sleep_until(sign_at) => {
                    sign_at = Instant::now() + LIFE_SIGN_EVERY;
                    self.consumers.values().for_each(|consumer| consumer.outbox.give_sign());
                    Ok(())
                }
                answer = decided(&mut self.proposal) => self.decided(answer).await,
                input = inbox.recv() => match input {
                    Some(input) => {
                        was_asked = true;
                        self.take(input);
                        let more = std::iter::from_fn(|| inbox.try_recv().ok());
                        more.take(INPUTS_AT_ONCE).for_each(|input| self.take(input));
                        Ok(())
                    }
                    None => return None,
                },
                Some(id) = self.drained.1.recv() => {
                    self.dispatcher.set_open(id, true);
                    Ok(())
                }
                found = self.subscription.recv(), if reads => self.take_found(found),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Ok(()),
                () = std::future::ready(()), if more => Ok(()),
            };
            if let Err(problem) = went {
                return Some(problem);
            }
        }
    }

    /// Does the work that waits for no input; returns true if there is more of it.
    async fn step(&mut self) -> Result<bool, Problem> {
        let now = self.clock.now();
        for (id, number) in self.dispatcher.tick(now) {
            if let Some(consumer) = self.consumers.get(&id) {
                consumer.outbox.lapse(vec![number]);
            }
        }
        while self.dispatcher.has_room()
            && let Some(event) = self.backlog.pop_front()
        {
            let bytes = event.size() + event.stream.as_str().len();
            let (position, stream) = (event.position, event.stream.clone());
            self.dispatcher.take(Taken { position, stream, bytes, body: event });
        }
        let mut more = true;
        for _ in 0..HANDED_OUT_AT_ONCE {
            let Some(handed) = self.dispatcher.hand_out(now) else {
                more = false;
                break;
            };
            self.deliver(handed).await?;
        }
        self.propose();
        Ok(more)
    }

    async fn deliver(&mut self, mut handed: Handed<StoredEvent>) -> Result<(), Problem> {
        let event = match handed.body.take() {
            Some(event) => Some(event),
            None => {
                let replica = &self.groups.appends.replica;
                let (reader, position) = (self.reader.clone(), handed.position);
                let read = replica.host().run(move || events::at(&reader, position)).await;
                read.map_err(|fault| problem::of_found(replica, &fault))?
            }
        };
        let Some(event) = event else {
            self.dispatcher.gone(&handed);
            return Ok(());
        };
        let Some(consumer) = self.consumers.get(&handed.consumer) else { return Ok(()) };
        let bytes = event.size() + event.stream.as_str().len();
        let (number, attempt) = (handed.number, handed.attempt);
        let event = Some(event.decode().into());
        let timeout_ms = self.dispatcher.settings().timeout_ms;
        if !consumer.outbox.deliver(v1::Delivery { number, event, attempt, timeout_ms }, bytes) {
            self.dispatcher.set_open(handed.consumer, false);
        }
        Ok(())
    }

    /// Proposes the outcomes of events, unless a proposal is under way already or must wait.
    fn propose(&mut self) {
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if self.proposal.is_some() || rests || self.is_stale {
            return;
        }
        self.rests_until = None;
        // Once the last consumer has left, the floor is proposed even if it moved only a little.
        let goes_on = !self.consumers.is_empty();
        let Some(progress) = self.dispatcher.propose(goes_on) else { return };
        let encoded = encode_group_progress(&self.name, self.leader_term.term, &progress);
        debug_assert_eq!(GroupRequest::Progress(progress).check(), Ok(()));
        self.proposal = Some(self.groups.appends.propose_progress(&self.leader_term, encoded));
    }

    async fn decided(&mut self, answer: Answer) -> Result<(), Problem> {
        self.proposal = None;
        match answer {
            Answer::Applied(Applied::Group(GroupOutcome::Done(_))) => self.confirm(),
            Answer::Applied(Applied::Group(GroupOutcome::NotFound)) => return Err(self.why_gone()),
            Answer::Applied(Applied::Group(GroupOutcome::Full)) => {
                self.dispatcher.refused(self.clock.now());
                self.rests_until = Some(Instant::now() + ROOM_LOOKED_FOR_AFTER);
                self.is_stale = true;
            }
            Answer::Lost(problem) if problem.outcome == Outcome::NotAppended => {
                self.dispatcher.put_back();
                let rest = match problem.kind {
                    ErrorKind::NoSpace => ROOM_LOOKED_FOR_AFTER,
                    _ => PROPOSED_AGAIN_AFTER,
                };
                self.rests_until = Some(Instant::now() + rest);
            }
            _ => return Err(unavailable("it is not known whether the progress was kept")),
        }
        if self.is_stale { self.sync().await } else { Ok(()) }
    }

    /// Confirms durable settlements to their consumers, and ends the streams of those that have left.
    fn confirm(&mut self) {
        for (id, number) in self.dispatcher.applied() {
            if let Some(consumer) = self.consumers.get_mut(&id) {
                consumer.outbox.confirm(number);
                consumer.unconfirmed = consumer.unconfirmed.saturating_sub(1);
            }
        }
        self.dismiss();
    }

    /// Ends the streams of consumers that have left and wait for no confirmation.
    fn dismiss(&mut self) {
        let is_done = |consumer: &Consumer| consumer.has_left && consumer.unconfirmed == 0;
        let done = self.consumers.iter().filter(|(_, consumer)| is_done(consumer));
        let done: Vec<ConsumerId> = done.map(|(id, _)| *id).collect();
        for consumer in done.iter().filter_map(|id| self.consumers.remove(id)) {
            consumer.outbox.end(None);
        }
    }

    /// Checks the leadership and the group, after the leadership or some group changed.
    async fn check_leadership(&mut self, leadership: LeadershipWatch) -> Result<(), Problem> {
        if leadership.leads_in != Some(self.leader_term.term) {
            return Err(unavailable("the leader changed"));
        }
        match self.reader.group_revision(&self.name) {
            Some(revision) if revision == self.revision => Ok(()),
            _ if self.proposal.is_some() => {
                self.is_stale = true;
                Ok(())
            }
            _ => self.sync().await,
        }
    }

    /// Takes over changes that others made to the group. No proposal may be under way: otherwise the dispatcher could
    /// be ahead of the log.
    async fn sync(&mut self) -> Result<(), Problem> {
        let replica = &self.groups.appends.replica;
        let state = self.reader.group(&self.name).ok_or_else(|| not_found(&self.name))?;
        let settings = state.definition.settings;
        let strategy = self.dispatcher.settings().strategy;
        if state.incarnation != self.dispatcher.incarnation() || settings.strategy != strategy {
            return Err(self.why_gone());
        }
        if settings.timeout_ms != self.dispatcher.settings().timeout_ms {
            let outboxes = self.consumers.values().map(|consumer| &consumer.outbox);
            outboxes.for_each(|outbox| outbox.set_timeout(settings.timeout_ms));
        }
        self.dispatcher.configure(settings);
        let is_new = |position| !self.dispatcher.knows(position);
        let failed = state.failed.into_iter().filter(|failed| is_new(failed.position)).collect();
        let failed = takeover::with_streams(replica, &self.reader, strategy, failed).await?;
        self.dispatcher.take_failed(failed);
        self.dispatcher.set_parked(state.parked.len());
        self.revision = state.revision;
        self.is_stale = false;
        Ok(())
    }

    /// Returns the reason why the group that this owner knows is not there any more.
    fn why_gone(&self) -> Problem {
        match self.reader.group_revision(&self.name) {
            Some(_) => unavailable("the group was reset, or is shared in another way now"),
            None => not_found(&self.name),
        }
    }

    fn take_found(&mut self, found: Option<Found>) -> Result<(), Problem> {
        match found {
            Some(Found::Events(events)) => self.backlog.extend(events),
            Some(Found::Through(position)) => self.dispatcher.read_through(position),
            Some(Found::Broken(problem)) => return Err(problem),
            None => return Err(unavailable("the events of the group cannot be read any more")),
        }
        Ok(())
    }

    /// Returns the instant at which there is work although no input came.
    fn due(&self) -> Option<Instant> {
        let due = self.dispatcher.next_due().map(|due| self.clock.instant(due));
        due.into_iter().chain(self.rests_until).min()
    }

    /// Returns true if there are no consumers, and no outcomes that the log lacks.
    fn is_idle(&self) -> bool {
        self.consumers.is_empty() && self.proposal.is_none() && !self.dispatcher.has_news()
    }

    /// Ends all streams, and waits for the proposal under way; if it is decided soon, it is still confirmed.
    async fn end(mut self, why: Option<Problem>) {
        if let Some(why) = &why {
            tracing::debug!(group = %self.name, %why, "the consumers of a group are sent away");
        }
        if self.proposal.is_some()
            && let Ok(answer) = timeout(LAST_CONFIRMED_WITHIN, decided(&mut self.proposal)).await
        {
            let _ = self.decided(answer).await;
        }
        for (_, consumer) in std::mem::take(&mut self.consumers) {
            consumer.outbox.end(why.clone());
        }
        if self.proposal.is_some() {
            decided(&mut self.proposal).await;
        }
    }
}

/// Waits for the answer to the proposal under way; for ever if there is none.
async fn decided(proposal: &mut Option<oneshot::Receiver<Answer>>) -> Answer {
    match proposal {
        None => std::future::pending().await,
        Some(receiver) => {
            let lost = || Answer::Lost(problem::stopping(Outcome::Unknown));
            receiver.await.unwrap_or_else(|_| lost())
        }
    }
}
