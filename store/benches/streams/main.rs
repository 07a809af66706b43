//! Measures many streams: random appends to them, a restart, and lists of the streams; bytes written, times
//! and memory, of the store alone.
//!
//! `cargo bench -p quorate-store --bench streams -- --streams 10000000 --appends 2000000 --size 256`
//!
//! First every stream gets an event, then `--appends` appends go to random streams, each an entry of its own,
//! while seals run on another thread. Then the store is dropped and opened again, the entries that were not
//! sealed are applied again, and all streams are listed. `--open` measures only the opening of the store in
//! `--folder`, and the lists.

#![expect(clippy::disallowed_methods, reason = "it measures time, and seals on a thread")]

mod counting;
mod list;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_proto::{
    Append, Event, EventId, EventType, Expectation, LogId, StreamName, Timestamp, Write,
};
use quorate_store::vfs::Vfs;
use quorate_store::{Entry, Fault, Options, Payload, Sealed, Store, command};

use counting::Counting;

/// The number of streams that get their first event with one entry.
const FOUNDED_AT_ONCE: u64 = 50;

struct Settings {
    streams: u64,
    appends: u64,
    size: usize,
    chunk_mib: u64,
    filter_kib: usize,
    catalog_mib: usize,
    heads_mib: usize,
    folder: PathBuf,
    open: bool,
}

impl Settings {
    fn from_arguments() -> Result<Settings, Box<dyn Error>> {
        let mut settings = Settings {
            streams: 100_000,
            appends: 100_000,
            size: 256,
            chunk_mib: 64,
            filter_kib: 16 * 1024,
            catalog_mib: 32,
            heads_mib: 96,
            folder: std::env::temp_dir().join("quorate-bench-streams"),
            open: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--open" => settings.open = true,
                "--bench" => {}
                name => {
                    let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
                    match name {
                        "--streams" => settings.streams = value.parse()?,
                        "--appends" => settings.appends = value.parse()?,
                        "--size" => settings.size = value.parse()?,
                        "--chunk-mib" => settings.chunk_mib = value.parse()?,
                        "--filter-kib" => settings.filter_kib = value.parse()?,
                        "--catalog-mib" => settings.catalog_mib = value.parse()?,
                        "--heads-mib" => settings.heads_mib = value.parse()?,
                        "--folder" => settings.folder = value.into(),
                        _ => return Err(format!("unknown: {name}").into()),
                    }
                }
            }
        }
        Ok(settings)
    }

    fn options(&self) -> Options {
        Options {
            cluster: [7; 16],
            log: 0,
            chunk_bytes: self.chunk_mib << 20,
            hash_seed: [5; 16],
            head_cache_bytes: self.heads_mib << 20,
            block_cache_bytes: 64 << 20,
            catalog_cache_bytes: self.catalog_mib << 20,
            filter_bytes: self.filter_kib << 10,
        }
    }
}

/// Numbers that look random and are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A store under load, with its seals on another thread.
struct Load {
    vfs: Counting,
    store: Store,
    random: Random,
    size: usize,
    next_index: u64,
    /// The applied entries that may not be in a checkpoint yet.
    log: Vec<Entry>,
    sealing: Option<Receiver<(Result<Sealed, Fault>, Duration)>>,
    seals: Vec<Duration>,
    /// The time for which apply had to wait for seals.
    stalled: Duration,
}

impl Load {
    fn write(&mut self, stream: u64) -> Write {
        let mut id = [0; 16];
        let mut data = vec![0; self.size];
        for piece in id.chunks_mut(8).chain(data.chunks_mut(8)) {
            let bytes = self.random.next().to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
        let id = EventId::from_bytes(id).expect("not nil");
        let kind = EventType::new("Counted").expect("a type");
        Write {
            stream: StreamName::new(format!("order-{stream:08}")).expect("a name"),
            expectation: Expectation::Any,
            events: vec![Event::new(id, kind, Bytes::from(data))],
        }
    }

    fn entry(&mut self, streams: impl Iterator<Item = u64>) -> Entry {
        let index = self.next_index;
        self.next_index += 1;
        let mut builder = command::Builder::new(Timestamp(index as i64));
        for stream in streams {
            let append = Append { writes: vec![self.write(stream)], ..Append::default() };
            builder.push(&command::encode_append(&append));
        }
        let payload = Payload::Command(builder.finish());
        Entry { log_id: LogId::new(1, index), payload }
    }

    /// Applies an entry and returns the time that it took, not counting a wait for a seal.
    fn apply(&mut self, entry: Entry) -> Result<Duration, Fault> {
        self.finish_seals(false)?;
        if self.store.must_wait() {
            let start = Instant::now();
            self.finish_seals(true)?;
            self.stalled += start.elapsed();
        }
        self.log.push(entry.clone());
        let start = Instant::now();
        self.store.apply(entry)?;
        let elapsed = start.elapsed();
        self.begin_seal();
        Ok(elapsed)
    }

    fn begin_seal(&mut self) {
        if let Some(seal) = self.store.begin_seal() {
            let (done, receiver) = channel();
            self.sealing = Some(receiver);
            thread::spawn(move || {
                let start = Instant::now();
                let sealed = seal.run();
                let _the_load_failed = done.send((sealed, start.elapsed()));
            });
        }
    }

    fn finish_seals(&mut self, wait: bool) -> Result<(), Fault> {
        while let Some(sealing) = &self.sealing {
            let done = if wait { sealing.recv().ok() } else { sealing.try_recv().ok() };
            let Some((sealed, elapsed)) = done else { break };
            self.seals.push(elapsed);
            self.store.finish_seal(sealed?)?;
            self.sealing = None;
            let checkpointed = self.store.checkpointed();
            self.log.retain(|entry| Some(entry.log_id) > checkpointed);
            self.begin_seal();
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_arguments()?;
    if settings.open {
        open(&settings, Vec::new())?;
        return Ok(());
    }
    if settings.folder.exists() {
        std::fs::remove_dir_all(&settings.folder)?;
    }
    let vfs = Counting::default();
    let store = Store::open(Arc::new(vfs.clone()), &settings.folder, settings.options())?;
    let mut load = Load {
        vfs,
        store,
        random: Random(42),
        size: settings.size,
        next_index: 0,
        log: Vec::new(),
        sealing: None,
        seals: Vec::new(),
        stalled: Duration::ZERO,
    };
    found(&mut load, &settings)?;
    append(&mut load, &settings)?;
    let log = std::mem::take(&mut load.log);
    drop(load);
    open(&settings, log)?;
    Ok(())
}

fn found(load: &mut Load, settings: &Settings) -> Result<(), Fault> {
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    for first in (0..settings.streams).step_by(FOUNDED_AT_ONCE as usize) {
        let last = (first + FOUNDED_AT_ONCE).min(settings.streams);
        // The order of the first events is not that of the names.
        let streams = (first..last).map(|at| at.wrapping_mul(7_368_787) % settings.streams);
        let entry = load.entry(streams);
        slowest = slowest.max(load.apply(entry)?);
    }
    load.finish_seals(true)?;
    report("founding", load, settings.streams, start.elapsed(), &mut []);
    println!("  slowest entry of {FOUNDED_AT_ONCE} appends: {slowest:?}");
    Ok(())
}

fn append(load: &mut Load, settings: &Settings) -> Result<(), Fault> {
    let before = (load.vfs.chunks.written(), load.vfs.catalog.written());
    let read = load.vfs.catalog.read();
    load.seals.clear();
    load.stalled = Duration::ZERO;
    let start = Instant::now();
    let mut times = Vec::new();
    for _ in 0..settings.appends {
        let stream = load.random.next() % settings.streams;
        let entry = load.entry(std::iter::once(stream));
        times.push(load.apply(entry)?);
    }
    load.finish_seals(true)?;
    let each = |bytes: u64| bytes as f64 / settings.appends as f64;
    report("random appends", load, settings.appends, start.elapsed(), &mut times);
    println!(
        "  of these alone, bytes an event: {:.1} written to chunks, {:.1} to the catalog, {:.1} read from it",
        each(load.vfs.chunks.written() - before.0),
        each(load.vfs.catalog.written() - before.1),
        each(load.vfs.catalog.read() - read),
    );
    Ok(())
}

fn report(what: &str, load: &Load, events: u64, elapsed: Duration, times: &mut [Duration]) {
    let per_second = events as f64 / elapsed.as_secs_f64();
    println!("{what}: {events} events in {elapsed:.1?}, {per_second:.0}/s");
    times.sort_unstable();
    let quantile = |per_mille: usize| times.get(times.len() * per_mille / 1000);
    if let (Some(p50), Some(p99), Some(p999)) = (quantile(500), quantile(990), quantile(999)) {
        println!("  apply: p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, most {:?}", times.last());
    }
    let most = load.seals.iter().max().copied().unwrap_or_default();
    let mean = load.seals.iter().sum::<Duration>() / load.seals.len().max(1) as u32;
    println!(
        "  {} seals: mean {mean:.2?}, most {most:.2?}; apply waited {:.1?}",
        load.seals.len(),
        load.stalled
    );
    println!("  memory {} MiB, at most {} MiB", memory_mib("VmRSS:"), memory_mib("VmHWM:"));
}

/// Opens the store and applies a log again; a cold start if the page cache was dropped before.
fn open(settings: &Settings, log: Vec<Entry>) -> Result<(), Box<dyn Error>> {
    let vfs = Counting::default();
    let before = memory_mib("VmRSS:");
    let start = Instant::now();
    let mut store = Store::open(Arc::new(vfs.clone()), &settings.folder, settings.options())?;
    let opened = start.elapsed();
    println!(
        "opening: {opened:.3?} at position {}; read {} KiB of chunks and {} KiB beside; memory {} to {} MiB",
        store.position().0,
        vfs.chunks.read() >> 10,
        vfs.catalog.read() >> 10,
        before,
        memory_mib("VmRSS:"),
    );
    let count = log.len();
    let start = Instant::now();
    for entry in log {
        store.apply(entry)?;
    }
    println!("  applied {count} entries again in {:.3?}", start.elapsed());
    let directory = &settings.folder;
    let mut bytes = [0, 0];
    for (folder, sum) in [directory.join("chunks"), directory.clone()].iter().zip(&mut bytes) {
        for name in vfs.list(folder)? {
            *sum += std::fs::metadata(folder.join(name))?.len();
        }
    }
    let [chunks, catalog] = bytes.map(|bytes| bytes >> 20);
    println!("  on disk: {chunks} MiB of chunks, {catalog} MiB of catalog");
    list::measure(&store.reader())
}

/// Returns a line of the kernel's status of this process, in MiB; 0 if there is no such line.
fn memory_mib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
