//! Event data for tests with real processes: the real log of loan applications if it is there, and a
//! generated one of the same shape.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::cluster::json_lines;
use crate::random::Random;

/// A file to import, and its known content.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// NDJSON, plain or compressed.
    pub file: PathBuf,
    /// The census of the store after the file was imported.
    pub known: Census,
}

/// The counts that describe a log of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The number of events.
    pub events: u64,
    /// The number of streams.
    pub streams: u64,
    /// The number of events of each type.
    pub types: BTreeMap<String, u64>,
    /// A sum over stream, version, type and data of each event, independent of their order.
    pub contents: u64,
}

impl DataSet {
    /// The event log of the Business Process Intelligence Challenge 2012 in the folder beside the
    /// workspace, if it is there: 262,200 events of 13,087 streams and 24 types.
    pub fn real() -> Option<DataSet> {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/bpic2012.ndjson.gz");
        let mut text = Vec::new();
        GzDecoder::new(fs::File::open(&file).ok()?).read_to_end(&mut text).expect("a whole file");
        Some(DataSet { file, known: Census::of_input(&text) })
    }

    /// Writes a log of `events` events to `folder`: streams that grow side by side, a few types.
    pub fn generated(folder: &Path, events: u64) -> DataSet {
        let mut random = Random::new(events);
        let mut text = String::new();
        for number in 0..events {
            // The window of streams moves on, so that they end and begin all along, as in a log of cases.
            let stream = number / 12 + random.below(60);
            let kind = *random.pick(&["Submitted", "Checked", "Declined", "Accepted"]);
            let (resource, note) = (random.below(70), "x".repeat(random.below(200) as usize));
            writeln!(
                text,
                "{{\"stream\":\"application-{stream}\",\"type\":\"{kind}\",\
                 \"timestamp\":\"2011-10-01T00:38:44.546+02:00\",\
                 \"data\":{{\"resource\":\"{resource}\",\"note\":\"{note}\"}}}}"
            )
            .expect("a string grows");
        }
        let file = folder.join("generated.ndjson");
        fs::write(&file, &text).expect("the file can be written");
        DataSet { file, known: Census::of_input(text.as_bytes()) }
    }
}

impl Census {
    /// Counts the output of `export`.
    ///
    /// # Panics
    /// If positions or versions have a hole, or an id comes twice.
    pub fn of_export(export: &[u8]) -> Census {
        let mut counter = Counter::default();
        let mut ids = BTreeSet::new();
        for event in json_lines(export) {
            let version = counter.count(&event);
            assert_eq!(event["position"], counter.census.events, "a hole in the log");
            assert_eq!(event["version"], version, "a hole in {}", event["stream"]);
            let id = event["id"].as_str().expect("an id").to_owned();
            assert!(ids.insert(id), "{} is there twice", event["id"]);
        }
        counter.done()
    }

    /// Counts events that are to be imported.
    pub fn of_input(input: &[u8]) -> Census {
        let mut counter = Counter::default();
        for event in json_lines(input) {
            counter.count(&event);
        }
        counter.done()
    }
}

#[derive(Default)]
struct Counter {
    census: Census,
    versions: BTreeMap<String, u64>,
}

impl Counter {
    /// Counts an event; returns the version that it must have.
    fn count(&mut self, event: &Value) -> u64 {
        let text = |field: &str| event[field].as_str().expect("text").to_owned();
        let version = self.versions.entry(text("stream")).or_default();
        *version += 1;
        *self.census.types.entry(text("type")).or_default() += 1;
        let mut hasher = DefaultHasher::new();
        (text("stream"), *version, text("type"), event["data"].to_string()).hash(&mut hasher);
        self.census.contents = self.census.contents.wrapping_add(hasher.finish());
        self.census.events += 1;
        *version
    }

    fn done(self) -> Census {
        Census { streams: self.versions.len() as u64, ..self.census }
    }
}
