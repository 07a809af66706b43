//! Two stores with one log, of which one is scavenged, and all requests that can be sent to both.

use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use quorate_proto::{
    Append, Bounds, Change, ChangeKind, CorrelationId, Direction, Event, Expectation, LogId, Path,
    Query, QueryItem, Read, RecordedEvent, Scope, Tag, Timestamp,
};
use quorate_store::vfs::{MemVfs, Survival, Vfs};
use quorate_store::{
    Entry, Fault, Options, Payload, Prejudged, Scavenge, ScavengeStep, Store, Verdict, command,
};

use crate::model::Model;
use crate::names::{every_list, list};
use crate::support::{
    DIRECTORY, category, id, kind, open, options, read, replay, seal_all, stream,
};

pub(crate) const STREAMS: [&str; 6] =
    ["order-1", "order-2", "acme/order-1", "acme/eu/bill-1", "bill", "x-9"];
pub(crate) const TYPES: [&str; 3] = ["Opened", "Paid", "Closed"];

/// The result of a whole scavenge.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) events: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: i64,
}

pub(crate) fn run(store: &mut Store) -> Result<Freed, Fault> {
    let mut freed = Freed::default();
    let Some(mut scavenge) = store.begin_scavenge() else { return Ok(freed) };
    loop {
        match scavenge.step()? {
            ScavengeStep::Kept(_) => {}
            ScavengeStep::Rewritten(scavenged) => {
                freed.events += scavenged.events_removed();
                freed.chunks += 1;
                freed.bytes += scavenged.bytes_before() as i64 - scavenged.bytes_after() as i64;
                store.put_scavenged(scavenged);
            }
            ScavengeStep::Done => return Ok(freed),
        }
    }
}

/// Returns the next rewritten chunk, before it is put into the store.
pub(crate) fn rewritten(scavenge: &mut Scavenge) -> quorate_store::Scavenged {
    loop {
        match scavenge.step().expect("steps") {
            ScavengeStep::Rewritten(scavenged) => return scavenged,
            ScavengeStep::Kept(_) => {}
            ScavengeStep::Done => panic!("nothing would go"),
        }
    }
}

/// A store on its own disk.
pub(crate) struct Node {
    pub(crate) vfs: MemVfs,
    pub(crate) options: Options,
    pub(crate) store: Store,
}

impl Node {
    pub(crate) fn new(chunk_bytes: u64) -> Node {
        let (vfs, options) = (MemVfs::new(), options(chunk_bytes));
        let store = open(&vfs, &options).expect("founds");
        Node { vfs, options, store }
    }

    pub(crate) fn apply(&mut self, entry: &Entry) -> Vec<Verdict> {
        if self.store.must_wait() {
            seal_all(&mut self.store).expect("seals");
        }
        self.store.apply(entry.clone()).expect("applies")
    }

    pub(crate) fn restart(&mut self, survival: Survival, log: &[Entry]) {
        self.vfs.restart(survival);
        self.store = open(&self.vfs, &self.options).expect("opens again");
        replay(&mut self.store, log).expect("applies again");
    }

    pub(crate) fn bytes(&self) -> u64 {
        let chunks = files(&self.vfs);
        chunks.iter().map(|path| self.vfs.read(path).expect("there").len() as u64).sum()
    }
}

pub(crate) fn folder() -> PathBuf {
    FilePath::new(DIRECTORY).join("chunks")
}

pub(crate) fn files(vfs: &MemVfs) -> Vec<PathBuf> {
    let names = vfs.list(&folder()).expect("lists");
    names.into_iter().map(|name| folder().join(name)).collect()
}

/// Two stores with one log, of which one is scavenged.
pub(crate) struct Twins {
    pub(crate) plain: Node,
    pub(crate) lean: Node,
    pub(crate) log: Vec<Entry>,
    /// Every request that was ever sent.
    pub(crate) requests: Vec<Bytes>,
    pub(crate) next_id: u64,
    pub(crate) at: i64,
    pub(crate) freed: Freed,
}

impl Twins {
    pub(crate) fn new(chunk_bytes: u64) -> Twins {
        let (plain, lean) = (Node::new(chunk_bytes), Node::new(chunk_bytes));
        let (log, requests) = (Vec::new(), Vec::new());
        Twins { plain, lean, log, requests, next_id: 0, at: 0, freed: Freed::default() }
    }

    pub(crate) fn apply(&mut self, payload: Payload) -> Vec<Verdict> {
        let index = self.plain.store.applied().map_or(0, |id| id.index.0 + 1);
        let entry = Entry { log_id: LogId::new(1, index), payload };
        let (plain, lean) = (self.plain.apply(&entry), self.lean.apply(&entry));
        self.log.push(entry);
        assert_eq!(plain, lean);
        assert_eq!(self.plain.store.reader().point(), self.lean.store.reader().point());
        plain
    }

    pub(crate) fn send(&mut self, requests: &[Bytes]) -> Vec<Verdict> {
        let mut builder = command::Builder::new(Timestamp(self.at));
        requests.iter().for_each(|request| builder.push(request));
        self.apply(Payload::Command(builder.finish()))
    }

    pub(crate) fn events(&mut self, count: u64) -> Vec<Event> {
        let numbers = self.next_id..self.next_id + count;
        self.next_id += count;
        let event = |number: u64| {
            let data: Vec<u8> = (0..number % 60).map(|n| (n * number % 251) as u8).collect();
            let mut event = Event::new(id(number), kind(TYPES[number as usize % 3]), data);
            event.tags = vec![Tag::new(format!("tag:{}", number % 4)).expect("a tag")];
            event.correlation_id = CorrelationId::new(format!("c-{}", number % 5)).ok();
            event
        };
        numbers.map(event).collect()
    }

    /// Sends a user's append after a leader's checks, in which both stores must find the same.
    pub(crate) fn append(&mut self, append: &Append) -> Option<Verdict> {
        append.check().expect("a valid append");
        let request = command::encode_append(append);
        let judge = |node: &Node| node.store.reader().prejudge(append).expect("judges");
        let (plain, lean) = (judge(&self.plain), judge(&self.lean));
        assert_eq!(plain, lean);
        let checked = match plain {
            Prejudged::Propose { checked } => checked,
            // Apply must come to the same answer.
            Prejudged::Answer(_) => self.plain.store.position(),
            Prejudged::Violated(_) => return None,
        };
        let request = command::checked(&request, checked);
        self.requests.push(request.clone());
        let verdict = self.send(&[request]).pop();
        verdict.map(|verdict| self.settle(append, verdict))
    }

    /// Judges a verdict that apply left open, alike by both stores.
    pub(crate) fn settle(&self, append: &Append, verdict: Verdict) -> Verdict {
        if !matches!(verdict, Verdict::Unsettled(_)) {
            return verdict;
        }
        let judge =
            |node: &Node| node.store.reader().settle(append, verdict.clone()).expect("judges");
        let (plain, lean) = (judge(&self.plain), judge(&self.lean));
        assert_eq!(plain, lean);
        plain
    }

    pub(crate) fn change(&mut self, scope: Scope, kind: ChangeKind) -> Verdict {
        let id = id(1_000_000 + self.next_id);
        self.next_id += 1;
        let change = Change { scope, expectation: Expectation::Any, id, kind };
        let request = command::encode_append(&change.to_append().expect("a change"));
        self.requests.push(request.clone());
        self.send(&[request]).pop().expect("a verdict")
    }

    pub(crate) fn seal(&mut self) {
        for node in [&mut self.plain, &mut self.lean] {
            seal_all(&mut node.store).expect("seals");
        }
    }

    /// Applies blank entries until a boundary is crossed and its seal is finished.
    pub(crate) fn checkpoint(&mut self) {
        let before = self.plain.store.checkpointed();
        while self.plain.store.checkpointed() == before {
            self.apply(Payload::Blank);
            self.seal();
        }
    }

    pub(crate) fn scavenge(&mut self) -> Freed {
        let freed = run(&mut self.lean.store).expect("scavenges");
        self.freed.events += freed.events;
        self.freed.chunks += freed.chunks;
        freed
    }

    /// Asserts that all reads of both stores return the same.
    pub(crate) fn compare(&self) {
        for request in every_list() {
            let list = |node: &Node| list(&node.store.reader(), &request);
            assert_eq!(list(&self.plain), list(&self.lean), "{request:?}");
        }
        let last = self.plain.store.position().0;
        for source in sources() {
            for direction in [Direction::Forwards, Direction::Backwards] {
                for (after, limit) in [(0, None), (last / 2, None), (last / 3, Some(3))] {
                    let bounds = Bounds { after, ..Bounds::default() };
                    let asked = Read { bounds, direction, limit, ..source.clone() };
                    let plain = read(&self.plain.store.reader(), &asked, 400);
                    let lean = read(&self.lean.store.reader(), &asked, 400);
                    assert!(plain == lean, "{asked:?}: {:?} and {:?}", short(&plain), short(&lean));
                }
            }
        }
        for name in STREAMS {
            let (plain, lean) = (self.plain.store.reader(), self.lean.store.reader());
            let name = stream(name);
            assert_eq!(plain.stream(&name).expect("reads"), lean.stream(&name).expect("reads"));
            assert_eq!(plain.snapshot(&name).expect("reads"), lean.snapshot(&name).expect("reads"));
        }
    }

    /// Sends every earlier request again; both stores must give the same answer.
    pub(crate) fn repeat_everything(&mut self) {
        for requests in self.requests.clone().chunks(20) {
            self.send(requests);
        }
    }
}

pub(crate) fn short(events: &[RecordedEvent]) -> Vec<(u64, &str, u64)> {
    events.iter().map(|one| (one.position.0, one.stream.as_str(), one.version.0)).collect()
}

pub(crate) fn item(item: QueryItem) -> Read {
    Read::query(Query { items: vec![item] })
}

pub(crate) fn scopes() -> Vec<Scope> {
    let categories = ["order", "bill", "x"].map(|name| Scope::Category(category(name)));
    let paths = ["acme", "acme/eu"].map(|name| Scope::Path(Path::new(name).expect("a path")));
    let streams = STREAMS.map(|name| Scope::Stream(stream(name)));
    streams.into_iter().chain(categories).chain(paths).collect()
}

/// Returns reads of every kind of source.
pub(crate) fn sources() -> Vec<Read> {
    let mut sources = vec![Model::all(), Read { with_system: true, ..Model::all() }];
    sources.extend(STREAMS.map(|name| Read::stream(stream(name))));
    let systems = scopes().into_iter().map(|scope| scope.changes().expect("a name"));
    sources.extend(systems.map(Read::stream));
    sources.extend(
        scopes()
            .into_iter()
            .map(|scope| item(QueryItem { scope: Some(scope), ..QueryItem::default() })),
    );
    sources.extend(
        TYPES.map(|name| item(QueryItem { types: vec![kind(name)], ..QueryItem::default() })),
    );
    for number in 0..5 {
        let tag = Tag::new(format!("tag:{number}")).expect("a tag");
        sources.push(item(QueryItem { tags: vec![tag], ..QueryItem::default() }));
        let correlation = CorrelationId::new(format!("c-{number}")).expect("an id");
        sources.push(item(QueryItem { correlation: Some(correlation), ..QueryItem::default() }));
    }
    sources
}
