//! A store with its log, and short ways to write appends.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{
    Append, Category, Change, ChangeKind, Event, EventId, EventType, Expectation, LogId, Position,
    Read, RecordedEvent, Requirement, Scope, Snapshot, StreamName, Timestamp, Version, Write,
};
use quorate_store::vfs::{MemVfs, Survival};
use quorate_store::{Entry, Fault, Options, Payload, Reader, Sealed, Store, Verdict, command};

pub(crate) const DIRECTORY: &str = "/store";

pub(crate) fn options(chunk_bytes: u64) -> Options {
    Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes,
        hash_seed: [5; 16],
        head_cache_bytes: 160,
        block_cache_bytes: 2000,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 200,
    }
}

/// A store, its disk, and its log, which is durable by itself.
pub(crate) struct World {
    pub(crate) vfs: MemVfs,
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) log: Vec<Entry>,
    pub(crate) sealed: Option<Sealed>,
}

impl World {
    pub(crate) fn new(chunk_bytes: u64) -> World {
        let (vfs, options) = (MemVfs::new(), options(chunk_bytes));
        let store = open(&vfs, &options).expect("a new store");
        World { vfs, options, store, log: Vec::new(), sealed: None }
    }

    /// Makes the payload the next entry of the log and applies it, after the seals that must come first.
    pub(crate) fn apply(&mut self, payload: Payload) -> Vec<Verdict> {
        let entry = Entry { log_id: LogId::new(1, self.log.len() as u64), payload };
        self.log.push(entry.clone());
        if self.store.must_wait() {
            self.seal();
        }
        self.store.apply(entry).expect("applies")
    }

    pub(crate) fn append(&mut self, at: i64, appends: &[Append]) -> Vec<Verdict> {
        self.apply(command(at, appends))
    }

    /// Runs the seal that is due, but does not finish it.
    pub(crate) fn run_seal(&mut self) -> bool {
        let Some(seal) = self.store.begin_seal() else { return false };
        self.sealed = Some(seal.run().expect("seals"));
        true
    }

    pub(crate) fn finish_seal(&mut self) -> bool {
        let Some(sealed) = self.sealed.take() else { return false };
        self.store.finish_seal(sealed).expect("finishes");
        true
    }

    /// Runs and finishes the seals that are due; returns how many.
    pub(crate) fn seal(&mut self) -> usize {
        let mut count = usize::from(self.finish_seal());
        while self.run_seal() {
            self.finish_seal();
            count += 1;
        }
        count
    }

    /// Kills the store, opens it again, and applies the log after its checkpoint.
    pub(crate) fn restart(&mut self, survival: Survival) {
        self.sealed = None;
        self.vfs.restart(survival);
        self.store = open(&self.vfs, &self.options).expect("opens again");
        replay(&mut self.store, &self.log).expect("applies again");
    }

    pub(crate) fn reader(&self) -> Reader {
        self.store.reader()
    }
}

pub(crate) fn open(vfs: &MemVfs, options: &Options) -> Result<Store, Fault> {
    Store::open(Arc::new(vfs.clone()), Path::new(DIRECTORY), options.clone())
}

/// Applies the entries of the log after the store's last one.
pub(crate) fn replay(store: &mut Store, log: &[Entry]) -> Result<(), Fault> {
    let from = store.applied().map_or(0, |id| id.index.0 as usize + 1);
    for entry in &log[from..] {
        if store.must_wait() {
            seal_all(store)?;
        }
        store.apply(entry.clone())?;
    }
    Ok(())
}

/// Runs and finishes the seals that are due.
pub(crate) fn seal_all(store: &mut Store) -> Result<(), Fault> {
    while let Some(seal) = store.begin_seal() {
        store.finish_seal(seal.run()?)?;
    }
    Ok(())
}

/// A request of a command.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// An append whose conditions were checked through a position.
    Append(Append, Position),
    Snapshot(Snapshot),
}

impl Ask {
    pub(crate) fn of(append: Append) -> Ask {
        Ask::Append(append, Position::ZERO)
    }

    pub(crate) fn change(
        scope: Scope,
        expectation: Expectation,
        id: EventId,
        kind: ChangeKind,
    ) -> Ask {
        let change = Change { scope, expectation, id, kind };
        Ask::of(change.to_append().expect("a valid change"))
    }

    fn encode(&self) -> Bytes {
        match self {
            Ask::Append(append, through) => {
                let is_change = Change::of_append(append).expect("a valid append").is_some();
                assert!(is_change || append.check().is_ok(), "{append:?}");
                command::checked(&command::encode_append(append), *through)
            }
            Ask::Snapshot(snapshot) => {
                snapshot.check().expect("a valid snapshot");
                command::encode_snapshot(snapshot)
            }
        }
    }
}

pub(crate) fn command(at: i64, appends: &[Append]) -> Payload {
    let asks: Vec<Ask> = appends.iter().cloned().map(Ask::of).collect();
    command_of(at, &asks)
}

pub(crate) fn command_of(at: i64, asks: &[Ask]) -> Payload {
    let mut builder = command::Builder::new(Timestamp(at));
    asks.iter().for_each(|ask| builder.push(&ask.encode()));
    Payload::Command(builder.finish())
}

pub(crate) fn id(number: u64) -> EventId {
    EventId::from_bytes((u128::from(number) + 1).to_be_bytes()).expect("not nil")
}

pub(crate) fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a stream name")
}

pub(crate) fn category(name: &str) -> Category {
    Category::new(name).expect("a category")
}

pub(crate) fn kind(name: &str) -> EventType {
    EventType::new(name).expect("a type")
}

/// Returns an event whose data is determined by its id.
pub(crate) fn event(number: u64, type_name: &str) -> Event {
    let data: Vec<u8> = (0..number % 97).map(|n| (n * number % 251) as u8).collect();
    Event::new(id(number), kind(type_name), Bytes::from(data))
}

pub(crate) fn write(name: &str, expectation: Expectation, numbers: &[u64]) -> Write {
    let types = ["Opened", "Paid", "Closed"];
    let events = numbers.iter().map(|n| event(*n, types[(*n % 3) as usize])).collect();
    Write { stream: stream(name), expectation, events }
}

pub(crate) fn append(name: &str, expectation: Expectation, numbers: &[u64]) -> Append {
    Append { writes: vec![write(name, expectation, numbers)], ..Append::default() }
}

pub(crate) fn require(name: &str, expectation: Expectation) -> Requirement {
    Requirement { stream: stream(name), expectation }
}

pub(crate) fn exactly(version: u64) -> Expectation {
    Expectation::Exactly(Version(version))
}

/// Reads to the end, in pages of about `budget` bytes.
pub(crate) fn read(reader: &Reader, read: &Read, budget: usize) -> Vec<RecordedEvent> {
    let mut scan = reader.scan(read).expect("begins");
    let mut events = Vec::new();
    while let Some(page) = scan.next_page(budget).expect("reads") {
        let bytes: usize = page.iter().map(|event| event.size()).sum();
        let largest = page.iter().map(|event| event.size()).max().unwrap_or(0);
        assert!(page.is_empty() || bytes - largest < budget, "{bytes} bytes for {budget}");
        events.extend(page.iter().map(|event| event.decode()));
    }
    events
}
