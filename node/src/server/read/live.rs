//! The live events of a node: each is read once, from memory, as it is applied, and put into all mailboxes that want it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use quorate_proto::{ErrorKind, Outcome, Position, Problem};
use quorate_raft::host::Host;
use quorate_raft::{Applying, Replica};
use quorate_store::{Reader, StoredEvent};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::beginning::EarlyReads;
use super::cursor::Cursor;
use super::mailbox::Mailbox;
use super::matching::{Filter, MatchInput, SubscriptionIndex};

/// The maximum bytes of events that are read at once.
const READ_BYTES: usize = 1024 * 1024;
/// The most pages of about 256 KiB that are read ahead at once, of all subscriptions together.
const AHEAD_MAX: usize = 64;
/// The interval at which subscriptions receive the progress of the log while events are applied …
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// … or, where the sum is longer, this time for each subscription: a message costs about 20 µs.
const PROGRESS_PER_SUBSCRIPTION: Duration = Duration::from_micros(500);
/// The interval at which a node checks, for its subscriptions, that it still learns what is committed.
const IN_TOUCH_EVERY: Duration = Duration::from_secs(3);
/// The time without news after which a node ends its subscriptions, because another node may know more.
const IN_TOUCH_WITHIN: Duration = Duration::from_secs(5);

/// The live events of this node, for its subscriptions. Each node has one.
pub(crate) struct Live<H: Host> {
    pub(crate) replica: Replica<H>,
    subscriptions: Mutex<Subscriptions>,
    /// Notified when a subscription joined, or when none can join any more.
    joined: Arc<Notify>,
    /// The pages that may still be read ahead.
    ahead: Arc<Semaphore>,
    pub(super) early: EarlyReads,
}

/// Invariants:
/// - everything up to `position` was handed out; it is never beyond what readers of the store see;
/// - each subscription that is not overrun is in `places` and on the index.
#[derive(Default)]
struct Subscriptions {
    position: Position,
    places: BTreeMap<u64, Entry>,
    index: SubscriptionIndex,
    next: u64,
}

struct Entry {
    filter: Arc<Filter>,
    mailbox: Arc<Mailbox>,
    /// True if the subscription must learn of all that is committed.
    is_strict: bool,
}

/// A subscription's place; the subscription leaves by dropping it.
pub(crate) struct Place {
    pub(super) mailbox: Arc<Mailbox>,
    leave: Box<dyn Fn() + Send + Sync>,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.leave)();
    }
}

impl<H: Host> Live<H> {
    /// Starts handing out events; this goes on until the value is dropped.
    pub(crate) fn start(replica: Replica<H>) -> Arc<Live<H>> {
        let (subscriptions, joined) = (Mutex::default(), Arc::new(Notify::new()));
        let ahead = Arc::new(Semaphore::new(AHEAD_MAX));
        let early = EarlyReads::default();
        let live = Arc::new(Live { replica, subscriptions, joined: joined.clone(), ahead, early });
        tokio::spawn(hand_out(Arc::downgrade(&live), joined));
        tokio::spawn(stay_in_touch(Arc::downgrade(&live)));
        live
    }

    /// Returns the number of subscriptions that follow.
    pub(crate) fn count(&self) -> usize {
        self.lock().places.len()
    }

    /// Returns the permit to read one page ahead; none while so many subscriptions do that the memory is used up that
    /// readers who stopped may keep.
    pub(super) fn may_read_ahead(&self) -> Option<OwnedSemaphorePermit> {
        self.ahead.clone().try_acquire_owned().ok()
    }

    /// Adds a subscription, whose mailbox receives at least the matching events that are applied after this call.
    pub(super) fn join(self: &Arc<Self>, filter: &Arc<Filter>, is_strict: bool) -> Place {
        let mut subscriptions = self.lock();
        if subscriptions.places.is_empty()
            && let Some(reader) = self.replica.reader()
        {
            subscriptions.position = reader.point().position;
        }
        let number = subscriptions.next;
        subscriptions.next += 1;
        let through = Cursor { position: subscriptions.position, version: None };
        let mailbox = Arc::new(Mailbox::new(through));
        subscriptions.index.add(number, filter);
        let entry = Entry { filter: filter.clone(), mailbox: mailbox.clone(), is_strict };
        subscriptions.places.insert(number, entry);
        drop(subscriptions);
        self.joined.notify_one();
        let live = Arc::downgrade(self);
        let leave = move || {
            if let Some(live) = live.upgrade() {
                live.lock().remove(number);
            }
        };
        Place { mailbox, leave: Box::new(leave) }
    }

    fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        // No code that holds the lock can leave the subscriptions half changed.
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the subscriptions that must learn of all that is committed.
    fn lose_touch(&self) {
        let message = "this node has not heard from a majority for a while: another may know more";
        let problem = Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message);
        let subscriptions = self.lock();
        let strict = subscriptions.places.values().filter(|entry| entry.is_strict);
        strict.for_each(|entry| entry.mailbox.end(problem.clone()));
    }
}

impl<H: Host> Drop for Live<H> {
    fn drop(&mut self) {
        self.joined.notify_one();
    }
}

impl Subscriptions {
    fn remove(&mut self, number: u64) {
        if let Some(Entry { filter, .. }) = self.places.remove(&number) {
            self.index.remove(number, &filter);
        }
    }

    /// Hands out all events that were applied; returns true if there were any.
    fn hand_out(&mut self, reader: &Reader) -> bool {
        let before = self.position;
        while !self.places.is_empty() {
            let Some(events) = reader.recent(self.position, READ_BYTES) else {
                // Too much was applied at once, for example by a checkpoint that was taken over.
                self.overrun(reader.point().position);
                break;
            };
            let Some(last) = events.last() else { break };
            self.position = last.position;
            events.iter().for_each(|event| self.hand_out_event(event));
        }
        self.position > before
    }

    fn hand_out_event(&mut self, event: &StoredEvent) {
        let input = MatchInput::new(event);
        let mut overrun = Vec::new();
        let mut detached = None;
        self.index.visit(event, |number| {
            let Some(entry) = self.places.get(&number) else { return };
            let version = entry.filter.stream.as_ref().map(|_| event.version);
            let through = Cursor { position: event.position, version };
            if entry.filter.matches(&input) {
                let event = detached.get_or_insert_with(|| event.detached());
                if !entry.mailbox.put(event, through) {
                    overrun.push(number);
                }
            } else if version.is_some() {
                entry.mailbox.pass(through);
            }
        });
        overrun.into_iter().for_each(|number| self.remove(number));
    }

    /// Makes all subscriptions continue from the store.
    fn overrun(&mut self, position: Position) {
        self.position = position;
        for entry in std::mem::take(&mut self.places).into_values() {
            entry.mailbox.overrun();
        }
        self.index = SubscriptionIndex::default();
    }

    fn report_progress(&self) {
        let through = Cursor { position: self.position, version: None };
        self.places.values().for_each(|entry| entry.mailbox.report_progress(through));
    }
}

/// Hands out applied events until nobody can follow any more.
async fn hand_out<H: Host>(live: Weak<Live<H>>, joined: Arc<Notify>) {
    loop {
        let Some((reader, mut applying)) = first_subscription(&live, &joined).await else { return };
        let mut progress_at = None;
        loop {
            let Some(live) = live.upgrade() else { return };
            let count = {
                let mut subscriptions = live.lock();
                let count = subscriptions.places.len() as u32;
                if subscriptions.hand_out(&reader) {
                    let rest = PROGRESS_EVERY.max(PROGRESS_PER_SUBSCRIPTION * count);
                    progress_at.get_or_insert_with(|| Instant::now() + rest);
                }
                if progress_at.is_some_and(|at| at <= Instant::now()) {
                    subscriptions.report_progress();
                    progress_at = None;
                }
                count
            };
            drop(live);
            if count == 0 {
                break;
            }
            let due = progress_at.unwrap_or_else(Instant::now);
            tokio::select! {
                alive = applying.next() => if !alive { return },
                () = tokio::time::sleep_until(due), if progress_at.is_some() => {}
            }
        }
    }
}

/// Waits until a subscription joins; returns `None` when none can join any more.
async fn first_subscription<H: Host>(
    live: &Weak<Live<H>>,
    joined: &Notify,
) -> Option<(Reader, Applying)> {
    loop {
        {
            let live = live.upgrade()?;
            if live.count() > 0 {
                return Some((live.replica.reader()?, live.replica.applying()?));
            }
        }
        joined.notified().await;
    }
}

/// Ends subscriptions when this node does not learn any more what is committed.
async fn stay_in_touch<H: Host>(live: Weak<Live<H>>) {
    loop {
        tokio::time::sleep(IN_TOUCH_EVERY).await;
        let Some(strong) = live.upgrade() else { return };
        if strong.lock().places.values().all(|entry| !entry.is_strict) {
            continue;
        }
        if strong.replica.read_index(Instant::now() + IN_TOUCH_WITHIN).await.is_err() {
            strong.lose_touch();
        }
    }
}
