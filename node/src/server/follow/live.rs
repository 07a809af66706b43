//! Hands applied events to those who follow, as they are applied: read once, from memory, for all readers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use quorate_proto::{ErrorKind, Outcome, Position, Problem};
use quorate_raft::host::Host;
use quorate_raft::{Applying, Replica};
use quorate_store::{Reader, StoredEvent};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Cursor;
use super::mailbox::Mailbox;
use super::matching::{Filter, MatchInput, SubscriptionIndex};

/// The maximum bytes of events that are read at once.
const READ_BYTES: usize = 1024 * 1024;
/// The interval at which readers receive the progress of the log while events are applied …
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// … or, where the sum is longer, this time for each reader: a message costs about 20 µs.
const PROGRESS_PER_READER: Duration = Duration::from_micros(500);
/// The interval at which a node checks, for its readers, that it still learns what is committed.
const IN_TOUCH_EVERY: Duration = Duration::from_secs(3);
/// The time without news after which a node ends its readers, because another node may know more.
const IN_TOUCH_WITHIN: Duration = Duration::from_secs(5);

/// The applied events of this node, for those who follow them. Each node has one.
pub(crate) struct Live<H: Host> {
    pub(crate) replica: Replica<H>,
    readers: Mutex<Readers>,
    /// Notified when a reader joined, or when none can join any more.
    joined: Arc<Notify>,
}

/// Invariants:
/// - everything up to `position` was handed out; it is never beyond what readers of the store see;
/// - each reader that is not overrun is in `places` and on the index.
#[derive(Default)]
struct Readers {
    position: Position,
    places: BTreeMap<u64, Entry>,
    index: SubscriptionIndex,
    next: u64,
}

struct Entry {
    filter: Arc<Filter>,
    mailbox: Arc<Mailbox>,
    /// True if the reader must learn of all that is committed.
    is_strict: bool,
}

/// A reader's place; the reader leaves by dropping it.
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
        let (readers, joined) = (Mutex::default(), Arc::new(Notify::new()));
        let live = Arc::new(Live { replica, readers, joined: joined.clone() });
        tokio::spawn(hand_out(Arc::downgrade(&live), joined));
        tokio::spawn(stay_in_touch(Arc::downgrade(&live)));
        live
    }

    /// Returns the number of readers that follow.
    pub(crate) fn count(&self) -> usize {
        self.lock().places.len()
    }

    /// Adds a reader, whose mailbox receives at least the matching events that are applied after this call.
    pub(super) fn join(self: &Arc<Self>, filter: &Arc<Filter>, is_strict: bool) -> Place {
        let mut readers = self.lock();
        if readers.places.is_empty()
            && let Some(reader) = self.replica.reader()
        {
            readers.position = reader.point().position;
        }
        let number = readers.next;
        readers.next += 1;
        let through = Cursor { position: readers.position, version: None };
        let mailbox = Arc::new(Mailbox::new(through));
        readers.index.add(number, filter);
        let entry = Entry { filter: filter.clone(), mailbox: mailbox.clone(), is_strict };
        readers.places.insert(number, entry);
        drop(readers);
        self.joined.notify_one();
        let live = Arc::downgrade(self);
        let leave = move || {
            if let Some(live) = live.upgrade() {
                live.lock().remove(number);
            }
        };
        Place { mailbox, leave: Box::new(leave) }
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        // No code that holds the lock can leave the readers half changed.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the readers that must learn of all that is committed.
    fn lose_touch(&self) {
        let message = "this node has not heard from a majority for a while: another may know more";
        let problem = Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message);
        let readers = self.lock();
        let strict = readers.places.values().filter(|entry| entry.is_strict);
        strict.for_each(|entry| entry.mailbox.end(problem.clone()));
    }
}

impl<H: Host> Drop for Live<H> {
    fn drop(&mut self) {
        self.joined.notify_one();
    }
}

impl Readers {
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

    /// Makes all readers continue from the store.
    fn overrun(&mut self, position: Position) {
        self.position = position;
        for entry in std::mem::take(&mut self.places).into_values() {
            entry.mailbox.overrun();
        }
        self.index = SubscriptionIndex::default();
    }

    fn tell_progress(&self) {
        let through = Cursor { position: self.position, version: None };
        self.places.values().for_each(|entry| entry.mailbox.tell_progress(through));
    }
}

/// Hands out applied events until nobody can follow any more.
async fn hand_out<H: Host>(live: Weak<Live<H>>, joined: Arc<Notify>) {
    loop {
        let Some((reader, mut applying)) = first_reader(&live, &joined).await else { return };
        let mut progress_at = None;
        loop {
            let Some(live) = live.upgrade() else { return };
            let count = {
                let mut readers = live.lock();
                let count = readers.places.len() as u32;
                if readers.hand_out(&reader) {
                    let rest = PROGRESS_EVERY.max(PROGRESS_PER_READER * count);
                    progress_at.get_or_insert_with(|| Instant::now() + rest);
                }
                if progress_at.is_some_and(|at| at <= Instant::now()) {
                    readers.tell_progress();
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

/// Waits until a reader joins; returns `None` when none can join any more.
async fn first_reader<H: Host>(
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

/// Ends readers when this node does not learn any more what is committed.
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
