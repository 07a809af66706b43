//! A command before it is carried out: its id, its context and its deadline.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use quorate_client::Invalid;
use tokio::time::{Instant, sleep, timeout_at};

use super::attempt::{Attempt, Handled};
use super::commands::CommandId;
use super::decide::Decider;
use super::error::CommandError;
use super::repository::{Repository, stream_of};
use super::time::{late, rest_after_failure};
use crate::context::Context;

/// A command before it is awaited: with its id, its context and its deadline.
///
/// **Repetitions.** A command with a command id is carried out once, however often it is handled, by whatever process:
/// before anything is decided, the id is looked up among the commands of the aggregate, and a command that is there
/// gets its first answer. If two repetitions race, the ids of their events are the same, so the store appends the
/// events of one. A command is found as long as its last event can be read; one whose events were removed is refused as
/// `IdReused` as long as the store remembers the ids (of the newest 4,194,304 positions). A command from which nothing
/// followed leaves no trace, and is decided again.
///
/// ```no_run
/// # use quorate_app::decider::{CommandError, Decider, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command) -> Result<(), CommandError<D::Error>> {
/// use std::time::Duration;
/// let handle = orders.handle("42", &pay).command_id("cmd-91").created_by("ann").correlation_id("req-7");
/// let done = handle.deadline(Duration::from_secs(2)).await?;
/// # let _ = done; Ok(()) }
/// ```
#[must_use = "nothing is done before it is awaited"]
pub struct Handle<'a, D: Decider> {
    repository: &'a Repository<D>,
    id: String,
    command: &'a D::Command,
    command_id: Option<String>,
    context: Context,
    deadline: Duration,
    patience: Option<Duration>,
}

opaque_debug_decider!(Handle<'_>);

impl<D: Decider> Repository<D> {
    /// Carries out a command on an aggregate: loads its state, decides, and appends what was decided, on condition that
    /// nothing happened meanwhile. Nothing is done before the returned value is awaited.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{CommandError, Decider, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command) -> Result<(), CommandError<D::Error>> {
    /// let done = orders.handle("42", &pay).command_id("cmd-91").await?;
    /// println!("{} events, version {}", done.events, done.version);
    /// # Ok(()) }
    /// ```
    pub fn handle<'a>(&'a self, id: impl Into<String>, command: &'a D::Command) -> Handle<'a, D> {
        let context = Context::new().tenant(self.tenant.clone());
        Handle::new(self, id.into(), command, context)
    }
}

impl<'a, D: Decider> Handle<'a, D> {
    fn new(
        repository: &'a Repository<D>,
        id: String,
        command: &'a D::Command,
        context: Context,
    ) -> Handle<'a, D> {
        let deadline = repository.settings.deadline;
        Handle { repository, id, command, command_id: None, context, deadline, patience: None }
    }

    /// Sets the id of the command, which is the same whenever it is repeated: at most 120 bytes. It is also the
    /// correlation and causation id of the events, unless others are set.
    pub fn command_id(mut self, id: impl Into<String>) -> Handle<'a, D> {
        self.command_id = Some(id.into());
        self
    }

    /// Sets the id of the command, if there is one: that of a request that may have one, for example.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command, key: Option<String>)
    /// # -> Result<(), Box<dyn std::error::Error>> where D::Command: 'static {
    /// orders.handle("42", &pay).command_id_if(key).await?;
    /// # Ok(()) }
    /// ```
    pub fn command_id_if(mut self, id: Option<String>) -> Handle<'a, D> {
        self.command_id = id.or(self.command_id);
        self
    }

    /// Sets the id of the larger activity that the command belongs to.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Handle<'a, D> {
        self.context.correlation_id = id.into();
        self
    }

    /// Sets the id of the command's cause, of an event for example.
    pub fn causation(mut self, id: impl Into<String>) -> Handle<'a, D> {
        self.context.causation_id = id.into();
        self
    }

    /// Sets the user on whose behalf the command is carried out.
    pub fn created_by(mut self, user: impl Into<String>) -> Handle<'a, D> {
        self.context.created_by = user.into();
        self
    }

    /// Sets the tenant: the aggregate's stream lies in the path of that name.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Handle<'a, D> {
        self.context.tenant = tenant.into();
        self
    }

    /// Sets the whole context at once: that of a request, or of what [follows](Context::following) from an event.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Context, Decider, Repository};
    /// # use quorate_client::RecordedEvent;
    /// # async fn example<D: Decider>(orders: Repository<D>, ship: D::Command, paid: RecordedEvent)
    /// # -> Result<(), Box<dyn std::error::Error>> where D::Command: 'static {
    /// orders.handle("42", &ship).context(Context::following(&paid)).await?;
    /// # Ok(()) }
    /// ```
    pub fn context(mut self, context: Context) -> Handle<'a, D> {
        let tenant = std::mem::take(&mut self.context.tenant);
        self.context = context;
        if self.context.tenant.is_empty() {
            self.context.tenant = tenant;
        }
        self
    }

    /// Sets the time within which the command ends.
    pub fn deadline(mut self, deadline: Duration) -> Handle<'a, D> {
        self.deadline = deadline;
        self
    }

    /// Handles the command again and again, for this time at most, while it fails in a way that may pass: its outcome is
    /// then known in the end, but for an outage that lasts longer. The command needs a command id.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use quorate_app::decider::{Decider, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command)
    /// # -> Result<(), Box<dyn std::error::Error>> where D::Command: 'static {
    /// orders.handle("42", &pay).command_id("cmd-91").patiently(Duration::from_secs(60)).await?;
    /// # Ok(()) }
    /// ```
    pub fn patiently(mut self, longest: Duration) -> Handle<'a, D> {
        self.patience = Some(longest);
        self
    }

    async fn run(self) -> Result<Handled<D::State>, CommandError<D::Error>> {
        let stream = stream_of::<D>(&self.context.tenant, &self.id)?;
        let command_id = self.command_id.map(CommandId::new).transpose()?;
        if self.patience.is_some() && command_id.is_none() {
            return Err(
                Invalid::new("command id", "is missing: a patient command needs one").into()
            );
        }
        let give_up_at = Instant::now() + self.deadline;
        let context = match &command_id {
            Some(id) => self.context.or_by_command(id.as_str()),
            None => self.context,
        };
        let (repository, command) = (self.repository, self.command);
        let mut attempt = Attempt { repository, stream, command, command_id, context, give_up_at };
        let patient_until = self.patience.map(|longest| Instant::now() + longest);
        let mut failed = 0;
        loop {
            let rest = rest_after_failure(failed);
            let may_wait = |now: Instant| patient_until.is_some_and(|end| now + rest < end);
            match once(&attempt).await {
                Err(error) if error.is_transient() && may_wait(Instant::now()) => {
                    tracing::debug!(stream = %attempt.stream, %error, "a command is handled again");
                    sleep(rest).await;
                    failed += 1;
                    attempt.give_up_at = Instant::now() + self.deadline;
                }
                ended => return ended,
            }
        }
    }
}

/// Handles a command, in its turn among those of this process on the same aggregate.
async fn once<D: Decider>(
    attempt: &Attempt<'_, D>,
) -> Result<Handled<D::State>, CommandError<D::Error>> {
    let Some(place) = attempt.repository.cache.place(&attempt.stream) else {
        return attempt.run(&mut None).await;
    };
    let held = timeout_at(attempt.give_up_at, place.lock()).await;
    attempt.run(&mut *held.map_err(|_| late("command"))?).await
}

impl<'a, D: Decider> IntoFuture for Handle<'a, D> {
    type Output = Result<Handled<D::State>, CommandError<D::Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
