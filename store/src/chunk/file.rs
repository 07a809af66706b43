//! The file of a chunk while it is read: every frame is checked before it is decoded.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::Fault;
use crate::files::{BlockCache, Cached, FileId, ReadCounters};
use crate::format::chunk::block::{Block, BlockEntry, ID_BYTES};
use crate::format::chunk::{
    ChunkIdentity, FOOTER, Footer, HEADER_BYTES, Header, Section, TRAILER_BYTES, decode_header,
    decode_trailer, frame,
};
use crate::format::{Malformed, Output};
use crate::vfs::{File, Open, Vfs};

/// A file whose header is that of the expected chunk. It is open while it is read often enough. A file that
/// another is about to replace is held open ([`ChunkFile::hold`]), as its name will not lead to it any more.
#[derive(Debug)]
pub(super) struct ChunkFile {
    held: OnceLock<Arc<dyn File>>,
    /// The last bytes of the file, by which it is recognized when it is opened again.
    end: Bytes,
    /// The name that the file had before `path`, and keeps until it is renamed.
    former_path: Option<PathBuf>,
    pub(super) path: PathBuf,
    identity: ChunkIdentity,
    /// The length of the file in bytes.
    pub(super) len: u64,
    cache: Arc<BlockCache>,
    id: FileId,
}

impl ChunkFile {
    pub(super) fn open(
        vfs: &dyn Vfs,
        path: &Path,
        identity: &ChunkIdentity,
        cache: &Arc<BlockCache>,
    ) -> Result<ChunkFile, Fault> {
        let file = open(vfs, path)?;
        let len = file.len().map_err(Fault::io("read", path))?;
        let end = end_of(&*file, len).map_err(Fault::io("read", path))?;
        let (path, identity, id) = (path.to_owned(), *identity, cache.file_id());
        let (held, former_path, cache) = (OnceLock::new(), None, cache.clone());
        match cache.open_files() {
            Some(open) => open.keep(id, file),
            None => drop(held.set(file)),
        }
        let chunk = ChunkFile { held, end, former_path, path, identity, len, cache, id };
        let header = chunk.bytes(0..HEADER_BYTES)?;
        match decode_header(&header).map_err(|malformed| chunk.damaged(0, malformed))? {
            Header::Chunk(found) if found == chunk.identity => Ok(chunk),
            Header::Chunk(found) => {
                let why = format!(
                    "it is chunk {} of log {} of another cluster, or another chunk than {}",
                    found.number, found.log, identity.number
                );
                Err(Fault::foreign(&chunk.path, why))
            }
            Header::OtherVersion(version) => {
                Err(Fault::foreign(&chunk.path, other_version(version)))
            }
        }
    }

    /// Sets the path that the file is about to get; until then it has the former one.
    pub(super) fn move_to(&mut self, path: PathBuf, former_path: PathBuf) {
        (self.path, self.former_path) = (path, Some(former_path));
    }

    /// Keeps the file open as long as it is in use: another file is about to get its name.
    pub(super) fn hold(&self) -> Result<(), Fault> {
        let file = self.file()?;
        self.held.get_or_init(|| file);
        if let Some(open) = self.cache.open_files() {
            open.close(self.id);
        }
        Ok(())
    }

    /// Returns the open file; opens it again if need be.
    fn file(&self) -> Result<Arc<dyn File>, Fault> {
        if let Some(held) = self.held.get() {
            return Ok(held.clone());
        }
        let open = self.cache.open_files();
        if let Some(file) = open.and_then(|open| open.get(self.id)) {
            return Ok(file);
        }
        let file = self.open_again()?;
        let is_same = file.len().is_ok_and(|len| len == self.len)
            && end_of(&*file, self.len).map_err(Fault::io("read", &self.path))? == self.end;
        match (is_same, self.held.get()) {
            (true, _) => {
                open.iter().for_each(|open| open.keep(self.id, file.clone()));
                Ok(file)
            }
            // The file was replaced just now.
            (false, Some(held)) => Ok(held.clone()),
            (false, None) => {
                let why = "it is not the file any more that it was";
                Err(Fault::damaged(&self.path, self.len, why))
            }
        }
    }

    fn open_again(&self) -> Result<Arc<dyn File>, Fault> {
        let missing = || Fault::damaged(&self.path, 0, "it is missing");
        let open = self.cache.open_files().ok_or_else(missing)?;
        let mut found = Err(io::ErrorKind::NotFound.into());
        for path in self.former_path.iter().chain([&self.path]) {
            found = open.open(path);
            if found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                continue;
            }
            break;
        }
        found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => Fault::io("open", &self.path)(error),
        })
    }

    /// Returns the identity in the header of a file.
    pub(super) fn identity(vfs: &dyn Vfs, path: &Path) -> Result<ChunkIdentity, Fault> {
        let mut header = vec![0; HEADER_BYTES as usize];
        let file = open(vfs, path)?;
        file.read_at(&mut header, 0).map_err(Fault::io("read", path))?;
        match decode_header(&Bytes::from(header)) {
            Ok(Header::Chunk(identity)) => Ok(identity),
            Ok(Header::OtherVersion(version)) => Err(Fault::foreign(path, other_version(version))),
            Err(malformed) => Err(Fault::damaged(path, 0, malformed.to_string())),
        }
    }

    /// Returns the footer and its offset.
    pub(super) fn footer(&self) -> Result<(Footer, u64), Fault> {
        let trailer = self.len.saturating_sub(TRAILER_BYTES);
        let bytes = self.bytes(trailer..self.len)?;
        let offset = decode_trailer(&self.identity, trailer, &bytes)
            .map_err(|malformed| self.damaged(trailer, malformed))?;
        let payload = self.frame(FOOTER, offset..trailer)?;
        let footer =
            Footer::decode(payload).map_err(|malformed| self.damaged(offset, malformed))?;
        Ok((footer, offset))
    }

    /// Returns the payload of the frame that stands at exactly this range.
    pub(super) fn frame(&self, section: u16, range: Range<u64>) -> Result<Bytes, Fault> {
        let bytes = self.bytes(range.clone())?;
        frame::decode(&self.identity, range.start, section, &bytes)
            .map_err(|malformed| self.damaged(range.start, malformed))
    }

    /// Returns the payloads of all frames of a range of the index, joined, by way of the cache.
    pub(super) fn piece(
        &self,
        section: Section,
        range: Range<u64>,
        reads: &mut ReadCounters,
    ) -> Result<Bytes, Fault> {
        reads.pages += 1;
        if let Some(Cached::Piece(piece)) = self.cache.get(self.id, range.start) {
            reads.hits += 1;
            return Ok(piece);
        }
        reads.bytes += range.end.saturating_sub(range.start);
        let piece = self.joined(section, range.clone())?;
        self.cache.put(self.id, range.start, Cached::Piece(piece.clone()));
        Ok(piece)
    }

    /// Returns a block and its ids, by way of the cache; `wait` is called before it waits for the device.
    pub(super) fn block(
        &self,
        entry: &BlockEntry,
        reads: &mut ReadCounters,
        wait: impl FnOnce(),
    ) -> Result<Arc<Block>, Fault> {
        reads.blocks += 1;
        if let Some(Cached::Block(block)) = self.cache.get(self.id, entry.offset) {
            reads.hits += 1;
            return Ok(block);
        }
        reads.bytes += entry.length + entry.ids_length;
        if !self.file()?.is_at_hand(entry.offset) {
            wait();
        }
        let block = Arc::new(self.read_block(entry)?);
        self.cache.put_block(self.id, entry.offset, &block, reads);
        Ok(block)
    }

    /// Returns a block and its ids, from the file.
    pub(super) fn read_block(&self, entry: &BlockEntry) -> Result<Block, Fault> {
        let range = entry.offset..entry.offset.saturating_add(entry.length);
        let payload = self.frame(Section::Events.number(), range)?;
        let block = Block::decode(payload, self.ids(entry)?);
        block.map_err(|malformed| self.damaged(entry.offset, malformed))
    }

    /// Tells the system that a block and its ids will be read soon.
    pub(super) fn will_read(&self, entry: &BlockEntry) {
        // A file that cannot be opened is a fault of the read itself.
        let Ok(file) = self.file() else { return };
        file.will_read(entry.offset..entry.offset.saturating_add(entry.length));
        file.will_read(entry.ids_offset..entry.ids_offset.saturating_add(entry.ids_length));
    }

    /// Returns the ids of a block, 16 bytes each.
    pub(super) fn ids(&self, entry: &BlockEntry) -> Result<Bytes, Fault> {
        let range = entry.ids_offset..entry.ids_offset.saturating_add(entry.ids_length);
        let ids = self.frame(Section::Ids.number(), range)?;
        if ids.len() as u64 != u64::from(entry.count) * ID_BYTES as u64 {
            let why = Malformed::new("a block has another number of ids than its index says");
            return Err(self.damaged(entry.ids_offset, why));
        }
        Ok(ids)
    }

    /// Returns the payloads of the frames that fill a range, with their offsets; ends with the first fault.
    pub(super) fn frames(
        &self,
        section: u16,
        range: Range<u64>,
    ) -> impl Iterator<Item = Result<(u64, Bytes), Fault>> {
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let start = next;
            let frame = self.frame_end(start, range.end).and_then(|end| {
                next = end;
                Ok((start, self.frame(section, start..end)?))
            });
            if frame.is_err() {
                next = range.end;
            }
            Some(frame)
        })
    }

    /// Returns the payloads of all frames of a range, joined; the file is read once.
    pub(super) fn joined(&self, section: Section, range: Range<u64>) -> Result<Bytes, Fault> {
        let mut rest = self.bytes(range.clone())?;
        let mut offset = range.start;
        let mut joined = Vec::new();
        loop {
            let length = frame::length(&rest).and_then(|length| {
                let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
                length.ok_or_else(|| Malformed::new("a frame runs over its section"))
            });
            let length = length.map_err(|malformed| self.damaged(offset, malformed))?;
            let frame = rest.split_to(length);
            let payload = frame::decode(&self.identity, offset, section.number(), &frame)
                .map_err(|malformed| self.damaged(offset, malformed))?;
            if joined.is_empty() && rest.is_empty() {
                return Ok(payload);
            }
            joined.put(&payload);
            offset += length as u64;
            if rest.is_empty() {
                return Ok(Bytes::from(joined));
            }
        }
    }

    /// Returns the end of the frame at `offset` according to its header; it must not be after `limit`.
    pub(super) fn frame_end(&self, offset: u64, limit: u64) -> Result<u64, Fault> {
        let header = self.bytes(offset..offset.saturating_add(frame::FRAME_HEADER_BYTES))?;
        let length = frame::length(&header).map_err(|malformed| self.damaged(offset, malformed))?;
        let end = offset.saturating_add(length);
        if end > limit {
            return Err(self.damaged(offset, Malformed::new("a frame runs over its section")));
        }
        Ok(end)
    }

    pub(super) fn bytes(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        if range.start > range.end || range.end > self.len {
            let why = format!("the file ends at byte {}, before what it should hold", self.len);
            return Err(Fault::damaged(&self.path, range.start.min(self.len), why));
        }
        let length = usize::try_from(range.end - range.start);
        let length = length.map_err(|_| Fault::damaged(&self.path, range.start, "is too long"))?;
        let mut buffer = vec![0; length];
        let read = self.file()?.read_at(&mut buffer, range.start);
        read.map_err(Fault::io("read", &self.path))?;
        Ok(Bytes::from(buffer))
    }

    pub(super) fn damaged(&self, offset: u64, malformed: Malformed) -> Fault {
        Fault::damaged(&self.path, offset, malformed.to_string())
    }
}

impl Drop for ChunkFile {
    fn drop(&mut self) {
        if let Some(open) = self.cache.open_files() {
            open.close(self.id);
        }
    }
}

/// Returns the last bytes of a file: the trailer of a chunk, and some of its footer.
fn end_of(file: &dyn File, len: u64) -> io::Result<Bytes> {
    const END_BYTES: u64 = 4096;
    let start = len.saturating_sub(END_BYTES);
    let mut end = vec![0; (len - start) as usize];
    file.read_at(&mut end, start)?;
    Ok(end.into())
}

fn other_version(version: u16) -> String {
    format!("its format version {version} is unknown to this build")
}

/// Opens a file. A missing chunk counts as damaged, like one that lost its first byte: a copy would help.
fn open(vfs: &dyn Vfs, path: &Path) -> Result<Arc<dyn File>, Fault> {
    vfs.open(path, Open::Read).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::damaged(path, 0, "it is missing"),
        _ => Fault::io("open", path)(error),
    })
}
