//! Golden files: events as they were once written, which must be readable for ever.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use quorate_client::{Event, RecordedEvent};

use super::set::EventSet;
use crate::scenario::{Log, difference};

/// A folder with one file for each type and schema of a set of events: `OrderPlaced.2.json` holds the data of an
/// `OrderPlaced` of schema 2.
///
/// A test of an application gives a sample of each type. A sample without a file is written, and the test fails once,
/// so that nobody overlooks the new file; from then on the file proves, in every later version of the program, that
/// events of that schema can still be read. A sample that is written otherwise than its file fails the test: its shape
/// has changed, and needs a new schema.
///
/// ```
/// # use quorate_app::evolution::JsonEvents;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum OrderEvent { OrderPlaced { total: u64 }, OrderClosed {} }
/// # impl JsonEvents for OrderEvent {}
/// use quorate_app::evolution::Golden;
///
/// fn events_of_all_schemas_can_be_read() {
///     Golden::<OrderEvent>::new("tests/events") // below the package
///         .sample(OrderEvent::OrderPlaced { total: 50 })
///         .sample_named("nothing", OrderEvent::OrderPlaced { total: 0 }) // `OrderPlaced.1.nothing.json`
///         .sample(OrderEvent::OrderClosed {})
///         .check();
/// }
/// # let _ = events_of_all_schemas_can_be_read;
/// ```
#[derive(Debug)]
#[must_use = "nothing is checked before `check`"]
pub struct Golden<E> {
    folder: PathBuf,
    samples: Vec<(String, E)>,
}

/// A golden file: the event that it holds, and the form in which it holds it.
struct File {
    kind: String,
    schema: u32,
    /// The rest of the name; empty = none.
    label: String,
    data: Vec<u8>,
}

impl<E: EventSet> Golden<E> {
    /// Takes the golden files from a folder, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Golden<E> {
        Golden { folder: folder.into(), samples: Vec::new() }
    }

    /// Adds a sample of a type.
    pub fn sample(self, event: E) -> Golden<E> {
        self.sample_named("", event)
    }

    /// Adds another sample of a type, under a name without dots.
    pub fn sample_named(mut self, name: impl Into<String>, event: E) -> Golden<E> {
        self.samples.push((name.into(), event));
        self
    }

    /// Checks that every file can be read, that every sample is written like its file, and that every type has a file.
    /// Writes the files that are missing.
    ///
    /// # Panics
    /// If something is not so, or a file was written.
    #[track_caller]
    pub fn check(self) {
        let mut faults = Vec::new();
        for (label, sample) in &self.samples {
            let written = sample.encode();
            let file = written.map_err(|error| error.to_string()).and_then(|event| {
                let file = File::of(&label.replace('.', "-"), event);
                file.compare(&self.folder)
            });
            faults.extend(file.err());
        }
        let (files, unread) = read(&self.folder);
        faults.extend(unread);
        faults.extend(files.iter().filter_map(|file| file.decode::<E>().err()));
        let has_file = |kind: &&str| files.iter().any(|file| file.kind == **kind);
        let missing = E::types().into_iter().filter(|kind| !has_file(kind));
        faults.extend(missing.map(|kind| format!("`{kind}` has no golden file: add a sample")));
        assert!(
            faults.is_empty(),
            "golden files in {}:\n{}",
            self.folder.display(),
            faults.join("\n")
        );
    }
}

impl File {
    fn of(label: &str, event: Event) -> File {
        let recorded = Log::default().record("none", event).clone();
        let RecordedEvent { event, .. } = recorded;
        let (kind, data) = (event.kind.to_string(), event.data.to_vec());
        File { kind, schema: event.schema, label: label.to_owned(), data }
    }

    /// Returns the file of a name: `TYPE.SCHEMA.json` or `TYPE.SCHEMA.LABEL.json`.
    fn parse(name: &str, data: Vec<u8>) -> Option<File> {
        let (stem, _) = name.rsplit_once('.')?;
        let (before, last) = stem.rsplit_once('.')?;
        let (kind, schema, label) = match last.parse() {
            Ok(schema) => (before, schema, ""),
            Err(_) => {
                let (kind, schema) = before.rsplit_once('.')?;
                (kind, schema.parse().ok()?, last)
            }
        };
        Some(File { kind: kind.to_owned(), schema, label: label.to_owned(), data })
    }

    fn name(&self) -> String {
        let mut name = format!("{}.{}", self.kind.replace('/', "-"), self.schema);
        if !self.label.is_empty() {
            // Writing into a string does not fail.
            let _ = write!(name, ".{}", self.label);
        }
        let is_json = serde_json::from_slice::<serde_json::Value>(&self.data).is_ok();
        name + if is_json { ".json" } else { ".bin" }
    }

    /// Returns the data in the form in which people read it and compare it.
    fn text(&self) -> Vec<u8> {
        match serde_json::from_slice::<serde_json::Value>(&self.data) {
            Ok(json) => format!("{json:#}\n").into_bytes(),
            Err(_) => self.data.clone(),
        }
    }

    /// Compares a sample with its file, which is written if it is missing.
    fn compare(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join(self.name());
        match fs::read(&path) {
            Ok(kept) => {
                let kept =
                    File { data: kept, kind: self.kind.clone(), label: String::new(), ..*self };
                let (kept, now) = (kept.text(), self.text());
                if kept == now {
                    return Ok(());
                }
                let (kept, now) = (String::from_utf8_lossy(&kept), String::from_utf8_lossy(&now));
                let shown = difference(&kept, &now);
                Err(format!(
                    "{} is written otherwise now: give it a new schema, with an upcast from {}\n{shown}",
                    self.name(),
                    self.schema
                ))
            }
            Err(_) => {
                let written =
                    fs::create_dir_all(folder).and_then(|()| fs::write(&path, self.text()));
                written.map_err(|error| format!("{} cannot be written: {error}", self.name()))?;
                Err(format!(
                    "{} was missing, and is there now: read it, and commit it",
                    self.name()
                ))
            }
        }
    }

    fn decode<E: EventSet>(&self) -> Result<(), String> {
        let event = Event::new(&self.kind, self.data.clone());
        let event = event.map_err(|error| format!("{}: {error}", self.name()))?.schema(self.schema);
        match E::decode(Log::default().record("none", event)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                Err(format!("{} cannot be read: the set has no such type any more", self.name()))
            }
            Err(error) => Err(format!("{} cannot be read: {}", self.name(), error.source)),
        }
    }
}

/// Returns the files of a folder, and what is none.
fn read(folder: &Path) -> (Vec<File>, Vec<String>) {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match fs::read(&path) {
            Ok(data) => match File::parse(&name, data) {
                Some(file) => files.push(file),
                None => faults.push(format!("{name} is not named TYPE.SCHEMA.json")),
            },
            Err(error) => faults.push(format!("{name} cannot be read: {error}")),
        }
    }
    (files, faults)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde::{Deserialize, Serialize};
    use tempfile::TempDir;

    use super::*;
    use crate::evolution::{JsonEvents, Upcast};

    /// Returns the complaint of a check; empty = none.
    fn complaint<E: EventSet>(folder: &TempDir, samples: impl IntoIterator<Item = E>) -> String {
        let golden = Golden::new(folder.path().join("events"));
        let golden = samples.into_iter().fold(golden, Golden::sample);
        match catch_unwind(AssertUnwindSafe(|| golden.check())) {
            Ok(()) => String::new(),
            Err(panic) => *panic.downcast::<String>().expect("a text"),
        }
    }

    #[derive(Serialize, Deserialize)]
    enum First {
        Placed(u64),
        Closed {},
    }
    impl JsonEvents for First {}

    #[derive(Serialize, Deserialize)]
    enum Changed {
        Placed { total: u64 },
        Closed {},
    }
    impl JsonEvents for Changed {}

    #[derive(Serialize, Deserialize)]
    enum Evolved {
        Placed { total: u64 },
        Closed {},
    }
    impl JsonEvents for Evolved {
        const UPCASTS: &'static [Upcast] =
            &[Upcast::data("Placed", 1, |json| serde_json::json!({ "total": json }))];
    }

    #[test]
    fn a_change_of_shape_without_a_schema_is_found_and_old_schemas_stay_readable() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = || [First::Placed(5), First::Closed {}];
        let said = complaint(&folder, first());
        assert!(
            said.contains("Placed.1.json was missing") && said.contains("Closed.1.json"),
            "{said}"
        );
        assert_eq!(complaint(&folder, first()), "");

        let said = complaint(&folder, [Changed::Placed { total: 5 }, Changed::Closed {}]);
        assert!(
            said.contains("Placed.1.json is written otherwise now") && said.contains("- 5"),
            "{said}"
        );
        assert!(said.contains("Placed.1.json cannot be read: invalid type"), "{said}");

        let evolved = || [Evolved::Placed { total: 5 }, Evolved::Closed {}];
        let said = complaint(&folder, evolved());
        assert!(said.contains("Placed.2.json was missing"), "{said}");
        assert_eq!(complaint(&folder, evolved()), "");
    }

    #[test]
    fn a_type_without_a_file_and_a_file_without_a_type_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = folder.path().join("events");
        fs::create_dir_all(&events).expect("a folder");
        fs::write(events.join("Placed.1.json"), "5").expect("a file");
        fs::write(events.join("Gone.Away.1.long ago.json"), "5").expect("a file");
        fs::write(events.join("notes"), "5").expect("a file");
        let said = complaint::<First>(&folder, []);
        for part in [
            "`Closed` has no golden file",
            "Gone.Away.1.long ago.json cannot be read: the set has no such type any more",
            "notes is not named TYPE.SCHEMA.json",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
