//! Commands on their way: recognized if repeated, decided, appended, and decided again after a conflict.

use std::sync::Arc;

use quorate_client::{
    AppendError, Client, Conflict, ErrorKind, Event, Expect, Position, Problem, StreamName, Version,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::aggregate::Aggregate;
use super::commands::{Answer, CommandId};
use super::decide::Decider;
use super::error::{CommandError, LoadError};
use super::loading::{Loading, Moment, control_of};
use super::repository::Repository;
use super::time::{late, left, rest_after};
use crate::context::Context;
use crate::evolution::EventSet;

/// The answer to a command that was carried out.
///
/// ```no_run
/// # use quorate_app::decider::{CommandError, Decider, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command) -> Result<(), CommandError<D::Error>> {
/// let done = orders.handle("42", &pay).command_id("cmd-91").await?;
/// if !done.is_repetition {
///     println!("{} events, the last one at position {}", done.events, done.position);
/// }
/// // A read model shows the payment when it has reached that position.
/// let order = orders.load("42").at_least(done.position).await;
/// # let _ = order; Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Handled<S> {
    /// The version of the stream after the command.
    pub version: Version,
    /// The position of the command's last event: read at least this position to see it. If nothing followed from the
    /// command: a position up to which the decision saw everything.
    pub position: Position,
    /// The number of events that followed; 0 also for a repetition.
    pub events: usize,
    /// True if the command had been carried out before, and this is its first answer.
    pub is_repetition: bool,
    /// The state after the command; after a repetition of one whose events were removed since, the newest state.
    pub state: Arc<S>,
}

/// A command under way.
pub(crate) struct Attempt<'a, D: Decider> {
    pub(crate) repository: &'a Repository<D>,
    pub(crate) stream: StreamName,
    pub(crate) command: &'a D::Command,
    pub(crate) command_id: Option<CommandId>,
    pub(crate) context: Context,
    pub(crate) give_up_at: Instant,
}

/// The end of one append.
enum Appended {
    /// The decision was appended.
    Now(Answer),
    /// The command had been carried out before.
    Before(Answer),
    /// The control stream is at that version: the stream was deleted, or set otherwise.
    Changed(Version),
    Conflict(Conflict),
}

type Failure<D> = CommandError<<D as Decider>::Error>;

impl<D: Decider> Attempt<'_, D> {
    /// Carries out the command, from a state that may be old. Leaves the state that is known then: none if the command
    /// is given up in the middle.
    pub(crate) async fn run(
        &self,
        known: &mut Option<Aggregate<D::State>>,
    ) -> Result<Handled<D::State>, Failure<D>> {
        let (mut conflicts, mut is_fresh) = (0, known.is_none());
        let mut aggregate = match known.take() {
            Some(known) => known,
            None => self.newest().await?,
        };
        loop {
            if let Some(first) = self.first_answer(&aggregate).await? {
                let aggregate = known.insert(aggregate);
                return self.repetition(first, aggregate).await;
            }
            let decided = match D::decide(&aggregate.state, self.command) {
                Ok(decided) if !decided.is_empty() => decided,
                // Without an append the store does not find out that the state is old.
                _ if !is_fresh => {
                    (aggregate, is_fresh) = (self.refresh(aggregate).await?, true);
                    continue;
                }
                Ok(_) => return Ok(self.handled(known.insert(aggregate), 0)),
                Err(error) => {
                    *known = Some(aggregate);
                    return Err(CommandError::Refused(error));
                }
            };
            match self.append(&aggregate, self.written(&decided)?).await? {
                Appended::Now(answer) => {
                    let events = decided.len();
                    aggregate.take_decided::<D>(decided, answer, self.command_id.as_ref());
                    self.repository.offer_snapshot(&self.stream, &mut aggregate);
                    return Ok(self.handled(known.insert(aggregate), events));
                }
                Appended::Before(first) => {
                    let aggregate = known.insert(self.newest().await?);
                    return self.repetition(first, aggregate).await;
                }
                Appended::Changed(control) => {
                    (aggregate, is_fresh) = (self.refresh(aggregate).await?, true);
                    aggregate.control = aggregate.control.max(control);
                    self.repository.cache.note_control(&self.stream, aggregate.control);
                }
                Appended::Conflict(conflict) => {
                    conflicts += 1;
                    if conflicts > self.repository.settings.retries {
                        return Err(CommandError::Conflict { attempts: conflicts, conflict });
                    }
                    sleep(rest_after(conflicts)).await;
                    (aggregate, is_fresh) = (self.refresh(aggregate).await?, true);
                }
            }
        }
    }

    /// Returns the answer that the command got before, as far as the state reaches: what came later is a conflict.
    async fn first_answer(
        &self,
        aggregate: &Aggregate<D::State>,
    ) -> Result<Option<Answer>, Failure<D>> {
        let Some(id) = &self.command_id else { return Ok(None) };
        match aggregate.recent.answer(id) {
            None if !aggregate.recent.is_complete() => self.look_up(id, aggregate.as_of).await,
            found => Ok(found),
        }
    }

    /// Looks the command up in the stream, as of a position at least; 0 = now.
    async fn look_up(
        &self,
        id: &CommandId,
        at_least: Position,
    ) -> Result<Option<Answer>, Failure<D>> {
        let read = self.client().read(self.stream.clone()).tags([id.tag()]).limit(1);
        let found = match at_least {
            Position::ZERO => read.collect(),
            position => read.at_least(position).collect(),
        };
        let found = timeout_at(self.give_up_at, found).await.map_err(|_| late("command"))??;
        let answer = |event: &quorate_client::RecordedEvent| Answer {
            version: event.version,
            position: event.position,
        };
        Ok(found.events.first().map(answer))
    }

    /// Appends a decision at exactly the version that it rests on, if the stream was not deleted since.
    async fn append(
        &self,
        aggregate: &Aggregate<D::State>,
        events: Vec<Event>,
    ) -> Result<Appended, Failure<D>> {
        let expected = aggregate.version.plus(events.len() as u64);
        let mut transaction = self.client().transaction().write(
            self.stream.as_str(),
            Expect::version(aggregate.version),
            events,
        );
        let control = control_of(&self.stream);
        if let Some(control) = &control {
            transaction = transaction.require(control.as_str(), Expect::version(aggregate.control));
        }
        match transaction.commit().await {
            Ok(done) => {
                let answer = Answer { version: done.version, position: done.position };
                let is_now = done.version == expected;
                Ok(if is_now { Appended::Now(answer) } else { Appended::Before(answer) })
            }
            Err(AppendError::Conflict(conflict)) => {
                let failed =
                    conflict.failures.iter().find(|one| Some(&one.stream) == control.as_ref());
                let changed = failed.map(|failure| Appended::Changed(failure.actual));
                Ok(changed.unwrap_or(Appended::Conflict(conflict)))
            }
            Err(AppendError::Unknown(unknown)) => Err(CommandError::Unknown(unknown)),
            Err(AppendError::Rejected(problem)) => self.rejected(problem).await,
        }
    }

    /// Finds out why an append was rejected: ids that are in the log already are those of this very command, decided
    /// otherwise before.
    async fn rejected(&self, problem: Problem) -> Result<Appended, Failure<D>> {
        if problem.kind == ErrorKind::IdReused
            && let Some(id) = &self.command_id
            && let Some(first) = self.look_up(id, Position::ZERO).await?
        {
            return Ok(Appended::Before(first));
        }
        Err(CommandError::Store(problem))
    }

    /// Returns the events of a decision as they are written.
    fn written(&self, decided: &[D::Event]) -> Result<Vec<Event>, Failure<D>> {
        let stamped = decided.iter().map(|event| self.context.stamp(event.encode()?));
        let stamped = stamped.collect::<Result<Vec<Event>, _>>()?;
        Ok(match &self.command_id {
            Some(id) => id.mark(self.stream.as_str(), stamped),
            None => stamped,
        })
    }

    fn handled(&self, aggregate: &Aggregate<D::State>, events: usize) -> Handled<D::State> {
        Handled {
            version: aggregate.version,
            position: aggregate.as_of,
            events,
            is_repetition: false,
            state: Arc::clone(&aggregate.state),
        }
    }

    /// Returns the first answer, with the state as it was then.
    async fn repetition(
        &self,
        first: Answer,
        aggregate: &Aggregate<D::State>,
    ) -> Result<Handled<D::State>, Failure<D>> {
        let Answer { version, position } = first;
        let state = if aggregate.version == version {
            Arc::clone(&aggregate.state)
        } else {
            let client = self.client();
            let then = self.loading(&client);
            let then = then.at::<D>(Moment::Version(version), position);
            match timeout_at(self.give_up_at, then).await.map_err(|_| late("command"))? {
                Ok(then) => then.state,
                Err(LoadError::Store(problem)) if problem.kind == ErrorKind::Forgotten => {
                    Arc::clone(&aggregate.state)
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Handled { version, position, events: 0, is_repetition: true, state })
    }

    async fn newest(&self) -> Result<Aggregate<D::State>, Failure<D>> {
        // A change that was known before the state is read is in the state.
        let control = self.repository.cache.control(&self.stream);
        let client = self.client();
        let loading = self.loading(&client);
        let newest = timeout_at(self.give_up_at, loading.newest::<D>(Position::ZERO));
        Ok(Aggregate { control, ..newest.await.map_err(|_| late("command"))?? })
    }

    async fn refresh(
        &self,
        aggregate: Aggregate<D::State>,
    ) -> Result<Aggregate<D::State>, Failure<D>> {
        let client = self.client();
        let loading = self.loading(&client);
        let refreshed = loading.refresh::<D>(aggregate);
        Ok(timeout_at(self.give_up_at, refreshed).await.map_err(|_| late("command"))??)
    }

    fn loading<'b>(&'b self, client: &'b Client) -> Loading<'b, D::State> {
        self.repository.loading(client, &self.stream)
    }

    fn client(&self) -> Client {
        self.repository.client.with_deadline(left(self.give_up_at))
    }
}
