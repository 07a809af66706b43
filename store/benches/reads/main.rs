//! Measures reads and conditions over many chunks: times, and blocks and pages read, of the store alone.
//!
//! `cargo bench -p quorate-store --bench reads -- --chunks 500`
//!
//! Every chunk (1 MiB of commands) holds two events of one stream, so that its events lie as far apart as
//! they can, among events of 100,000 other streams. *Cold* is the first read after opening, with the files
//! put out of the system's cache; *warm* is the same read again.

#![expect(clippy::disallowed_methods, reason = "a benchmark needs a clock")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quorate_proto::{
    Append, Condition, CorrelationId, Direction, Event, EventId, EventType, Expectation, LogId,
    Position, Query, QueryItem, Read, StreamName, Tag, Timestamp,
};
use quorate_store::vfs::OsVfs;
use quorate_store::{Entry, Options, Payload, Reader, Store, command};
use rustix::fs::{Advice, fadvise};

type Failure = Box<dyn Error>;

const PAGE_BYTES: usize = 256 * 1024;

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

fn options() -> Options {
    Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: 1 << 20,
        hash_seed: [5; 16],
        head_cache_bytes: 96 << 20,
        block_cache_bytes: 64 << 20,
        catalog_cache_bytes: 32 << 20,
        filter_bytes: 1 << 20,
    }
}

fn event(random: &mut Random) -> Event {
    let mut id = [0; 16];
    for piece in id.chunks_mut(8) {
        piece.copy_from_slice(&random.next().to_le_bytes());
    }
    let id = EventId::from_bytes(id).expect("not nil");
    let number = random.next();
    let kind = if number.is_multiple_of(10_000) {
        "Rare".to_owned()
    } else {
        format!("Common{}", number % 7)
    };
    let data: String =
        (0..8).map(|at| format!(r#""field{at}":{},"#, random.next() % 100_000)).collect();
    Event {
        tags: [format!("customer:{}", random.next() % 10_000), "eu".to_owned()]
            .map(|tag| Tag::new(tag).expect("a tag"))
            .into(),
        correlation_id: CorrelationId::new(format!("cmd-{}", random.next() % 100_000)).ok(),
        ..Event::new(id, EventType::new(kind).expect("a type"), Bytes::from(format!("{{{data}}}")))
    }
}

/// Fills a store until it has `chunks` chunks.
fn fill(folder: &Path, chunks: usize) -> Result<(), Failure> {
    let mut store = Store::open(Arc::new(OsVfs), folder, options())?;
    let mut random = Random(42);
    let (mut index, mut sealed) = (0, 0);
    while sealed < chunks {
        let mut builder = command::Builder::new(Timestamp(index as i64));
        for at in 0..100 {
            let is_spread = at == 50 && index % 16 < 2;
            let name = match is_spread {
                true => "spread-1".to_owned(),
                false => format!("order-{}", random.next() % 100_000),
            };
            let name = StreamName::new(name)?;
            let append = Append::to(name, Expectation::Any, vec![event(&mut random)]);
            builder.push(&command::encode_append(&append));
        }
        let payload = Payload::Command(builder.finish());
        store.apply(Entry { log_id: LogId::new(1, index), payload })?;
        index += 1;
        while let Some(seal) = store.begin_seal() {
            store.finish_seal(seal.run()?)?;
            sealed += 1;
        }
    }
    println!("{} events in {sealed} chunks", store.position());
    Ok(())
}

/// Opens the store after taking its files out of the system's cache.
fn open_cold(folder: &Path) -> Result<Store, Failure> {
    for directory in [folder.to_owned(), folder.join("chunks")] {
        for file in std::fs::read_dir(directory)? {
            let path = file?.path();
            if path.is_file() {
                let file = std::fs::File::open(path)?;
                file.sync_all()?;
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
        }
    }
    Ok(Store::open(Arc::new(OsVfs), folder, options())?)
}

/// Times a read and describes its result and its cost.
fn read(reader: &Reader, read: &Read) -> Result<String, Failure> {
    let start = Instant::now();
    let mut scan = reader.scan(read)?;
    let (mut events, mut first) = (0, None);
    while let Some(page) = scan.next_page(PAGE_BYTES)? {
        if !page.is_empty() {
            first.get_or_insert_with(|| start.elapsed());
        }
        events += page.len();
    }
    let (took, first) = (start.elapsed(), first.unwrap_or_default());
    Ok(format!("{events} events in {took:.1?}, the first after {first:.1?}: {:?}", scan.counters()))
}

fn check(reader: &Reader, query: &Query, after: Position) -> Result<String, Failure> {
    let conditions = vec![Condition { query: query.clone(), after }];
    let append = Append { conditions, ..Append::default() };
    let start = Instant::now();
    let judged = reader.prejudge(&append)?;
    Ok(format!("{judged:?} in {:.1?}", start.elapsed()))
}

fn item(tags: &[&str], types: &[&str]) -> QueryItem {
    QueryItem {
        tags: tags.iter().map(|name| Tag::new(*name).expect("a tag")).collect(),
        types: types.iter().map(|name| EventType::new(*name).expect("a type")).collect(),
        ..QueryItem::default()
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let chunks = value("--chunks").map_or(Ok(100), |value| value.parse())?;
    let folder: PathBuf = value("--folder")
        .map_or_else(|| std::env::temp_dir().join("quorate-bench-reads"), PathBuf::from);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    fill(&folder, chunks)?;
    let of = |items: Vec<QueryItem>| Read::query(Query { items });
    let correlation = Some(CorrelationId::new("cmd-7")?);
    let spread = Read::stream(StreamName::new("spread-1")?);
    let reads = [
        ("a stream, two events in a chunk", spread.clone()),
        ("the same backwards", Read { direction: Direction::Backwards, ..spread }),
        ("one type in 10,000 events", of(vec![item(&[], &["Rare"])])),
        ("a tag of 1 in 10,000", of(vec![item(&["customer:7"], &[])])),
        (
            "that, a tag of all and a type of 1 in 7",
            of(vec![item(&["customer:7", "eu"], &["Common3"])]),
        ),
        ("a correlation id", of(vec![QueryItem { correlation, ..QueryItem::default() }])),
        ("a type of 1 in 7", of(vec![item(&[], &["Common3"])])),
        ("everything", of(Vec::new())),
    ];
    for (name, asked) in reads {
        let reader = open_cold(&folder)?.reader();
        println!("{name}\n  cold: {}\n  warm: {}", read(&reader, &asked)?, read(&reader, &asked)?);
    }
    let last = open_cold(&folder)?.position();
    let customer = Query { items: vec![item(&["customer:7", "eu"], &["Common3"])] };
    let unheard = Query { items: vec![item(&["customer:none", "eu"], &["Common3"])] };
    for (name, query, after) in [
        ("a condition from the last event on", &customer, last),
        ("one from the beginning", &customer, Position(0)),
        ("one of a tag that never was, from the beginning", &unheard, Position(0)),
    ] {
        let reader = open_cold(&folder)?.reader();
        println!(
            "{name}\n  cold: {}\n  warm: {}",
            check(&reader, query, after)?,
            check(&reader, query, after)?
        );
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
