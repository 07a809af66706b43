//! The input of the paths: the same events in every run, of 256 bytes each, which follow the versions of their streams.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::limits::CHUNK_BYTES_MAX;
use quorate_proto::{
    Append, Event, EventId, EventType, Expectation, LogId, StreamName, Tag, Timestamp, Version,
};
use quorate_store::vfs::OsVfs;
use quorate_store::{Entry, Options, Payload, Store, command};

use super::super::Dice;
use super::Failure;

/// The appends that share an entry of the log, as when many writers wait for one fdatasync.
pub(super) const APPENDS_PER_ENTRY: usize = 100;
/// The digits of Base64, of which events have 256: text that hardly compresses.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const DATA_BYTES: usize = 256;
const TYPES: usize = 20;

/// Makes appends, from one seed.
///
/// Invariant: the streams get their appends in turn, so each append expects the version that the rounds before give.
pub(super) struct Input {
    dice: Dice,
    streams: usize,
    events_per_append: usize,
    made: usize,
}

impl Input {
    pub(super) fn new(streams: usize, events_per_append: usize) -> Input {
        Input { dice: Dice::new(7), streams, events_per_append, made: 0 }
    }

    /// Returns the name of a stream, which is below the number of streams.
    pub(super) fn stream(number: usize) -> Result<StreamName, Failure> {
        Ok(StreamName::new(format!("order-{number:06}"))?)
    }

    pub(super) fn append(&mut self) -> Result<Append, Failure> {
        let (turn, number) = (self.made / self.streams, self.made % self.streams);
        self.made += 1;
        let expectation = match turn * self.events_per_append {
            0 => Expectation::None,
            version => Expectation::Exactly(Version(version as u64)),
        };
        let events = (0..self.events_per_append).map(|_| self.event(number));
        let events = events.collect::<Result<_, Failure>>()?;
        Ok(Append::to(Input::stream(number)?, expectation, events))
    }

    /// Returns entries with so many appends altogether; `begin` is the index of the first entry.
    pub(super) fn entries(
        &mut self,
        begin: u64,
        appends: usize,
        appends_per_entry: usize,
    ) -> Result<Vec<Entry>, Failure> {
        let entry = |index: u64| {
            let mut builder =
                command::Builder::new(Timestamp(1_700_000_000_000_000 + index as i64));
            for _ in 0..appends_per_entry {
                builder.push(&command::encode_append(&self.append()?));
            }
            let payload = Payload::Command(builder.finish());
            Ok(Entry { log_id: LogId::new(1, index), payload })
        };
        (begin..).take(appends / appends_per_entry).map(entry).collect()
    }

    fn event(&mut self, stream: usize) -> Result<Event, Failure> {
        let id = [self.dice.next().to_be_bytes(), self.dice.next().to_be_bytes()].concat();
        let id = EventId::from_bytes(id.try_into().unwrap_or([1; 16]))?;
        let kind = EventType::new(format!("OrderChanged{}", self.dice.below(TYPES)))?;
        let digits = (0..DATA_BYTES).filter_map(|_| DIGITS.get(self.dice.below(DIGITS.len())));
        let data: Vec<u8> = digits.copied().collect();
        let tags = vec![Tag::new(format!("customer:{}", stream / 4))?];
        Ok(Event { tags, ..Event::new(id, kind, Bytes::from(data)) })
    }
}

/// Opens a store of its own below `folder`, with a cache of so many bytes for what is read from chunks.
pub(super) fn store(
    folder: &Path,
    chunk_bytes: u64,
    block_cache_bytes: usize,
) -> Result<Store, Failure> {
    let options = Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes,
        hash_seed: [5; 16],
        head_cache_bytes: 96 << 20,
        block_cache_bytes,
        catalog_cache_bytes: 16 << 20,
        filter_bytes: 16 << 20,
    };
    Ok(Store::open(Arc::new(OsVfs), folder, options)?)
}

/// Returns a store in which nothing is ever sealed.
pub(super) fn endless_store(folder: &Path) -> Result<Store, Failure> {
    store(folder, CHUNK_BYTES_MAX, 0)
}

/// Applies blank entries until a boundary is reached.
pub(super) fn reach_boundary(store: &mut Store) -> Result<(), Failure> {
    while !store.seal_due() {
        let index = store.applied().map_or(0, |applied| applied.index.0 + 1);
        store.apply(Entry { log_id: LogId::new(1, index), payload: Payload::Blank })?;
    }
    Ok(())
}
