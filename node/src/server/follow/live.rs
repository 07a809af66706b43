//! Hands what is applied to those who follow, as it is applied: read once, from memory, for all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use quorate_proto::{ErrorKind, Outcome, Position, Problem};
use quorate_raft::host::Host;
use quorate_raft::{Applying, Replica};
use quorate_store::{Reader, StoredEvent};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Mark;
use super::mailbox::Mailbox;
use super::matching::{Board, Candidate, Demand};

/// Most bytes of events that are read at once.
const READ_BYTES: usize = 1024 * 1024;
/// While something is applied, readers are told how far all is so often …
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// … and more seldom the more of them there are: each costs about 20 µs.
const PROGRESS_PER_READER: Duration = Duration::from_micros(500);
/// How often a node makes sure, for those who follow, that it still hears of what is committed.
const IN_TOUCH_EVERY: Duration = Duration::from_secs(3);
/// A node that has heard nothing for so long lets its readers go: another may know more.
const IN_TOUCH_WITHIN: Duration = Duration::from_secs(5);

/// What is applied on this node, for those who follow it. One for each node.
pub(crate) struct Live<H: Host> {
    pub(crate) replica: Replica<H>,
    readers: Mutex<Readers>,
    /// Somebody joined, or nobody can any more.
    joined: Arc<Notify>,
}

/// Invariants:
/// - everything up to `position` was handed out; it is never beyond what readers of the store see;
/// - each reader that is not overrun is in `places` and on the board.
#[derive(Default)]
struct Readers {
    position: Position,
    places: BTreeMap<u64, Entry>,
    board: Board,
    next: u64,
}

struct Entry {
    demand: Arc<Demand>,
    mailbox: Arc<Mailbox>,
    /// Whether it must hear of all that is committed.
    is_strict: bool,
}

/// A reader's place; leaving is dropping it.
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
    /// Starts handing out; it goes on until this is dropped.
    pub(crate) fn start(replica: Replica<H>) -> Arc<Live<H>> {
        let (readers, joined) = (Mutex::default(), Arc::new(Notify::new()));
        let live = Arc::new(Live { replica, readers, joined: joined.clone() });
        tokio::spawn(hand_out(Arc::downgrade(&live), joined));
        tokio::spawn(stay_in_touch(Arc::downgrade(&live)));
        live
    }

    /// How many readers follow.
    pub(crate) fn count(&self) -> usize {
        self.lock().places.len()
    }

    /// Takes a place: what is applied from now on, at the latest, is put into its mailbox.
    pub(super) fn join(self: &Arc<Self>, demand: &Arc<Demand>, is_strict: bool) -> Place {
        let mut readers = self.lock();
        if readers.places.is_empty()
            && let Some(reader) = self.replica.reader()
        {
            readers.position = reader.point().position;
        }
        let number = readers.next;
        readers.next += 1;
        let through = Mark { position: readers.position, version: None };
        let mailbox = Arc::new(Mailbox::new(through));
        readers.board.add(number, demand);
        let entry = Entry { demand: demand.clone(), mailbox: mailbox.clone(), is_strict };
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

    /// Ends the readers that must hear of all that is committed.
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
        if let Some(Entry { demand, .. }) = self.places.remove(&number) {
            self.board.remove(number, &demand);
        }
    }

    /// Hands out all that was applied; whether there was anything.
    fn hand_out(&mut self, reader: &Reader) -> bool {
        let before = self.position;
        while !self.places.is_empty() {
            let Some(events) = reader.recent(self.position, READ_BYTES) else {
                // Too much was applied at once, by a checkpoint that was taken over, say.
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
        let candidate = Candidate::new(event);
        let mut overrun = Vec::new();
        let mut detached = None;
        self.board.visit(event, |number| {
            let Some(entry) = self.places.get(&number) else { return };
            let version = entry.demand.stream.as_ref().map(|_| event.version);
            let through = Mark { position: event.position, version };
            if entry.demand.matches(&candidate) {
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

    /// Leaves all readers to the store.
    fn overrun(&mut self, position: Position) {
        self.position = position;
        for entry in std::mem::take(&mut self.places).into_values() {
            entry.mailbox.overrun();
        }
        self.board = Board::default();
    }

    fn tell_progress(&self) {
        let through = Mark { position: self.position, version: None };
        self.places.values().for_each(|entry| entry.mailbox.tell_progress(through));
    }
}

/// Hands out what is applied until nobody can follow any more.
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

/// Waits until somebody follows; `None` when nobody can any more.
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

/// Lets readers go when this node does not hear of what is committed any more.
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
