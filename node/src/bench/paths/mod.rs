//! The hot paths of a node and its clients, each alone: without a cluster, on fixed input, so many rounds of it.
//!
//! Everything is prepared before the first round, whatever the number of rounds. So the difference between two runs
//! is the cost of the rounds that one of them has more; the budgets of instructions are counted so.

mod input;

use std::error::Error;
use std::path::Path as Folder;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use quorate_proto::wire::v1::session_append::Request;
use quorate_proto::wire::v1::{self, read_response};
use quorate_proto::wire::{BatchDecoder, append_bytes, message_bytes, message_of};
use quorate_proto::{LogId, Query, Read, Timestamp};
use quorate_raft::log::{EntryKind, LogEntry, LogOptions, LogWriter, RaftLog, Reach};
use quorate_store::vfs::OsVfs;
use quorate_store::{Store, command};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::server::steps;
use input::{APPENDS_PER_ENTRY, Input, endless_store, reach_boundary, store};

/// The most rounds of a run.
pub(crate) const ROUNDS_MAX: usize = 6;
/// The appends or events of one round, of most paths.
const EACH_ROUND: usize = 2_000;
/// The appends of one message of a session, and of the entry that they become.
const APPENDS_PER_MESSAGE: usize = 32;
/// The streams that are read in one round, and the events of each.
const STREAMS_PER_ROUND: usize = 50;
const EVENTS_PER_STREAM: usize = 20;
const PAGE_BYTES: usize = 256 * 1024;
/// Larger than all that the paths write to the log.
const SEGMENT_BYTES: u64 = 32 << 20;

pub(crate) type Failure = Box<dyn Error>;
/// Runs the round of a number, and returns how many operations it had.
type Round = Box<dyn FnMut(usize) -> Result<usize, Failure>>;

/// A hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HotPath {
    /// A client encodes appends as messages of a session.
    Send,
    /// A node decodes, checks and encodes the appends of a session's messages.
    Accept,
    /// Encoded appends, 32 in an entry, go into the Raft log and onto the disk.
    Log,
    /// Appends of one event, 100 in an entry, are applied.
    Apply,
    /// Events are applied, 100 in an append.
    ApplyMany,
    /// Events become a chunk and a checkpoint.
    Seal,
    /// All events are read from a chunk.
    Scan,
    /// Streams of 20 scattered events are read from a chunk whose blocks are in memory.
    Stream,
    /// A node makes messages of events in a chunk.
    Answer,
    /// A client takes events from messages.
    Receive,
}

/// The result of a run.
pub(crate) struct Ran {
    pub(crate) operations: usize,
    pub(crate) time: Duration,
}

impl HotPath {
    /// Prepares the path and goes it for so many rounds, at most [`ROUNDS_MAX`].
    pub(crate) fn run(self, rounds: usize) -> Result<Ran, Failure> {
        let folder = TempDir::new()?;
        let mut round = self.prepare(folder.path())?;
        let began_at = Instant::now();
        let mut operations = 0;
        for number in 0..rounds.min(ROUNDS_MAX) {
            operations += round(number)?;
        }
        Ok(Ran { operations, time: began_at.elapsed() })
    }

    fn prepare(self, folder: &Folder) -> Result<Round, Failure> {
        match self {
            HotPath::Send => send(),
            HotPath::Accept => accept(),
            HotPath::Log => log(folder),
            HotPath::Apply => apply(folder, 1, APPENDS_PER_ENTRY),
            HotPath::ApplyMany => apply(folder, 100, 1),
            HotPath::Seal => seal(folder),
            HotPath::Scan => scan(folder),
            HotPath::Stream => stream(folder),
            HotPath::Answer => answer(folder),
            HotPath::Receive => receive(folder),
        }
    }
}

fn send() -> Result<Round, Failure> {
    let mut input = Input::new(EACH_ROUND, 1);
    let appends = (0..EACH_ROUND).map(|_| input.append()).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |_| {
        for appends in appends.chunks(APPENDS_PER_MESSAGE) {
            std::hint::black_box(message_bytes(&message(appends)));
        }
        Ok(appends.len())
    }))
}

/// Returns the message of a session with these appends.
fn message(appends: &[quorate_proto::Append]) -> v1::AppendSessionRequest {
    let append = |(number, append): (usize, &quorate_proto::Append)| v1::SessionAppend {
        number: number as u64,
        request: Some(Request::Append(append_bytes(append))),
        deadline_ms: 10_000,
        expires_alone: false,
    };
    v1::AppendSessionRequest { appends: appends.iter().enumerate().map(append).collect() }
}

fn accept() -> Result<Round, Failure> {
    let mut input = Input::new(EACH_ROUND, 1);
    let appends = (0..EACH_ROUND).map(|_| input.append()).collect::<Result<Vec<_>, _>>()?;
    let messages =
        appends.chunks(APPENDS_PER_MESSAGE).map(|appends| message_bytes(&message(appends)));
    let messages: Vec<Bytes> = messages.map(Bytes::from).collect();
    Ok(Box::new(move |_| {
        for message in &messages {
            std::hint::black_box(steps::accept(message.clone())?);
        }
        Ok(appends.len())
    }))
}

fn log(folder: &Folder) -> Result<Round, Failure> {
    let mut input = Input::new(EACH_ROUND, 1);
    let requests = (0..EACH_ROUND).map(|_| Ok(command::encode_append(&input.append()?)));
    let requests = requests.collect::<Result<Vec<_>, Failure>>()?;
    let (log, mut writer) = open_log(folder)?;
    let mut index = 0;
    Ok(Box::new(move |_| {
        for requests in requests.chunks(APPENDS_PER_MESSAGE) {
            index += 1;
            append_to_log(&log, &mut writer, index, requests)?;
        }
        Ok(requests.len())
    }))
}

fn open_log(folder: &Folder) -> Result<(RaftLog, LogWriter), Failure> {
    let options = LogOptions {
        cluster: [7; 16],
        log: 0,
        node: 1,
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 1 << 20,
        covered: None,
        reach: Reach::default(),
        boot: 0,
    };
    Ok(RaftLog::open(Arc::new(OsVfs), folder, options)?)
}

/// Makes an entry of these requests, and writes and syncs it.
fn append_to_log(
    log: &RaftLog,
    writer: &mut LogWriter,
    index: u64,
    requests: &[Bytes],
) -> Result<(), Failure> {
    let mut builder = command::Builder::new(Timestamp(1_700_000_000_000_000));
    requests.iter().for_each(|request| builder.push(request));
    let payload = builder.finish();
    let entry = LogEntry { id: LogId::new(1, index), kind: EntryKind::Normal, payload };
    // The writer returns the error, too.
    log.append(vec![entry], Box::new(drop));
    writer.write()?;
    Ok(writer.sync()?)
}

fn apply(
    folder: &Folder,
    events_per_append: usize,
    appends_per_entry: usize,
) -> Result<Round, Failure> {
    let each_round = EACH_ROUND / events_per_append;
    // Each stream is appended to twice.
    let mut input = Input::new(each_round * ROUNDS_MAX / 2, events_per_append);
    let entries = input.entries(0, each_round * ROUNDS_MAX, appends_per_entry)?;
    let mut entries = entries.into_iter();
    let mut store = endless_store(folder)?;
    Ok(Box::new(move |_| {
        for entry in entries.by_ref().take(each_round / appends_per_entry) {
            std::hint::black_box(store.apply(entry)?);
        }
        Ok(EACH_ROUND)
    }))
}

fn seal(folder: &Folder) -> Result<Round, Failure> {
    let mut stores = Vec::new();
    for number in 0..ROUNDS_MAX {
        let folder = folder.join(number.to_string());
        stores.push(full_store(&folder, Input::new(EACH_ROUND / 2, 1), EACH_ROUND, 0)?);
    }
    Ok(Box::new(move |number| {
        let store = stores.get_mut(number).ok_or("there are too many rounds")?;
        run_seal(store)?;
        Ok(EACH_ROUND)
    }))
}

/// Returns a store in which so many appends wait to be sealed.
fn full_store(
    folder: &Folder,
    mut input: Input,
    appends: usize,
    cache_bytes: usize,
) -> Result<Store, Failure> {
    // An append counts less than this, its keys included.
    let mut store = store(folder, appends as u64 * 1_024, cache_bytes)?;
    for entry in input.entries(0, appends, APPENDS_PER_ENTRY)? {
        store.apply(entry)?;
    }
    reach_boundary(&mut store)?;
    Ok(store)
}

fn run_seal(store: &mut Store) -> Result<(), Failure> {
    let seal = store.begin_seal().ok_or("no boundary was reached")?;
    let sealed = seal.run()?;
    drop(store.finish_seal(sealed)?);
    Ok(())
}

/// Returns a store with so many events in one chunk, of streams that were appended to in turn.
fn sealed_store(
    folder: &Folder,
    streams: usize,
    appends: usize,
    cache_bytes: usize,
) -> Result<Store, Failure> {
    let mut store = full_store(folder, Input::new(streams, 1), appends, cache_bytes)?;
    run_seal(&mut store)?;
    Ok(store)
}

fn scan(folder: &Folder) -> Result<Round, Failure> {
    let store = sealed_store(folder, EACH_ROUND / 2, EACH_ROUND, 0)?;
    Ok(Box::new(move |_| count(&store, &Read::query(Query::everything()))))
}

/// Reads, and returns the number of events.
fn count(store: &Store, read: &Read) -> Result<usize, Failure> {
    let mut scan = store.reader().scan(read)?;
    let mut events = 0;
    while let Some(page) = scan.next_page(PAGE_BYTES)? {
        events += std::hint::black_box(page).len();
    }
    Ok(events)
}

fn stream(folder: &Folder) -> Result<Round, Failure> {
    let streams = STREAMS_PER_ROUND * ROUNDS_MAX;
    let cache_bytes = 64 << 20;
    let store = sealed_store(folder, streams, streams * EVENTS_PER_STREAM, cache_bytes)?;
    Ok(Box::new(move |round| {
        let mut events = 0;
        for number in (round..streams).step_by(ROUNDS_MAX) {
            events += count(&store, &Read::stream(Input::stream(number)?))?;
        }
        Ok(events)
    }))
}

fn answer(folder: &Folder) -> Result<Round, Failure> {
    let store = sealed_store(folder, EACH_ROUND / 2, EACH_ROUND, 0)?;
    Ok(Box::new(move |_| {
        let scan = store.reader().scan(&Read::query(Query::everything()))?;
        Ok(steps::answer(Box::new(scan), |message| drop(std::hint::black_box(message)))?)
    }))
}

fn receive(folder: &Folder) -> Result<Round, Failure> {
    let store = sealed_store(folder, EACH_ROUND / 2, EACH_ROUND, 0)?;
    let scan = store.reader().scan(&Read::query(Query::everything()))?;
    let mut messages = Vec::new();
    steps::answer(Box::new(scan), |message| messages.push(Bytes::from(message)))?;
    let mut decoder = BatchDecoder::default();
    Ok(Box::new(move |_| {
        let mut events = 0;
        for message in &messages {
            let response: v1::ReadResponse = message_of(message)?;
            let Some(read_response::Message::Events(batch)) = response.message else {
                return Err("the answer has no events".into());
            };
            events += std::hint::black_box(decoder.decode(&batch)?).len();
        }
        Ok(events)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_does_the_same_in_each_round() {
        for path in HotPath::value_variants() {
            let ran = [1, 2].map(|rounds| path.run(rounds).expect("the path runs").operations);
            assert!(ran[0] > 0 && ran[1] == 2 * ran[0], "{path:?}: {ran:?}");
        }
    }
}
