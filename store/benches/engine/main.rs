//! Measures the engine alone: bytes on disk, appends, replays, single streams, rare types, opening.
//!
//! `cargo bench -p quorate-store --bench engine [-- --chunk-mib 16 --bpic FILE.ndjson.gz --random 200000]`
//!
//! Reads are timed in three states: *disk*, nothing of the store in memory, neither in the page cache of the
//! system nor in the store's own; *cold*, the store just opened, its files in the page cache; *warm*, the
//! same read again. All events are in chunks when they are read.
#![allow(clippy::disallowed_methods, reason = "it measures time, outside of any simulation")]

mod events;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_proto::{
    Append, Event, Expectation, LogId, Query, QueryItem, Read, StreamName, Timestamp,
};
use quorate_store::vfs::OsVfs;
use quorate_store::{Entry, Options, Payload, ReadCounters, Store, command};

use events::Workload;

/// The number of appends that share an entry, as when many writers wait for one fdatasync.
const APPENDS_PER_ENTRY: usize = 100;
const PAGE_BYTES: usize = 256 * 1024;

struct Settings {
    chunk_mib: u64,
    bpic: PathBuf,
    random: usize,
    folder: PathBuf,
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut settings = Settings {
        chunk_mib: 16,
        bpic: root.join("../../shared/data/bpic2012.ndjson.gz"),
        random: 200_000,
        folder: std::env::temp_dir().join("quorate-bench-engine"),
    };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--chunk-mib" => settings.chunk_mib = value.parse()?,
            "--bpic" => settings.bpic = value.into(),
            "--random" => settings.random = value.parse()?,
            "--folder" => settings.folder = value.into(),
            _ => return Err(format!("unknown: {name}").into()),
        }
    }
    Ok(settings)
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = settings()?;
    if settings.bpic.exists() {
        measure(events::bpic(&settings.bpic)?, &settings)?;
    } else {
        println!("{} is not there: left out", settings.bpic.display());
    }
    measure(events::random(settings.random), &settings)
}

fn measure(workload: Workload, settings: &Settings) -> Result<(), Box<dyn Error>> {
    let folder = settings.folder.join(workload.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let count = workload.events.len() as u64;
    println!("\n{}: {count} events", workload.name);
    let Workload { stream, rare_type, .. } = workload;
    load(workload.events, &folder, settings)?;
    let each = |bytes: u64| bytes as f64 / count as f64;
    let (chunks, rest) = (bytes_of(&folder.join("chunks"))?, bytes_of(&folder)?);
    row("chunk files, bytes an event", format!("{:.1}", each(chunks)));
    row("catalog beside them", format!("{:.1}", each(rest)));
    drop_page_cache(&folder)?;
    let start = Instant::now();
    let store = open(&folder, settings)?;
    row("open, disk", format!("{:.1?}", start.elapsed()));
    drop(store);
    let start = Instant::now();
    let store = open(&folder, settings)?;
    row("open, cold", format!("{:.1?}", start.elapsed()));
    drop(store);
    let item = |kind| QueryItem { types: vec![kind], ..QueryItem::default() };
    let rare = Read::query(Query { items: vec![item(rare_type)] });
    for (what, read) in [
        ("stream", Read::stream(stream)),
        ("rare type", rare),
        ("full replay", Read::query(Query::everything())),
    ] {
        three_times(what, &read, &folder, settings)?;
    }
    row("memory, at most", format!("{} MiB", memory_mib("VmHWM:")));
    Ok(())
}

fn row(what: &str, value: String) {
    println!("  {what:<32} {value}");
}

fn options(settings: &Settings) -> Options {
    Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: settings.chunk_mib << 20,
        hash_seed: [5; 16],
        head_cache_bytes: 96 << 20,
        block_cache_bytes: 64 << 20,
        catalog_cache_bytes: 16 << 20,
        filter_bytes: 16 << 20,
    }
}

fn open(folder: &Path, settings: &Settings) -> Result<Store, Box<dyn Error>> {
    Ok(Store::open(Arc::new(OsVfs), folder, options(settings))?)
}

/// Applies all events, each an append of its own, and seals them, on this thread.
fn load(
    events: Vec<(StreamName, Event)>,
    folder: &Path,
    settings: &Settings,
) -> Result<(), Box<dyn Error>> {
    let count = events.len();
    let mut store = open(folder, settings)?;
    let (mut applying, mut seals) = (Duration::ZERO, Vec::new());
    let mut events = events.into_iter().peekable();
    let mut index = 0;
    // After the last event come blank entries up to the boundary, so that all events are in chunks.
    while events.peek().is_some() || store.checkpointed() < last_with_events(count) {
        let mut builder = command::Builder::new(Timestamp(1_700_000_000_000_000 + index as i64));
        for (stream, event) in events.by_ref().take(APPENDS_PER_ENTRY) {
            let append = Append::to(stream, Expectation::Any, vec![event]);
            builder.push(&command::encode_append(&append));
        }
        let payload = match builder.count() {
            0 => Payload::Blank,
            _ => Payload::Command(builder.finish()),
        };
        let start = Instant::now();
        store.apply(Entry { log_id: LogId::new(1, index), payload })?;
        applying += start.elapsed();
        index += 1;
        if let Some(seal) = store.begin_seal() {
            let start = Instant::now();
            let sealed = seal.run()?;
            seals.push(start.elapsed());
            store.finish_seal(sealed)?;
        }
    }
    let rate = count as f64 / applying.as_secs_f64();
    row("apply, events/s", format!("{rate:.0}"));
    let (most, sum) = (seals.iter().max().copied(), seals.iter().sum::<Duration>());
    let most = most.unwrap_or_default();
    row("seals", format!("{}, most {most:.0?}, together {sum:.0?}", seals.len()));
    Ok(())
}

/// Returns the entry that holds the last of `count` events.
fn last_with_events(count: usize) -> Option<LogId> {
    let entries = count.div_ceil(APPENDS_PER_ENTRY) as u64;
    entries.checked_sub(1).map(|last| LogId::new(1, last))
}

/// Times a read with nothing in memory, then with the files in the page cache, then once more.
fn three_times(
    what: &str,
    read: &Read,
    folder: &Path,
    settings: &Settings,
) -> Result<(), Box<dyn Error>> {
    drop_page_cache(folder)?;
    let store = open(folder, settings)?;
    let (disk, _, _) = timed(&store, read)?;
    drop(store);
    let store = open(folder, settings)?;
    let (cold, events, counters) = timed(&store, read)?;
    let (warm, _, again) = timed(&store, read)?;
    let rate = events as f64 / cold.as_secs_f64() / 1e6;
    row(what, format!("{events} events: disk {disk:.2?}, cold {cold:.2?}, warm {warm:.2?}"));
    let ReadCounters { blocks, pages, bytes, .. } = counters;
    row("", format!("{blocks} blocks, {pages} pages, {} KiB; {rate:.2} M events/s", bytes >> 10));
    row("", format!("again: {} of {} cached", again.hits, again.blocks + again.pages));
    Ok(())
}

fn timed(store: &Store, read: &Read) -> Result<(Duration, u64, ReadCounters), Box<dyn Error>> {
    let start = Instant::now();
    let mut scan = store.reader().scan(read)?;
    let mut events = 0;
    while let Some(page) = scan.next_page(PAGE_BYTES)? {
        events += page.len() as u64;
    }
    Ok((start.elapsed(), events, scan.counters()))
}

fn bytes_of(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        bytes += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(bytes)
}

/// Takes the store's files out of the system's page cache; they are durable.
fn drop_page_cache(folder: &Path) -> Result<(), Box<dyn Error>> {
    for folder in [folder.to_owned(), folder.join("chunks")] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                let file = fs::File::open(path)?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
        }
    }
    Ok(())
}

fn memory_mib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
