//! A process manager at work: follows the log, decides, appends, and fires what is due.

use std::time::Duration;

use quorate_client::{Conflict, ErrorKind, Invalid, RecordedEvent, StreamName};
use tokio::time::{Instant, sleep, sleep_until};

use crate::process::bookmark::{self, Bookmark, Bookmarks};
use crate::process::decide::{self, Plan, Undecided};
use crate::process::error::ProcessError;
use crate::process::instances::Instances;
use crate::process::log::{Interest, Log, LogMessage, Page, Part, Refusal, Stretch, Subscription};
use crate::process::manager::{Cause, Due, ProcessManager, Trigger};
use crate::process::record::Known;
use crate::process::settings::{OnFailure, Settings};

/// The number of events in one page, where the log is read and not followed.
const PAGE: u64 = 64;
/// The longest sleep while a due time is outstanding: a clock that jumps is noticed by then.
const CLOCK_TRUSTED: Duration = Duration::from_secs(1);
/// The rest before a trigger is tried again after a conflict on another stream; it doubles with each attempt.
const REST: Duration = Duration::from_millis(20);
/// The longest rest before another attempt.
const REST_MAX: Duration = Duration::from_secs(2);

/// A manager at work.
///
/// Invariants:
/// - Everything of interest up to `handled` is handled: whatever follows from it is in the log.
/// - Nothing fires before everything is handled that was acknowledged before the moment at which it is due.
/// - It may be dropped at any point: everything that it knows is in the log, and unfinished work leaves nothing behind.
pub(crate) struct Running<'a, M, L> {
    log: &'a L,
    manager: &'a M,
    settings: Settings,
    interest: Interest,
    instances: Instances,
    bookmarks: Bookmarks,
    handled: u64,
    /// True once everything that was in the log at the start was seen: nothing fires before.
    is_current: bool,
    /// The time at which something was last handled.
    busy_at: Instant,
}

/// The result of the attempt to append a decision.
enum Tried {
    Settled,
    Again,
    Conflict(Conflict),
    Failed(String),
}

impl<'a, M: ProcessManager, L: Log> Running<'a, M, L> {
    /// Finds the position that the manager has reached, and the outstanding due times.
    pub(crate) async fn begin(
        log: &'a L,
        manager: &'a M,
        settings: Settings,
    ) -> Result<Running<'a, M, L>, ProcessError> {
        let name = manager.name();
        check_name(name)?;
        let every = settings.bookmark_every;
        let (bookmarks, bookmark) = Bookmarks::open(log, name, every, settings.first).await?;
        let mut running = Running {
            log,
            manager,
            interest: Interest { source: manager.query(), manager: name.to_owned() },
            instances: Instances::new(name, settings.cached_max),
            settings,
            bookmarks,
            handled: bookmark.handled,
            is_current: false,
            busy_at: Instant::now(),
        };
        running.find_due(bookmark.due_after).await?;
        running.settings.board.go_on(&[running.handled]);
        Ok(running)
    }

    /// Works until it cannot go on.
    pub(crate) async fn go(&mut self) -> ProcessError {
        match self.work().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn work(&mut self) -> Result<std::convert::Infallible, ProcessError> {
        let mut subscription = self.log.follow(&self.interest, self.handled);
        loop {
            if self.is_current && self.is_anything_due() {
                self.fire().await?;
            }
            let wake_at = self.wake_at();
            tokio::select! {
                message = subscription.next() => self.receive(message?).await?,
                () = sleep_until(wake_at) => self.rest().await?,
            }
        }
    }

    /// Writes a bookmark if there is progress to note.
    pub(crate) async fn note(&mut self) -> Result<(), ProcessError> {
        if !self.bookmarks.is_behind(self.handled) {
            return Ok(());
        }
        let oldest = self.instances.due().oldest_position();
        let due_after = oldest.map_or(self.handled, |oldest| self.handled.min(oldest - 1));
        let bookmark = Bookmark { handled: self.handled, due_after };
        self.bookmarks.write(self.log, bookmark).await
    }

    /// Finds the due times that were outstanding when the bookmark was written, and those that came since.
    async fn find_due(&mut self, after: u64) -> Result<(), ProcessError> {
        let mut stretch = Stretch { after, before: None, limit: PAGE };
        loop {
            let Page { events, as_of } = self.log.page(&self.interest, Part::Due, stretch).await?;
            let Some(last) = events.last() else { return Ok(()) };
            stretch = Stretch { after: last.position.0, before: Some(as_of + 1), ..stretch };
            for event in &events {
                self.take_in_own(event)?;
            }
        }
    }

    async fn receive(&mut self, message: LogMessage) -> Result<(), ProcessError> {
        match message {
            LogMessage::Event(event) => {
                self.handle(*event).await?;
                if self.bookmarks.is_due() {
                    self.note().await?;
                }
            }
            LogMessage::Through(position) => self.is_through(position),
            LogMessage::CaughtUp(position) => {
                self.is_through(position);
                self.is_current = true;
                self.settings.board.caught_up(position);
            }
            LogMessage::FellBehind => {
                self.is_current = false;
                self.settings.board.fell_behind();
            }
        }
        Ok(())
    }

    /// Notes that everything of interest up to a position is handled.
    fn is_through(&mut self, position: u64) {
        self.handled = self.handled.max(position);
        self.settings.board.moved(0, self.handled, 0);
    }

    /// Handles an event of interest, of any kind.
    async fn handle(&mut self, event: RecordedEvent) -> Result<(), ProcessError> {
        let position = event.position.0;
        if position <= self.handled {
            return Ok(());
        }
        let is_own = self.take_in_own(&event)?;
        let is_bookmark = bookmark::is_one(&event);
        let mut triggers = 0;
        if !is_bookmark {
            self.bookmarks.count();
            self.busy_at = Instant::now();
        }
        if !is_own
            && !is_bookmark
            && let Some(instance) = self.manager.instance(&event)
        {
            let time = event.recorded_at;
            let cause = Cause::Event(event);
            self.settle(Trigger { instance: &instance, cause, time, conflict: None }).await?;
            triggers = 1;
        }
        self.handled = position;
        self.settings.board.moved(0, position, triggers);
        Ok(())
    }

    /// Takes in an event of one of the manager's own instances. Returns false if the event is not one.
    fn take_in_own(&mut self, event: &RecordedEvent) -> Result<bool, ProcessError> {
        match decide::instance_of(self.manager.name(), event.stream.as_str()) {
            Some(instance) => self.instances.take_in(&instance, event).map(|()| true),
            None => Ok(false),
        }
    }

    fn is_anything_due(&self) -> bool {
        self.instances.next_due().is_some_and(|next| next <= self.settings.clock.now())
    }

    /// Returns the time at which there is something to do if no event comes before.
    fn wake_at(&self) -> Instant {
        let mut longest = match self.bookmarks.is_behind(self.handled) {
            true => (self.busy_at + self.settings.idle).saturating_duration_since(Instant::now()),
            false => Duration::from_secs(60),
        };
        if self.is_current
            && let Some(next) = self.instances.next_due()
        {
            let left = next.0.saturating_sub(self.settings.clock.now().0);
            let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
            longest = longest.min(left.min(CLOCK_TRUSTED));
        }
        Instant::now() + longest
    }

    /// Writes a bookmark if nothing came for long enough.
    async fn rest(&mut self) -> Result<(), ProcessError> {
        match Instant::now() >= self.busy_at + self.settings.idle {
            true => self.note().await,
            false => Ok(()),
        }
    }

    /// Fires the due times that have come, after everything that was acknowledged before now is handled.
    async fn fire(&mut self) -> Result<(), ProcessError> {
        let now = self.settings.clock.now();
        self.catch_up().await?;
        while let Some((instance, key)) = self.instances.due().due_by(now) {
            let known = self.instances.known(self.log, &instance, self.handled).await?;
            // The record may be newer than the due times seen here: another runner may have moved the time.
            let Some(due) = due_of(known, &key).filter(|due| due.at <= now) else {
                self.instances.forget(&instance);
                continue;
            };
            let cause = Cause::Due(due);
            self.settle(Trigger { instance: &instance, cause, time: now, conflict: None }).await?;
            self.settings.board.moved(0, self.handled, 1);
            self.bookmarks.count();
            self.busy_at = Instant::now();
        }
        Ok(())
    }

    /// Handles everything that is in the log by now; the subscription's later copies of it are skipped.
    async fn catch_up(&mut self) -> Result<(), ProcessError> {
        let mut stretch = Stretch { after: self.handled, before: None, limit: PAGE };
        loop {
            let Page { events, as_of } =
                self.log.page(&self.interest, Part::Everything, stretch).await?;
            let Some(last) = events.last().map(|event| event.position.0) else {
                let end = stretch.before.map_or(as_of, |before| before - 1);
                self.is_through(end);
                return Ok(());
            };
            let before = stretch.before.or(Some(as_of + 1));
            for event in events {
                self.handle(event).await?;
            }
            stretch = Stretch { after: last, before, ..stretch };
        }
    }

    /// Decides the reaction to a trigger and appends it, again and again until the trigger is settled.
    async fn settle(&mut self, mut trigger: Trigger<'_>) -> Result<(), ProcessError> {
        let mut conflicts = 0;
        let instance = trigger.instance;
        if let Err(invalid) = check_instance(self.manager.name(), instance) {
            let stuck = stuck(&trigger, invalid.to_string());
            // The instance has no stream in which the reason could be recorded.
            tracing::warn!(error = %stuck, "passed over");
            return match self.settings.on_failure {
                OnFailure::Stop => Err(stuck),
                OnFailure::Park => Ok(()),
            };
        }
        loop {
            let known = self.instances.known(self.log, instance, self.handled).await?;
            let reason = match decide::decide(self.manager, known, &trigger, self.handled) {
                Ok(None) => return Ok(()),
                Err(undecided) => self.reason(&trigger, undecided)?,
                Ok(Some(decision)) => match self.attempt(instance, decision.plan).await? {
                    Tried::Settled => return Ok(()),
                    Tried::Again => continue,
                    Tried::Failed(reason) => reason,
                    Tried::Conflict(conflict) => {
                        conflicts += 1;
                        let reason = conflict.to_string();
                        trigger.conflict = Some(conflict);
                        if conflicts < self.settings.conflicts_max {
                            self.settings.board.tries_again(reason);
                            sleep((REST * (1 << (conflicts - 1).min(10))).min(REST_MAX)).await;
                            continue;
                        }
                        reason
                    }
                },
            };
            return self.give_up(trigger, reason).await;
        }
    }

    /// Tries to append a plan.
    async fn attempt(&mut self, instance: &str, plan: Plan) -> Result<Tried, ProcessError> {
        let Plan { record, record_id, context, commit } = plan;
        let stream = decide::stream_of(self.manager.name(), instance);
        match self.log.commit(commit).await {
            Ok(done) => {
                let known = Known {
                    version: done.version.0,
                    position: done.first_position.0,
                    id: Some(record_id),
                    context,
                    record: Some(record),
                    is_closed: false,
                };
                self.instances.observe(instance, known);
                Ok(Tried::Settled)
            }
            Err(Refusal::Conflict(conflict)) if !names(&conflict, &stream) => {
                Ok(Tried::Conflict(conflict))
            }
            Err(Refusal::Conflict(_) | Refusal::Forgotten) => {
                // Another runner reacted: the trigger may be settled by now, and if not, its record is news.
                self.instances.forget(instance);
                Ok(Tried::Again)
            }
            Err(Refusal::Rejected(problem)) if problem.kind == ErrorKind::IdReused => {
                // The ids follow from the trigger: another runner's reaction to it, from another state, is in the log.
                self.instances.forget(instance);
                Ok(Tried::Again)
            }
            Err(Refusal::Rejected(problem)) => {
                if problem.kind == ErrorKind::StreamClosed && self.log.is_closed(&stream).await? {
                    self.instances.close(instance);
                    return Ok(Tried::Settled);
                }
                Ok(Tried::Failed(problem.to_string()))
            }
        }
    }

    /// Parks a trigger that cannot be settled, or stops.
    async fn give_up(&mut self, trigger: Trigger<'_>, reason: String) -> Result<(), ProcessError> {
        let instance = trigger.instance;
        if self.settings.on_failure == OnFailure::Stop {
            return Err(stuck(&trigger, reason));
        }
        loop {
            let known = self.instances.known(self.log, instance, self.handled).await?;
            let plan = match decide::park(self.manager, known, &trigger, self.handled, &reason) {
                Ok(None) => return Ok(()),
                Ok(Some(plan)) => plan,
                Err(undecided) => return Err(stuck(&trigger, undecided.to_string())),
            };
            let cause = trigger.cause.describe();
            tracing::warn!(
                manager = self.manager.name(),
                instance,
                trigger = cause,
                reason,
                "parked"
            );
            match self.attempt(instance, plan).await? {
                Tried::Settled => {
                    self.settings.board.parked();
                    return Ok(());
                }
                Tried::Again => {}
                Tried::Conflict(conflict) => return Err(stuck(&trigger, conflict.to_string())),
                Tried::Failed(problem) => return Err(stuck(&trigger, problem)),
            }
        }
    }

    /// Returns the reason why nothing could be decided, if the trigger can be parked.
    fn reason(&self, trigger: &Trigger<'_>, undecided: Undecided) -> Result<String, ProcessError> {
        match undecided {
            Undecided::State(_) => Err(stuck(trigger, undecided.to_string())),
            Undecided::Handler(_) | Undecided::Reaction(_) => Ok(undecided.to_string()),
        }
    }
}

/// Returns the outstanding due time of an instance under this key.
fn due_of(known: &Known, key: &str) -> Option<Due> {
    let (_, outstanding) = known.outstanding().find(|(outstanding, _)| *outstanding == key)?;
    Some(Due {
        key: key.to_owned(),
        at: outstanding.at.0,
        payload: outstanding.payload.clone(),
        since: outstanding.since,
    })
}

/// Returns true if an expectation on this stream was not met.
fn names(conflict: &Conflict, stream: &str) -> bool {
    conflict.failures.iter().any(|failure| failure.stream.as_str() == stream)
}

/// Checks that a manager's name can be a whole category of users' streams.
pub(crate) fn check_name(name: &str) -> Result<(), ProcessError> {
    check_instance(name, "instance")
        .map_err(|why| ProcessError::Name { name: name.to_owned(), why })
}

/// Checks that an instance's stream is one that users may have, in the category of the manager.
fn check_instance(manager: &str, instance: &str) -> Result<(), Invalid> {
    let stream = StreamName::new(decide::stream_of(manager, instance))?;
    match stream.category() == manager && !stream.is_system() {
        true => Ok(()),
        false => Err(Invalid::new("manager", "holds `-` or `/`, or begins with `$`")),
    }
}

fn stuck(trigger: &Trigger<'_>, reason: String) -> ProcessError {
    ProcessError::Stuck {
        instance: trigger.instance.to_owned(),
        trigger: trigger.cause.describe(),
        reason,
    }
}
