//! Tests that few files of chunks are open, however many chunks there are.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_proto::{ChangeKind, Expectation, LogId, Query, Read, Scope};
use quorate_store::vfs::{File, Lock, MemVfs, Open, Vfs};
use quorate_store::{Entry, Payload, ScavengeStep, Store};

use crate::support::{Ask, DIRECTORY, append, command, command_of, id, options, read, stream};

/// A disk that counts the open files of chunks.
#[derive(Clone, Debug, Default)]
struct Counting {
    disk: MemVfs,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn File>,
    open: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl File for Counted {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Vfs for Counting {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        if path.parent().is_none_or(|folder| !folder.ends_with("chunks")) {
            return Ok(file);
        }
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        Ok(Arc::new(Counted { file, open: self.open.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.disk.free_bytes(directory)
    }
}

fn apply(store: &mut Store, payload: Payload) {
    let log_id = LogId::new(1, store.applied().map_or(0, |id| id.index.0 + 1));
    store.apply(Entry { log_id, payload }).expect("applies");
    while let Some(seal) = store.begin_seal() {
        store.finish_seal(seal.run().expect("seals")).expect("finishes");
    }
}

fn open(disk: &Counting) -> Store {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    Store::open(vfs, Path::new(DIRECTORY), options(100)).expect("opens")
}

#[test]
fn a_store_of_many_chunks_keeps_few_of_their_files_open() {
    const CHUNKS: u64 = 400;
    const OPEN_MAX: usize = 256;
    let disk = Counting::default();
    let mut store = open(&disk);
    for number in 1..=CHUNKS {
        let name = if number <= 3 { "old-1" } else { "order-1" };
        apply(&mut store, command(1, &[append(name, Expectation::Any, &[number])]));
    }
    drop(store);
    assert_eq!(disk.open.load(Ordering::SeqCst), 0, "all are closed with the store");
    let mut store = open(&disk);
    let all = Read::query(Query::everything());
    let events = read(&store.reader(), &all, 1000);
    assert_eq!(events.len() as u64, CHUNKS);
    // An open scan goes on after a scavenge has replaced some of the files.
    let mut begun = store.reader().scan(&all).expect("begins");
    let scope = Scope::Stream(stream("old-1"));
    let delete = Ask::change(scope, Expectation::Exists, id(9999), ChangeKind::Delete);
    apply(&mut store, command_of(1, &[delete]));
    let mut scavenge = store.begin_scavenge().expect("there are chunks");
    let mut rewritten = 0;
    loop {
        match scavenge.step().expect("scavenges") {
            ScavengeStep::Kept(_) => {}
            ScavengeStep::Rewritten(chunk) => {
                rewritten += 1;
                store.put_scavenged(chunk);
            }
            ScavengeStep::Done => break,
        }
    }
    assert_eq!(rewritten, 3);
    let mut found = Vec::new();
    while let Some(page) = begun.next_page(1000).expect("reads") {
        found.extend(page.iter().map(|event| event.decode()));
    }
    // The open scan shows what was there when it began: it holds the files that were replaced.
    assert!(found == events, "{} events", found.len());
    assert_eq!(read(&store.reader(), &all, 1000).len() as u64, CHUNKS - 3);
    let most = disk.most.load(Ordering::SeqCst);
    // Some files are being written, or were replaced and are still read.
    assert!((OPEN_MAX..=OPEN_MAX + 8).contains(&most), "{most} files were open at once");
}
