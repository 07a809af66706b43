//! A process manager at work: follows the log, has its triggers settled in lanes, and fires what is due.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_client::parking::{self, REPLAY_REQUESTED};
use quorate_client::{Query, RecordedEvent};
use tokio::time::{Instant, sleep_until};

use crate::process::bookmark::{self, Bookmark, Bookmarks};
use crate::process::decide;
use crate::process::error::ProcessError;
use crate::process::instance_queues::{Begun, InstanceQueues};
use crate::process::instances::Instances;
use crate::process::job::Job;
use crate::process::log::{Log, LogMessage, Page, Stretch, Subscription};
use crate::process::manager::ProcessManager;
use crate::process::record::with_due_times;
use crate::process::replayer::Request;
use crate::process::settings::Settings;
use crate::process::settler::{Settler, check_instance};

/// The number of events in one page, where the log is read and not followed.
const PAGE: u64 = 64;
/// The number of due times that are fired together.
const FIRED_TOGETHER: usize = 1_024;
/// The longest sleep while a due time is outstanding: a clock that jumps is noticed by then.
const CLOCK_TRUSTED: Duration = Duration::from_secs(1);

/// A manager at work.
///
/// Invariants:
/// - Everything of interest up to the position that the lanes have handled is handled: whatever follows from it is in
///   the log.
/// - Nothing fires before everything is handled that was acknowledged before the moment at which it is due.
/// - It may be dropped at any point: everything that it knows is in the log, and unfinished work leaves nothing behind.
pub(crate) struct Running<'a, M, L> {
    settler: Arc<Settler<'a, M, L>>,
    settings: Settings,
    /// Everything that the manager follows: its triggers and, in the same order, its own records.
    followed: Query,
    /// The stream of the manager's parked triggers.
    parked: String,
    lanes: InstanceQueues<Job>,
    under_way: FuturesUnordered<UnderWay<'a>>,
    bookmarks: Bookmarks,
    /// True once everything that was in the log at the start was seen: nothing fires before.
    is_current: bool,
    /// The time at which something was last handled.
    busy_at: Instant,
}

/// A job under way.
type UnderWay<'a> = Pin<Box<dyn Future<Output = Ended> + Send + 'a>>;

/// A job that ended.
struct Ended {
    instance: String,
    position: Option<u64>,
    outcome: Result<(), ProcessError>,
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
        let parked = parking::stream_of(name);
        let requests = Query::stream(&parked).types([REPLAY_REQUESTED]);
        let settler = Settler {
            log,
            manager,
            on_failure: settings.on_failure,
            conflicts_max: settings.conflicts_max,
            board: Arc::clone(&settings.board),
            instances: Mutex::new(Instances::new(settings.cached_max)),
        };
        let mut running = Running {
            settler: Arc::new(settler),
            followed: manager.query().or(Query::category(name)).or(requests),
            parked,
            lanes: InstanceQueues::new(settings.lanes, bookmark.handled),
            under_way: FuturesUnordered::new(),
            settings,
            bookmarks,
            is_current: false,
            busy_at: Instant::now(),
        };
        running.find_due(bookmark.due_after).await?;
        running.settings.board.go_on(&[running.lanes.handled()]);
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
        let mut subscription = self.settler.log.follow(&self.followed, self.lanes.taken_in());
        loop {
            if self.is_current && self.is_anything_due() {
                self.fire().await?;
            }
            if self.bookmarks.is_due() {
                self.note().await?;
            }
            self.begin_jobs();
            let wake_at = self.wake_at();
            tokio::select! {
                message = subscription.next(), if self.lanes.has_room() => self.receive(message?)?,
                Some(ended) = self.under_way.next() => self.end(ended)?,
                () = sleep_until(wake_at) => self.rest().await?,
            }
        }
    }

    /// Writes a bookmark if there is progress to note.
    pub(crate) async fn note(&mut self) -> Result<(), ProcessError> {
        let handled = self.lanes.handled();
        if !self.bookmarks.is_behind(handled) {
            return Ok(());
        }
        let oldest = self.settler.instances().due().oldest_position();
        let due_after = oldest.map_or(handled, |oldest| handled.min(oldest - 1));
        self.bookmarks.write(self.settler.log, Bookmark { handled, due_after }).await
    }

    /// Finds the due times that were outstanding when the bookmark was written, and those that came since.
    async fn find_due(&mut self, after: u64) -> Result<(), ProcessError> {
        let mut stretch = Stretch { after, before: None, limit: PAGE };
        let query = with_due_times(self.settler.manager.name());
        loop {
            let Page { events, as_of } = self.settler.log.page(&query, stretch).await?;
            let Some(last) = events.last() else { return Ok(()) };
            stretch = Stretch { after: last.position.0, before: Some(as_of + 1), ..stretch };
            for event in &events {
                self.take_in_own(event)?;
            }
        }
    }

    fn receive(&mut self, message: LogMessage) -> Result<(), ProcessError> {
        match message {
            LogMessage::Event(event) => self.take_in(*event)?,
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

    /// Notes that everything of interest up to a position was taken in.
    fn is_through(&mut self, position: u64) {
        self.lanes.pass(position);
        self.settings.board.moved(0, self.lanes.handled(), 0);
    }

    /// Takes in an event of interest, of any kind.
    fn take_in(&mut self, event: RecordedEvent) -> Result<(), ProcessError> {
        let position = event.position.0;
        if position <= self.lanes.taken_in() {
            return Ok(());
        }
        let is_own = self.take_in_own(&event)?;
        let is_bookmark = bookmark::is_one(&event);
        if !is_own
            && !is_bookmark
            && let Some((instance, job)) = self.job_of(event)
        {
            self.lanes.enter(instance, Some(position), job);
            return Ok(());
        }
        if !is_bookmark {
            self.bookmarks.count();
            self.busy_at = Instant::now();
        }
        self.is_through(position);
        Ok(())
    }

    /// Returns the job that an event is for the manager, and its instance. What the manager parked is no event for
    /// itself: it could park that, too, and so on for ever.
    fn job_of(&self, event: RecordedEvent) -> Option<(String, Job)> {
        let manager = self.settler.manager;
        if event.stream.as_str() == self.parked {
            let (instance, request) = Request::of(manager.name(), &event)?;
            return Some((instance, Job::Replay(request)));
        }
        Some((manager.instance(&event)?, Job::Event(Box::new(event))))
    }

    /// Takes in an event of one of the manager's own instances. Returns false if the event is not one.
    fn take_in_own(&mut self, event: &RecordedEvent) -> Result<bool, ProcessError> {
        match decide::instance_of(self.settler.manager.name(), event.stream.as_str()) {
            Some(instance) => self.settler.instances().take_in(&instance, event).map(|()| true),
            None => Ok(false),
        }
    }

    /// Begins jobs in all lanes that are free.
    fn begin_jobs(&mut self) {
        while let Some(Begun { instance, position, job }) = self.lanes.begin() {
            let (settler, handled) = (Arc::clone(&self.settler), self.lanes.handled());
            self.under_way.push(Box::pin(async move {
                let outcome = settler.carry_out(&instance, job, handled).await;
                Ended { instance, position, outcome }
            }));
        }
    }

    /// Notes that a job has ended.
    fn end(&mut self, ended: Ended) -> Result<(), ProcessError> {
        ended.outcome?;
        self.lanes.end(ended.instance, ended.position);
        self.bookmarks.count();
        self.busy_at = Instant::now();
        self.settings.board.moved(0, self.lanes.handled(), 1);
        Ok(())
    }

    /// Waits until all jobs have ended that were taken in.
    async fn end_all(&mut self) -> Result<(), ProcessError> {
        self.begin_jobs();
        while let Some(ended) = self.under_way.next().await {
            self.end(ended)?;
            self.begin_jobs();
        }
        Ok(())
    }

    fn is_anything_due(&self) -> bool {
        let next = self.settler.instances().next_due();
        next.is_some_and(|next| next <= self.settings.clock.now())
    }

    /// Returns the time at which there is something to do if no event comes before.
    fn wake_at(&self) -> Instant {
        let mut longest = match self.bookmarks.is_behind(self.lanes.handled()) {
            true => (self.busy_at + self.settings.idle).saturating_duration_since(Instant::now()),
            false => Duration::from_secs(60),
        };
        if self.is_current
            && let Some(next) = self.settler.instances().next_due()
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
        loop {
            let due = self.settler.instances().due().all_by(now, FIRED_TOGETHER);
            if due.is_empty() {
                return Ok(());
            }
            for (instance, key) in due {
                self.lanes.enter(instance, None, Job::Due { key, now });
            }
            self.end_all().await?;
        }
    }

    /// Handles everything that is in the log by now; the subscription's later copies of it are skipped.
    async fn catch_up(&mut self) -> Result<(), ProcessError> {
        let mut stretch = Stretch { after: self.lanes.taken_in(), before: None, limit: PAGE };
        loop {
            let page = self.settler.log.page(&self.followed, stretch);
            let Page { events, as_of } = page.await?;
            let Some(last) = events.last().map(|event| event.position.0) else {
                let end = stretch.before.map_or(as_of, |before| before - 1);
                self.end_all().await?;
                self.is_through(end);
                return Ok(());
            };
            let before = stretch.before.or(Some(as_of + 1));
            for event in events {
                self.take_in(event)?;
            }
            self.end_all().await?;
            stretch = Stretch { after: last, before, ..stretch };
        }
    }
}

/// Checks that a manager's name can be a whole category of users' streams.
pub(crate) fn check_name(name: &str) -> Result<(), ProcessError> {
    check_instance(name, "instance")
        .map_err(|why| ProcessError::Name { name: name.to_owned(), why })
}
