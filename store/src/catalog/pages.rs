//! The catalog's file under redb: pages with checksums, so that redb never sees a damaged page.
//!
//! redb reads without verifying. A flipped bit in a page of its trees would make keys disappear, and the
//! store would answer wrongly about events. So every page is checked here when it is read.
//!
//! Power cuts: redb writes to pages that no durable commit refers to, syncs, and only then points its header
//! to them. The checksums of these pages are written before the same sync. So nobody reads a page that was
//! written without its checksum, or whose checksum was written without it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::Fault;
use crate::format::catalog::{
    BLOCK_BYTES, HEADER_BYTES_MAX, PAGES_PER_GROUP, SLOT_BYTES, SLOT_OFFSETS, Slot,
    checksum_offset, file_bytes, page_count, page_offset,
};
use crate::vfs::File;

/// The storage that redb works on; clones share it.
///
/// Faults travel through redb inside `io::Error`s.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    state: Arc<Mutex<State>>,
}

/// Invariants:
/// - the slot that is not `durable_slot` holds nothing that is needed, so it can be torn;
/// - `checksums` has an element for every page; 0 = never written;
/// - `writes` is odd while pages differ from their checksums, and for good once a write failed.
#[derive(Debug)]
pub(super) struct State {
    /// The newest header.
    pub(super) slot: Slot,
    /// The slot that holds a synced header.
    durable_slot: usize,
    /// True if the newest header was written after the last sync.
    header_pending: bool,
    pub(super) checksums: Vec<u32>,
    /// Counts up when pages are about to be written, and again when they and their checksums are written.
    pub(super) writes: u64,
}

impl Pages {
    /// Makes an empty file the storage of a new catalog.
    pub(super) fn create(
        file: Arc<dyn File>,
        path: &Path,
        cluster: [u8; 16],
        log: u32,
    ) -> Result<Pages, Fault> {
        file.set_len(file_bytes(0)).map_err(Fault::io("write", path))?;
        let slot = Slot { cluster, log, sequence: 0, header: Bytes::new() };
        let checksums = Vec::new();
        let state = State { slot, durable_slot: 0, header_pending: false, checksums, writes: 0 };
        Ok(Pages { file, path: path.to_owned(), state: Arc::new(Mutex::new(state)) })
    }

    /// Opens the storage of a catalog.
    pub(super) fn open(file: Arc<dyn File>, path: &Path) -> Result<Pages, Fault> {
        let (slot, durable_slot) = newest_slot(&*file, path)?;
        let length = file.len().map_err(Fault::io("read", path))?;
        let checksums = read_checksums(&*file, path, page_count(length))?;
        let state = State { slot, durable_slot, header_pending: false, checksums, writes: 0 };
        Ok(Pages { file, path: path.to_owned(), state: Arc::new(Mutex::new(state)) })
    }

    /// Makes the second copy of the header durable.
    pub(super) fn settle(&self) -> Result<(), Fault> {
        self.file.sync_data().map_err(Fault::io("sync", &self.path))
    }

    /// Checks every page of a range, which holds whole pages.
    fn check(&self, first: u64, bytes: &[u8]) -> io::Result<()> {
        let state = self.state();
        for (page, bytes) in (first..).zip(bytes.chunks(BLOCK_BYTES as usize)) {
            let expected = usize::try_from(page).ok().and_then(|page| state.checksums.get(page));
            let good = match expected {
                None | Some(0) => bytes.iter().all(|byte| *byte == 0),
                Some(checksum) => state.slot.page_checksum(page, bytes) == *checksum,
            };
            if !good {
                let why = "a page of the catalog fails its checksum";
                let fault = Fault::damaged(&self.path, page_offset(page), why);
                return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
            }
        }
        Ok(())
    }

    /// Writes the header to the slot that is not needed.
    fn write_header(&self, header: &[u8]) -> io::Result<()> {
        if header.len() > HEADER_BYTES_MAX {
            return Err(unexpected("a header longer than a slot"));
        }
        let mut state = self.state();
        state.slot.sequence += 1;
        state.slot.header = Bytes::copy_from_slice(header);
        let target = SLOT_OFFSETS[1 - state.durable_slot];
        state.header_pending = true;
        self.file.write_at(&state.slot.encode(), target)
    }

    /// Locks the state, even after a panic elsewhere: each change is a single step, so it is never wrong.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl redb::StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().checksums.len() as u64 * BLOCK_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset == 0 {
            let state = self.state();
            let header = state.slot.header.get(..out.len());
            out.copy_from_slice(header.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        let first = first_page(offset, out.len())?;
        for (page, bytes) in runs(first, out.len()) {
            let out = out.get_mut(bytes).expect("runs lie in the buffer");
            self.file.read_at(out, page_offset(page))?;
        }
        self.check(first, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let pages = len.div_ceil(BLOCK_BYTES);
        self.state().writes += 1;
        self.file.set_len(file_bytes(pages))?;
        let mut state = self.state();
        let before = state.checksums.len() as u64;
        let count = usize::try_from(pages).map_err(|_| io::ErrorKind::FileTooLarge)?;
        state.checksums.resize(count, 0);
        // Pages that are cut off count as never written should the file grow again.
        let group_end = pages.next_multiple_of(PAGES_PER_GROUP).min(before);
        if pages < group_end {
            let zeros = vec![0; (group_end - pages) as usize * 4];
            self.file.write_at(&zeros, checksum_offset(pages))?;
        }
        state.writes += 1;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not under the lock, as readers would wait for the disk. redb has one writer, so nothing is written
        // meanwhile.
        self.file.sync_data()?;
        let mut state = self.state();
        if state.header_pending {
            state.header_pending = false;
            state.durable_slot = 1 - state.durable_slot;
            // The second copy is for later damage to the first; the next sync makes it durable.
            let copy = SLOT_OFFSETS[1 - state.durable_slot];
            self.file.write_at(&state.slot.encode(), copy)?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            return self.write_header(data);
        }
        let first = first_page(offset, data.len())?;
        self.state().writes += 1;
        for (page, bytes) in runs(first, data.len()) {
            let data = data.get(bytes).expect("runs lie in the buffer");
            self.file.write_at(data, page_offset(page))?;
            let mut encoded = Vec::new();
            let mut state = self.state();
            for (page, bytes) in (page..).zip(data.chunks(BLOCK_BYTES as usize)) {
                let checksum = state.slot.page_checksum(page, bytes);
                encoded.extend_from_slice(&checksum.to_le_bytes());
                let known = usize::try_from(page).ok();
                match known.and_then(|page| state.checksums.get_mut(page)) {
                    Some(known) => *known = checksum,
                    None => return Err(unexpected("a write beyond the end")),
                }
            }
            self.file.write_at(&encoded, checksum_offset(page))?;
        }
        self.state().writes += 1;
        Ok(())
    }
}

/// Returns the number of the page at `offset`; refuses an access to parts of pages.
fn first_page(offset: u64, length: usize) -> io::Result<u64> {
    if !offset.is_multiple_of(BLOCK_BYTES) || !(length as u64).is_multiple_of(BLOCK_BYTES) {
        return Err(unexpected("an access to parts of pages"));
    }
    Ok(offset / BLOCK_BYTES)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("redb made {what}"))
}

/// Cuts a range of pages at the blocks of checksums between them; yields first page and bytes of the range.
fn runs(first: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= length {
            return None;
        }
        let page = first + start as u64 / BLOCK_BYTES;
        let left = (PAGES_PER_GROUP - page % PAGES_PER_GROUP) * BLOCK_BYTES;
        let end = length.min(start + left as usize);
        let run = (page, start..end);
        start = end;
        Some(run)
    })
}

/// Returns the newest header and its slot. The other copy may be older, or torn by a power cut.
fn newest_slot(file: &dyn File, path: &Path) -> Result<(Slot, usize), Fault> {
    let mut newest: Option<(Slot, usize)> = None;
    let mut why = String::new();
    for (index, offset) in SLOT_OFFSETS.into_iter().enumerate() {
        let mut bytes = vec![0; SLOT_BYTES];
        let read = file.read_at(&mut bytes, offset);
        match read.map_err(|error| error.to_string()).and_then(|()| {
            Slot::decode(&Bytes::from(bytes)).map_err(|malformed| malformed.to_string())
        }) {
            Ok(slot) if newest.as_ref().is_none_or(|(known, _)| known.sequence < slot.sequence) => {
                newest = Some((slot, index));
            }
            Ok(_) => {}
            Err(reason) => why = reason,
        }
    }
    let why = format!("neither copy of the header can be used: the last {why}");
    newest.ok_or_else(|| Fault::damaged(path, 0, why))
}

fn read_checksums(file: &dyn File, path: &Path, pages: u64) -> Result<Vec<u32>, Fault> {
    let mut checksums = Vec::new();
    for first in (0..pages).step_by(PAGES_PER_GROUP as usize) {
        let count = PAGES_PER_GROUP.min(pages - first);
        let mut bytes = vec![0; count as usize * 4];
        let read = file.read_at(&mut bytes, checksum_offset(first));
        read.map_err(Fault::io("read", path))?;
        let (numbers, _) = bytes.as_chunks::<4>();
        checksums.extend(numbers.iter().copied().map(u32::from_le_bytes));
    }
    Ok(checksums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::StorageBackend;

    use super::*;
    use crate::vfs::{MemVfs, Open, Survival, Vfs};

    fn path() -> &'static Path {
        Path::new("/catalog")
    }

    fn create(vfs: &MemVfs) -> Pages {
        let file = vfs.open(path(), Open::Create).expect("created");
        vfs.sync_directory(Path::new("/")).expect("synced");
        Pages::create(file, path(), [1; 16], 0).expect("made")
    }

    fn open(vfs: &MemVfs) -> Result<Pages, Fault> {
        Pages::open(vfs.open(path(), Open::Write).expect("there"), path())
    }

    fn page_of(byte: u8) -> Vec<u8> {
        vec![byte; BLOCK_BYTES as usize]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

        /// Pages around the ends of groups, and files that grow and shrink across them.
        #[test]
        fn it_behaves_as_a_plain_file_of_pages_does(
            steps in prop::collection::vec((any::<bool>(), 1018..1030_u64, 1..6_u64, 1..255_u8), 1..20),
        ) {
            let vfs = MemVfs::new();
            let mut pages = create(&vfs);
            pages.write(0, b"header").expect("written");
            let mut model: Vec<u8> = Vec::new();
            for (resize, page, count, byte) in steps {
                if resize {
                    pages.set_len(page * BLOCK_BYTES).expect("resized");
                    model.resize(page as usize, 0);
                } else if page + count <= model.len() as u64 {
                    let data: Vec<u8> = (0..count as u8).flat_map(|at| page_of(byte ^ at)).collect();
                    pages.write(page * BLOCK_BYTES, &data).expect("written");
                    for (at, slot) in (0..).zip(&mut model[page as usize..(page + count) as usize]) {
                        *slot = byte ^ at;
                    }
                }
                pages.sync_data().expect("synced");
                vfs.restart(Survival::Nothing);
                pages = open(&vfs).expect("opened");
                let read = model.iter().skip(1000).flat_map(|byte| page_of(*byte));
                let expected: Vec<u8> = read.collect();
                let mut found = vec![9; expected.len()];
                pages.read(1000 * BLOCK_BYTES, &mut found).expect("read");
                prop_assert!(found == expected);
                let length = StorageBackend::len(&pages).expect("a length");
                prop_assert_eq!(length, model.len() as u64 * BLOCK_BYTES);
            }
        }
    }

    #[test]
    fn the_header_that_was_synced_survives_whatever_is_torn_after_it() {
        for seed in 0..64 {
            let vfs = MemVfs::new();
            let pages = create(&vfs);
            for header in [b"one", b"two"] {
                pages.write(0, header).expect("written");
                pages.sync_data().expect("synced");
            }
            pages.write(0, b"new").expect("written");
            vfs.restart(Survival::Seeded(seed));
            let mut header = [0; 3];
            open(&vfs).expect("opened").read(0, &mut header).expect("read");
            assert!(&header == b"two" || &header == b"new", "{header:?}");
        }
    }

    #[test]
    fn a_page_under_the_place_of_another_is_refused() {
        let vfs = MemVfs::new();
        let pages = create(&vfs);
        pages.write(0, b"header").expect("written");
        pages.set_len(9 * BLOCK_BYTES).expect("resized");
        pages.write(4 * BLOCK_BYTES, &page_of(7)).expect("written");
        let file = vfs.open(path(), Open::Write).expect("there");
        let mut checksum = [0; 4];
        file.read_at(&mut checksum, checksum_offset(4)).expect("read");
        file.write_at(&checksum, checksum_offset(5)).expect("written");
        file.write_at(&page_of(7), page_offset(5)).expect("written");
        pages.sync_data().expect("synced");
        let pages = open(&vfs).expect("opened");
        let mut page = page_of(0);
        pages.read(4 * BLOCK_BYTES, &mut page).expect("its own place");
        let error = pages.read(5 * BLOCK_BYTES, &mut page).expect_err("another place");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Fault>()));
    }
}
