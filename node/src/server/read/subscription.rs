//! A subscription: it scans the store up to its point, and then ends, or gets events as they are applied.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_proto::wire::LIFE_SIGN_EVERY;
use quorate_proto::{Bounds, Consistency, LogPoint, Problem, Read, RecordedSnapshot, Source};
use quorate_raft::host::Host;
use quorate_store::defect::{Defect, is_present};
use quorate_store::{Fault, Reader, Scan, StoredEvent};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::beginning::Beginning;
use super::cursor::Cursor;
use super::form::{Form, Formed};
use super::live::{Live, Place};
use super::mailbox::Delivery;
use super::matching::Filter;
use super::page::{FIRST_PAGE_BYTES, PAGE_BYTES, Page};
use crate::server::problem;

/// The next message of a subscription, with events in one form.
#[derive(Debug)]
pub(crate) enum Step<F> {
    /// The first step: the point of the first scan, and the requested snapshot.
    Point {
        cursor: Cursor,
        point: LogPoint,
        snapshot: Option<RecordedSnapshot>,
        /// The schema of a snapshot that the client does not understand.
        passed_over: Option<u32>,
    },
    /// Never empty.
    Events(F),
    CaughtUp(Cursor),
    FellBehind(Cursor),
    Progress(Cursor),
    /// There is no news, and this node still searches or waits.
    StillHere,
    /// The answer is whole: a read that does not follow found everything, or the limit is reached.
    End,
}

/// A read under way; one that follows is a subscription in the narrow sense.
///
/// Invariants:
/// - events are given out in the order of the read, each once, and no more than its limit;
/// - of a read that follows, `cursor` never goes back, and no matching event above it was given out;
/// - no cursor is sent before this node has reached the bound after which a read that follows resumes;
/// - it holds one page at most, or two where few subscriptions read ahead.
pub(crate) struct Subscription<H: Host, F> {
    live: Arc<Live<H>>,
    reader: Reader,
    /// The rest of the read.
    read: Read,
    cursor: Cursor,
    phase: Phase<F>,
    /// The size of the last page.
    page_bytes: usize,
    /// True if `caught_up` was sent, and no `fell_behind` since then.
    is_caught_up: bool,
}

enum Phase<F> {
    /// Nothing was given out yet; the beginning may have been read already.
    Point(Option<Box<Beginning<F>>>),
    /// A scan is under way. A subscription that has a place took it before the scan began.
    Scan {
        next: Next<F>,
        place: Option<Place>,
    },
    Live(Place),
    End,
}

/// The next part of a scan.
enum Next<F> {
    /// A new scan, of everything above the cursor.
    New,
    Page(Page<F>),
    /// A page of so many bytes.
    Rest(Box<Scan>, usize),
    /// A page that is being read while the one before it is on its way. The permit bounds how many there are.
    Ahead(BoxFuture<'static, Result<Page<F>, Fault>>, OwnedSemaphorePermit),
}

impl<H: Host, F: Form> Subscription<H, F> {
    /// Returns the subscription that answers `read`, on a node that has reached the point that its consistency demands.
    pub(crate) fn begin(live: Arc<Live<H>>, reader: Reader, read: Read) -> Subscription<H, F> {
        let (cursor, phase) = (Cursor::default(), Phase::Point(None));
        let page_bytes = FIRST_PAGE_BYTES;
        Subscription { live, reader, read, cursor, phase, page_bytes, is_caught_up: false }
    }

    /// Uses a beginning that was read already, as of a point that the read's consistency allows.
    #[must_use]
    pub(crate) fn with(self, beginning: Option<Beginning<F>>) -> Subscription<H, F> {
        Subscription { phase: Phase::Point(beginning.map(Box::new)), ..self }
    }

    /// Returns the next step, and waits while there is none. A call that is cancelled loses events: the subscription
    /// must be dropped then.
    pub(crate) async fn next(&mut self) -> Result<Step<F>, Problem> {
        loop {
            if self.read.limit == Some(0) && !matches!(self.phase, Phase::Point(_)) {
                self.phase = Phase::End;
            }
            // A phase that is cut short leaves the end behind, never half a phase.
            let step = match std::mem::replace(&mut self.phase, Phase::End) {
                Phase::Point(beginning) => Some(self.point(beginning).await?),
                Phase::Scan { next, place } => self.scan(next, place).await?,
                Phase::Live(place) => self.live(place).await?,
                Phase::End => Some(Step::End),
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Begins the first scan, and reads its first page in the same step: most reads are short.
    async fn point(&mut self, beginning: Option<Box<Beginning<F>>>) -> Result<Step<F>, Problem> {
        let begun = match beginning {
            Some(beginning) => *beginning,
            None => {
                let (reader, read) = (self.reader.clone(), self.read.clone());
                let begun = self.run(move || Beginning::read(&reader, &read, FIRST_PAGE_BYTES));
                begun.await.map_err(|fault| self.problem_of(&fault))?
            }
        };
        let Beginning { point, snapshot, passed_over, page } = begun;
        if let Some(snapshot) = &snapshot {
            self.read.bounds.after = snapshot.snapshot.version.0;
        }
        self.read.with_snapshot = false;
        self.read.snapshot_schema_max = None;
        let cursor = page.end;
        self.phase = Phase::Scan { next: Next::Page(page), place: None };
        Ok(Step::Point { cursor, point, snapshot, passed_over })
    }

    /// Gives out the next page. After the last one, a read that follows takes a place with [`Live`] and scans once
    /// more, or uses the place that it has.
    async fn scan(
        &mut self,
        next: Next<F>,
        place: Option<Place>,
    ) -> Result<Option<Step<F>>, Problem> {
        let fetched = match next {
            Next::Page(page) => Ok(page),
            Next::Rest(scan, bytes) => self.run(move || Page::fetch(scan, bytes)).await,
            Next::Ahead(page, _permit) => page.await,
            Next::New => {
                let (reader, read) = (self.reader.clone(), self.rest());
                self.page_bytes = FIRST_PAGE_BYTES;
                let begun = move || Page::fetch(Box::new(reader.scan(&read)?), FIRST_PAGE_BYTES);
                self.run(begun).await
            }
        };
        let fetched = fetched.map_err(|fault| self.problem_of(&fault))?;
        let Page { events, end, rest } = fetched;
        let step = events.map(|events| self.give_out(events));
        if let Some(scan) = rest {
            self.phase = Phase::Scan { next: self.go_on(scan), place };
            return Ok(Some(step.unwrap_or(Step::StillHere)));
        }
        self.pass(end);
        self.phase = match place {
            _ if !self.read.follow => Phase::End,
            Some(place) => Phase::Live(place),
            None if is_present(Defect::NoSecondLook) => Phase::Live(self.take_place()),
            // The long scan is over; the next one is short, and the mailbox keeps the events that come meanwhile.
            None => Phase::Scan { next: Next::New, place: Some(self.take_place()) },
        };
        Ok(step)
    }

    /// Takes what came into the mailbox, or waits until something does, but not in silence for long.
    async fn live(&mut self, place: Place) -> Result<Option<Step<F>>, Problem> {
        if !self.is_caught_up && self.has_resumed() {
            self.is_caught_up = true;
            self.phase = Phase::Live(place);
            return Ok(Some(Step::CaughtUp(self.cursor)));
        }
        let delivery = timeout(LIFE_SIGN_EVERY, place.mailbox.take(READ_MESSAGE_BYTES)).await;
        self.phase = Phase::Live(place);
        match delivery.map_or(Ok(None), |delivery| delivery.map(Some))? {
            Some(Delivery::Events { mut events, through }) => {
                events.retain(|event| self.is_requested(event));
                events.truncate(self.read.limit.map_or(usize::MAX, |limit| limit as usize));
                let step = Formed::of(events).map(|events| self.give_out(events));
                self.pass(through);
                Ok(step)
            }
            Some(Delivery::Nothing { through }) => {
                self.pass(through);
                let reports = self.is_caught_up && self.has_resumed();
                Ok(reports.then_some(Step::Progress(self.cursor)))
            }
            Some(Delivery::Overrun) => {
                self.phase = Phase::Scan { next: Next::New, place: None };
                let was_caught_up = std::mem::take(&mut self.is_caught_up);
                Ok(was_caught_up.then_some(Step::FellBehind(self.cursor)))
            }
            None => Ok(Some(Step::StillHere)),
        }
    }

    /// Begins with the next page while the one before it is sent, unless many do so already.
    fn go_on(&mut self, scan: Box<Scan>) -> Next<F> {
        let bytes = (2 * self.page_bytes).min(PAGE_BYTES);
        self.page_bytes = bytes;
        match self.live.may_read_ahead() {
            Some(permit) => Next::Ahead(self.run(move || Page::fetch(scan, bytes)), permit),
            None => Next::Rest(scan, bytes),
        }
    }

    /// Gives out these events, which the limit allows.
    fn give_out(&mut self, events: Formed<F>) -> Step<F> {
        let Formed { events, count, last } = events;
        if let Some(limit) = &mut self.read.limit {
            *limit = limit.saturating_sub(count);
        }
        let version = last.version.filter(|_| self.of_stream());
        self.pass(Cursor { version, ..last });
        Step::Events(events)
    }

    /// Returns true if an event of the mailbox was not given out yet and lies within the bounds.
    fn is_requested(&self, event: &StoredEvent) -> bool {
        let Bounds { after, from, .. } = self.read.bounds;
        let number = if self.of_stream() { event.version.0 } else { event.position.0 };
        event.position > self.cursor.position
            && number > after
            && from.is_none_or(|from| from <= event.recorded_at)
    }

    fn pass(&mut self, cursor: Cursor) {
        self.cursor.position = self.cursor.position.max(cursor.position);
        self.cursor.version = self.cursor.version.max(cursor.version);
    }

    /// Returns true if this node has reached the bound after which the read resumes.
    fn has_resumed(&self) -> bool {
        self.passed() >= self.read.bounds.after
    }

    /// Returns the cursor as bounds count: the version of a stream, the position of a query.
    fn passed(&self) -> u64 {
        self.cursor.version.map_or(self.cursor.position.0, u64::from)
    }

    /// Returns the read of everything above the cursor.
    fn rest(&self) -> Read {
        let mut read = self.read.clone();
        read.bounds.after = read.bounds.after.max(self.passed());
        read
    }

    /// Takes a place among those that get events as they are applied. A node that lost touch with the majority lets
    /// the subscription go, unless the read is content with what this node has.
    fn take_place(&self) -> Place {
        let is_strict = self.read.consistency != Consistency::Local;
        self.live.join(&Arc::new(Filter::of(&self.read)), is_strict)
    }

    fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Fault>> {
        self.live.replica.host().run(step)
    }

    fn problem_of(&self, fault: &Fault) -> Problem {
        problem::of_found(&self.live.replica, fault)
    }

    fn of_stream(&self) -> bool {
        matches!(self.read.source, Source::Stream { .. })
    }
}
