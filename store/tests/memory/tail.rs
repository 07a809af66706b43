//! The memory that events which are not in a chunk yet take is bounded by the chunk size, whatever is appended.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::limits::{APPEND_STREAMS_MAX, NAME_PARTS_MAX, TAGS_MAX};
use quorate_proto::{
    Append, Category, Change, ChangeKind, CorrelationId, Event, EventId, EventType, Expectation,
    ListRequest, ListTarget, LogId, Requirement, Scope, Setting, SettingsChange, Snapshot,
    StreamName, Tag, Timestamp, Version, Write,
};
use quorate_store::defect::{Defect, put_back};
use quorate_store::vfs::MemVfs;
use quorate_store::{Entry, Options, Payload, Store, command};

use super::{allocated, alone};

/// Bytes of memory for each byte of the chunk size.
const RATIO_MAX: f64 = 6.0;
const CHUNK_BYTES: u64 = 4 << 20;

fn store() -> Store {
    let options = Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: CHUNK_BYTES,
        hash_seed: [5; 16],
        head_cache_bytes: 1600,
        block_cache_bytes: 0,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 1 << 10,
    };
    Store::open(Arc::new(MemVfs::new()), Path::new("/store"), options).expect("founds")
}

fn event(number: u64) -> Event {
    let id = EventId::from_bytes((u128::from(number) + 1).to_be_bytes()).expect("not nil");
    Event::new(id, EventType::new("Paid").expect("a type"), Bytes::new())
}

fn append(name: String, events: Vec<Event>) -> Bytes {
    let append = Append {
        writes: vec![Write {
            stream: StreamName::new(name).expect("a name"),
            expectation: Expectation::Any,
            events,
        }],
        ..Append::default()
    };
    append.check().expect("legal");
    command::encode_append(&append)
}

/// Returns the longest name with the most parts, none of them shared with another number's name.
fn deep(number: u64) -> String {
    let mut name = format!("{number:x}");
    name.push_str(&"/a".repeat(NAME_PARTS_MAX - 2));
    let last = 255 - name.len() - 1;
    name.push('/');
    name.push_str(&"c".repeat(last));
    name
}

/// Returns a name with as many long paths as possible: its first part is nearly the whole name.
fn wide(number: u64) -> String {
    let mut name = format!("{number:0>210x}");
    name.push_str(&"/a".repeat(NAME_PARTS_MAX - 1));
    name
}

fn tag_of(text: String) -> Tag {
    Tag::new(text).expect("a tag")
}

fn tagged(number: u64) -> Vec<Event> {
    let tags = (0..TAGS_MAX as u64).map(|tag| tag_of(format!("{:x}", number * 32 + tag))).collect();
    vec![Event { tags, ..event(number) }]
}

/// Returns the bytes that are allocated when the chunk size is reached, for each byte of the chunk size.
fn ratio(request: &dyn Fn(u64) -> Bytes) -> f64 {
    let mut store = store();
    let before = allocated();
    let mut number = 0;
    while !store.seal_due() {
        let mut builder = command::Builder::new(Timestamp(1));
        for _ in 0..20 {
            builder.push(&request(number));
            number += 1;
        }
        let log_id = LogId::new(1, store.applied().map_or(0, |id| id.index.0 + 1));
        let payload = Payload::Command(builder.finish());
        store.apply(Entry { log_id, payload }).expect("applies");
        let taken = allocated() - before;
        if taken as f64 > 4.0 * RATIO_MAX * CHUNK_BYTES as f64 {
            break;
        }
    }
    // Names are sorted for the first list that is requested, and stay sorted.
    for listed in
        [ListTarget::Streams, ListTarget::Categories, ListTarget::Paths, ListTarget::Types]
    {
        store.reader().names(&ListRequest::of(listed)).expect("lists");
    }
    (allocated() - before) as f64 / CHUNK_BYTES as f64
}

type Requests = (&'static str, fn(u64) -> Bytes);

const REQUESTS: [Requests; 10] = [
    ("small events of one stream", |n| append("order-1".into(), vec![event(n)])),
    ("streams of one small event", |n| append(format!("order-{n}"), vec![event(n)])),
    ("ordinary events", |n| {
        let data = Bytes::from(vec![b'x'; 300]);
        let tags = vec![tag_of(format!("customer:{}", n % 1000))];
        append(format!("acme/order-{}", n / 5), vec![Event { data, tags, ..event(n) }])
    }),
    ("many long paths", |n| append(wide(n), vec![event(n)])),
    ("many paths and a long category", |n| append(deep(n), vec![event(n)])),
    ("many tags", |n| append("order-1".into(), tagged(n))),
    ("correlation ids", |n| {
        let correlation_id = CorrelationId::new(format!("{n:x}")).ok();
        append("order-1".into(), vec![Event { correlation_id, ..event(n) }])
    }),
    ("required streams", |n| {
        let require = |at| Requirement {
            stream: StreamName::new(format!("{:x}", n * 100 + at)).expect("a name"),
            expectation: Expectation::None,
        };
        let stream = StreamName::new("order-1").expect("a name");
        let append = Append::to(stream, Expectation::Any, vec![event(n)]);
        let requirements = (0..APPEND_STREAMS_MAX as u64 - 1).map(require).collect();
        command::encode_append(&Append { requirements, ..append })
    }),
    ("changes of settings", |n| {
        let scope = Scope::Category(Category::new(format!("c{}", n % 30)).expect("a category"));
        let max_count = Setting::Put(1 + n / 30 % 2);
        let kind = ChangeKind::Settings(SettingsChange { max_count, ..Default::default() });
        let change = Change { scope, expectation: Expectation::Any, id: event(n).id, kind };
        command::encode_append(&change.to_append().expect("a change"))
    }),
    ("snapshots", |n| {
        if n == 0 {
            return append("order-1".into(), vec![event(n)]);
        }
        let stream = StreamName::new("order-1").expect("a name");
        let (version, schema, data) = (Version(1), 1, Bytes::new());
        command::encode_snapshot(&Snapshot { stream, version, schema, data })
    }),
];

#[test]
fn whatever_is_appended_the_memory_of_a_tail_is_bounded_by_the_chunk_size() {
    let _alone = alone();
    let ratios = REQUESTS.map(|(what, request)| (what, ratio(&request)));
    println!("{ratios:#?}");
    for (what, ratio) in ratios {
        assert!(ratio <= RATIO_MAX, "{what}: {ratio:.1} bytes for each");
    }
    // The count of keys is the bound on the memory.
    put_back(Some(Defect::FreeKeys));
    let unbounded = ratio(&|n| append(wide(n), vec![event(n)]));
    put_back(None);
    assert!(unbounded > RATIO_MAX, "{unbounded:.1}");
}
