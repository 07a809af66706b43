//! The system is told of the blocks of a read before the read waits for them.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::vfs::{File, Lock};

/// A disk on which every read waits for the device; it records reads and what it was told of.
#[derive(Clone, Debug)]
struct Slow {
    disk: MemVfs,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Told(u64),
    Read(u64),
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn File>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl SlowFile {
    fn note(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.note(Call::Read(offset));
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn is_at_hand(&self, _: u64) -> bool {
        false
    }

    fn will_read(&self, range: Range<u64>) {
        self.note(Call::Told(range.start));
    }
}

impl Vfs for Slow {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let (file, calls) = (self.disk.open(path, how)?, self.calls.clone());
        Ok(Arc::new(SlowFile { file, calls }))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        unreachable!("a chunk is only read")
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.disk.free_bytes(directory)
    }
}

#[test]
fn the_system_is_told_of_each_block_once_before_it_is_read_and_not_of_too_many_at_once() {
    // Each event fills a block.
    let events = build(1, &[(0, 0, 16_500, 0); 200]);
    let (disk, written, _) = written(&events);
    let slow = Slow { disk, calls: Arc::default() };
    let cache = BlockCache::new(0);
    let chunk = Chunk::open(&slow, &chunk_path(), &IDENTITY, &written.summary, &cache);
    let chunk = chunk.expect("a chunk");
    slow.calls.lock().expect("no panic").clear();
    let found = chunk.read((0..200).step_by(2), usize::MAX, &mut reads()).expect("readable");
    assert_eq!(found.len(), 100);
    let calls = slow.calls.lock().expect("no panic");
    let (mut told, mut read) = (Vec::new(), Vec::new());
    for call in calls.iter() {
        match call {
            Call::Told(offset) => told.push(*offset),
            Call::Read(offset) => {
                assert!(told.contains(offset), "the system was told of {offset}");
                read.push(*offset);
            }
        }
        assert!(told.len() <= read.len() + 2 * 64 + 1, "so many blocks, with their ids");
    }
    read.sort_unstable();
    told.sort_unstable();
    assert_eq!(read, told, "each block and its ids, once");
    assert_eq!(read.len(), 200);
}
