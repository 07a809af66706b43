//! Decisions on their way: recognized if repeated, made, appended on their condition, and made again after a conflict.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use quorate_client::{
    AppendError, Client, Conflict, ErrorKind, Event, Position, Problem, Query, RecordedEvent,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::rule::Decision;
use super::writes::{Write, Writes};
use crate::decider::commands::{Answer, CommandId};
use crate::decider::time::{late, left, rest_after};
use crate::decider::{CommandError, Context};
use crate::evolution::{EventSet, OnUnknown, decode_known};

/// Makes decisions over a store. Cheap to clone.
///
/// ```no_run
/// # use quorate_app::decider::CommandError;
/// # use quorate_app::decision::{Decision, Decisions};
/// # async fn example<D: Decision>(client: quorate_client::Client, transfer: D) -> Result<(), CommandError<D::Error>> {
/// let decisions = Decisions::new(client).retries(3);
/// let made = decisions.make(&transfer).await?;
/// println!("{} events, the last one at position {}", made.events, made.position);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Decisions {
    client: Client,
    on_unknown: OnUnknown,
    retries: u32,
    deadline: Duration,
}

impl Decisions {
    /// Makes decisions that are made again ten times at most, within ten seconds.
    ///
    /// ```no_run
    /// # fn example(client: quorate_client::Client) {
    /// use quorate_app::decision::Decisions;
    /// let decisions = Decisions::new(client).retries(3).deadline(std::time::Duration::from_secs(2));
    /// # let _ = decisions; }
    /// ```
    pub fn new(client: Client) -> Decisions {
        let deadline = Duration::from_secs(10);
        Decisions { client, on_unknown: OnUnknown::Error, retries: 10, deadline }
    }

    /// Sets the number of times that a decision is made anew after an event came that it rests on.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Decisions {
        self.retries = retries;
        self
    }

    /// Sets the time within which a decision ends.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Decisions {
        self.deadline = deadline;
        self
    }

    /// Sets the action on an event that the query finds and that is none of the decision's; by default it is an error.
    #[must_use]
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Decisions {
        self.on_unknown = on_unknown;
        self
    }

    /// Makes a decision. Nothing is done before the returned value is awaited.
    ///
    /// ```no_run
    /// # use quorate_app::decider::CommandError;
    /// # use quorate_app::decision::{Decision, Decisions};
    /// # async fn example<D: Decision>(decisions: Decisions, transfer: D) -> Result<(), CommandError<D::Error>> {
    /// let made = decisions.make(&transfer).command_id("cmd-91").created_by("ann").await?;
    /// # let _ = made; Ok(()) }
    /// ```
    pub fn make<'a, D: Decision>(&'a self, decision: &'a D) -> Make<'a, D> {
        let (context, deadline) = (Context::new(), self.deadline);
        Make { decisions: self, decision, command_id: None, context, deadline }
    }
}

/// A decision before it is awaited.
///
/// ```no_run
/// # use quorate_app::decider::CommandError;
/// # use quorate_app::decision::{Decision, Decisions};
/// # async fn example<D: Decision>(decisions: Decisions, transfer: D) -> Result<(), CommandError<D::Error>> {
/// use std::time::Duration;
/// let make = decisions.make(&transfer).command_id("cmd-91").created_by("ann").tenant("acme");
/// let made = make.deadline(Duration::from_secs(2)).await?;
/// # let _ = made; Ok(()) }
/// ```
#[must_use = "nothing is done before it is awaited"]
pub struct Make<'a, D: Decision> {
    decisions: &'a Decisions,
    decision: &'a D,
    command_id: Option<String>,
    context: Context,
    deadline: Duration,
}

impl<D: Decision> std::fmt::Debug for Make<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Make").field("command_id", &self.command_id).finish_non_exhaustive()
    }
}

/// The answer to a decision that was made.
///
/// ```no_run
/// # use quorate_app::decider::CommandError;
/// # use quorate_app::decision::{Decision, Decisions};
/// # async fn example<D: Decision>(decisions: Decisions, transfer: D) -> Result<(), CommandError<D::Error>> {
/// let made = decisions.make(&transfer).command_id("cmd-91").await?;
/// match made.is_repetition {
///     true => println!("transferred before, at position {}", made.position),
///     false => println!("transferred, with {} events", made.events),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The position of the last event: read at least this position to see the decision. If nothing was decided: the
    /// position up to which the decision saw everything.
    pub position: Position,
    /// The number of events that followed; 0 also for a repetition.
    pub events: usize,
    /// True if the decision had been made before, and this is its first answer.
    pub is_repetition: bool,
}

impl<'a, D: Decision> Make<'a, D> {
    /// Sets the id of the command, which is the same whenever it is repeated. It is also the correlation and causation
    /// id of the events, unless others are set.
    pub fn command_id(mut self, id: impl Into<String>) -> Make<'a, D> {
        self.command_id = Some(id.into());
        self
    }

    /// Sets the id of the command, if there is one.
    pub fn command_id_if(mut self, id: Option<String>) -> Make<'a, D> {
        self.command_id = id.or(self.command_id);
        self
    }

    /// Sets the id of the larger activity that the command belongs to.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Make<'a, D> {
        self.context.correlation_id = id.into();
        self
    }

    /// Sets the id of the command's cause, of an event for example.
    pub fn causation(mut self, id: impl Into<String>) -> Make<'a, D> {
        self.context.causation_id = id.into();
        self
    }

    /// Sets the user on whose behalf the decision is made.
    pub fn created_by(mut self, user: impl Into<String>) -> Make<'a, D> {
        self.context.created_by = user.into();
        self
    }

    /// Sets the tenant, for the metadata of the events and for the command id. The streams and the query are the
    /// decision's own.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Make<'a, D> {
        self.context.tenant = tenant.into();
        self
    }

    /// Sets the whole context at once: that of a request, or of what [follows](Context::following) from an event.
    pub fn context(mut self, context: Context) -> Make<'a, D> {
        self.context = context;
        self
    }

    /// Sets the time within which the decision ends.
    pub fn deadline(mut self, deadline: Duration) -> Make<'a, D> {
        self.deadline = deadline;
        self
    }

    async fn run(self) -> Result<Made, CommandError<D::Error>> {
        let Make { decisions, decision, command_id, mut context, deadline } = self;
        let scope = match &*context.tenant {
            "" => D::NAME.to_owned(),
            tenant => format!("{tenant}/{}", D::NAME),
        };
        let command_id = command_id.map(|id| CommandId::within(&scope, id)).transpose()?;
        if let Some(id) = &command_id {
            context = context.or_by_command(id.as_str());
        }
        let give_up_at = Instant::now() + deadline;
        Attempt { decisions, decision, scope, command_id, context, give_up_at }.run().await
    }
}

impl<'a, D: Decision> IntoFuture for Make<'a, D> {
    type Output = Result<Made, CommandError<D::Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A decision under way.
struct Attempt<'a, D> {
    decisions: &'a Decisions,
    decision: &'a D,
    scope: String,
    command_id: Option<CommandId>,
    context: Context,
    give_up_at: Instant,
}

/// The events that a decision rests on, as of a position.
enum Known<S> {
    State(S, Position),
    /// The decision had been made before.
    Before(Answer),
}

/// The end of one append.
enum Appended {
    Now(Position),
    Before(Answer),
    Conflict(Conflict),
}

type Failure<D> = CommandError<<D as Decision>::Error>;

impl<D: Decision> Attempt<'_, D> {
    async fn run(&self) -> Result<Made, Failure<D>> {
        let mut conflicts = 0;
        loop {
            let known = timeout_at(self.give_up_at, self.read());
            let (state, as_of) = match known.await.map_err(|_| late("decision"))?? {
                Known::State(state, as_of) => (state, as_of),
                Known::Before(first) => return Ok(repetition(first)),
            };
            let decided = self.decision.decide(&state).map_err(CommandError::Refused)?;
            drop(state);
            if decided.is_nothing() {
                return Ok(Made { position: as_of, events: 0, is_repetition: false });
            }
            let events = decided.count();
            match self.append(self.written(&decided)?, as_of).await? {
                Appended::Now(position) => {
                    return Ok(Made { position, events, is_repetition: false });
                }
                Appended::Before(first) => return Ok(repetition(first)),
                Appended::Conflict(conflict) => {
                    conflicts += 1;
                    if conflicts > self.decisions.retries {
                        return Err(CommandError::Conflict { attempts: conflicts, conflict });
                    }
                    sleep(rest_after(conflicts)).await;
                }
            }
        }
    }

    /// Returns the query for all that matters: the events that the decision rests on, and the event by which this very
    /// command was carried out before.
    fn query(&self) -> Query {
        let query = self.decision.query();
        match &self.command_id {
            Some(id) => query.or(Query::tag(id.tag())),
            None => query,
        }
    }

    async fn read(&self) -> Result<Known<D::State>, Failure<D>> {
        let mut events = self.client().read(self.query()).stream().await?;
        let (as_of, mut state) = (events.as_of(), D::State::default());
        while let Some(event) = events.try_next().await? {
            if self.command_id.as_ref().is_some_and(|id| event.has_tag(id.tag())) {
                return Ok(Known::Before(answer(&event)));
            }
            let decoded = decode_known::<D::Event>(&event, self.decisions.on_unknown);
            if let Some(decoded) = decoded.map_err(CommandError::Decode)? {
                self.decision.evolve(&mut state, decoded, &event);
            }
        }
        Ok(Known::State(state, as_of))
    }

    async fn append(
        &self,
        writes: Vec<Write<Event>>,
        as_of: Position,
    ) -> Result<Appended, Failure<D>> {
        let mut transaction = self.client().transaction().unless(self.query(), as_of);
        for Write { stream, expect, events } in writes {
            transaction = transaction.write(stream, expect, events);
        }
        match transaction.commit().await {
            // An append from before `as_of` was made by this very command.
            Ok(done) if done.position <= as_of => {
                Ok(Appended::Before(Answer { version: done.version, position: done.position }))
            }
            Ok(done) => Ok(Appended::Now(done.position)),
            Err(AppendError::Conflict(conflict)) => Ok(Appended::Conflict(conflict)),
            Err(AppendError::Unknown(unknown)) => Err(CommandError::Unknown(unknown)),
            Err(AppendError::Rejected(problem)) => self.rejected(problem).await,
        }
    }

    /// Finds out why an append was rejected: ids that are in the log already are those of this very command, decided
    /// otherwise before.
    async fn rejected(&self, problem: Problem) -> Result<Appended, Failure<D>> {
        if problem.kind == ErrorKind::IdReused
            && let Some(id) = &self.command_id
        {
            let found = self.client().read(Query::tag(id.tag())).limit(1).collect();
            let found =
                timeout_at(self.give_up_at, found).await.map_err(|_| late("decision"))??;
            if let Some(event) = found.events.first() {
                return Ok(Appended::Before(answer(event)));
            }
        }
        Err(CommandError::Store(problem))
    }

    /// Returns the events of a decision as they are written.
    fn written(&self, decided: &Writes<D::Event>) -> Result<Vec<Write<Event>>, Failure<D>> {
        let all = decided.writes.iter().flat_map(|write| &write.events);
        let stamped = all.map(|event| self.context.stamp(event.encode()?));
        let stamped = stamped.collect::<Result<Vec<Event>, _>>()?;
        let marked = match &self.command_id {
            Some(id) => id.mark(&self.scope, stamped),
            None => stamped,
        };
        let mut marked = marked.into_iter();
        let write = |write: &Write<D::Event>| Write {
            stream: write.stream.clone(),
            expect: write.expect,
            events: marked.by_ref().take(write.events.len()).collect(),
        };
        Ok(decided.writes.iter().map(write).collect())
    }

    fn client(&self) -> Client {
        self.decisions.client.with_deadline(left(self.give_up_at))
    }
}

fn answer(event: &RecordedEvent) -> Answer {
    Answer { version: event.version, position: event.position }
}

fn repetition(first: Answer) -> Made {
    Made { position: first.position, events: 0, is_repetition: true }
}
