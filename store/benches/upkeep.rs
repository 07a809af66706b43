//! Measures the upkeep of a store: scrub, scavenge, verify.
//!
//! `cargo bench -p quorate-store --bench upkeep -- MiB-of-events bytes-per-event streams`
//!
//! The events go to streams in turn; half of each stream is then truncated, so that every chunk loses events.

#![expect(clippy::disallowed_methods, reason = "it measures time, alone")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quorate_proto::{
    Append, Category, Change, ChangeKind, Event, EventId, EventType, Expectation, LogId, Scope,
    Setting, SettingsChange, StreamName, Timestamp,
};
use quorate_store::vfs::OsVfs;
use quorate_store::{
    Entry, Fault, Options, Payload, ScavengeStep, ScrubStep, Store, command, verify,
};

/// The number of appends in one entry.
const AT_ONCE: u64 = 100;
const STEP_BYTES: u64 = 1024 * 1024;

/// Numbers that look random and are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            piece.copy_from_slice(&number[..piece.len()]);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let given: Vec<u64> = numbers.collect();
    let mib = given.first().copied().unwrap_or(256);
    let size = given.get(1).copied().unwrap_or(256);
    let streams = given.get(2).copied().unwrap_or(10_000);
    let folder = tempfile::tempdir()?;
    let options = Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: 64 << 20,
        hash_seed: [5; 16],
        head_cache_bytes: 96 << 20,
        block_cache_bytes: 64 << 20,
        catalog_cache_bytes: 32 << 20,
        filter_bytes: 16 << 20,
    };
    let mut store = Store::open(Arc::new(OsVfs), folder.path(), options)?;
    fill(&mut store, mib << 20, size, streams)?;
    scrub(&store)?;
    whole(folder.path());
    scavenge(&mut store)?;
    scrub(&store)?;
    whole(folder.path());
    Ok(())
}

fn fill(store: &mut Store, bytes: u64, size: u64, streams: u64) -> Result<(), Fault> {
    let mut random = Random(42);
    let mut data = vec![0; size as usize];
    let mut id = [0; 16];
    let kind = EventType::new("Counted").expect("a type");
    let (mut index, mut written) = (0, 0);
    while written < bytes {
        let mut builder = command::Builder::new(Timestamp(index));
        for _ in 0..AT_ONCE {
            random.fill(&mut id);
            random.fill(&mut data);
            let stream = StreamName::new(format!("order-{:08}", written / size % streams));
            let event_id = EventId::from_bytes(id).expect("not nil");
            let event = Event::new(event_id, kind.clone(), Bytes::copy_from_slice(&data));
            let append = Append::to(stream.expect("a name"), Expectation::Any, vec![event]);
            builder.push(&command::encode_append(&append));
            written += size;
        }
        apply(store, &mut index, Payload::Command(builder.finish()))?;
    }
    let max_count = Setting::Put((bytes / size / streams / 2).max(1));
    let settings = SettingsChange { max_count, ..SettingsChange::default() };
    let change = Change {
        scope: Scope::Category(Category::new("order").expect("a category")),
        expectation: Expectation::Any,
        id: EventId::from_bytes([9; 16]).expect("not nil"),
        kind: ChangeKind::Settings(settings),
    };
    let mut builder = command::Builder::new(Timestamp(index));
    builder.push(&command::encode_append(&change.to_append().expect("a change")));
    apply(store, &mut index, Payload::Command(builder.finish()))?;
    let before = store.checkpointed();
    while store.checkpointed() == before {
        apply(store, &mut index, Payload::Blank)?;
    }
    Ok(())
}

fn apply(store: &mut Store, index: &mut i64, payload: Payload) -> Result<(), Fault> {
    store.apply(Entry { log_id: LogId::new(1, *index as u64), payload })?;
    *index += 1;
    while let Some(seal) = store.begin_seal() {
        store.finish_seal(seal.run()?)?;
    }
    Ok(())
}

fn scrub(store: &Store) -> Result<(), Fault> {
    let (start, mut bytes) = (Instant::now(), 0);
    let mut scrub = store.scrub();
    loop {
        match scrub.step(STEP_BYTES)? {
            ScrubStep::Whole(more) => bytes += more,
            ScrubStep::Damaged { number, fault } => println!("chunk {number}: {fault}"),
            ScrubStep::Done => break,
        }
    }
    report("scrub", bytes, start);
    Ok(())
}

fn scavenge(store: &mut Store) -> Result<(), Fault> {
    let start = Instant::now();
    let (mut before, mut after, mut events) = (0, 0, 0);
    let Some(mut scavenge) = store.begin_scavenge() else { return Ok(()) };
    loop {
        match scavenge.step()? {
            ScavengeStep::Rewritten(scavenged) => {
                before += scavenged.bytes_before();
                after += scavenged.bytes_after();
                events += scavenged.events_removed();
                store.put_scavenged(scavenged);
            }
            ScavengeStep::Kept(_) => {}
            ScavengeStep::Done => break,
        }
    }
    report("scavenge", before, start);
    println!("  {events} events left, {} MiB became {} MiB", before >> 20, after >> 20);
    Ok(())
}

fn whole(folder: &Path) {
    let start = Instant::now();
    match verify(&OsVfs, folder) {
        Ok(report_of) => report("verify", report_of.bytes, start),
        Err(faults) => println!("verify: {faults:?}"),
    }
}

fn report(what: &str, bytes: u64, start: Instant) {
    let elapsed = start.elapsed();
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{what}: {mib:.0} MiB in {elapsed:.2?}, {:.0} MiB/s", mib / elapsed.as_secs_f64());
}
