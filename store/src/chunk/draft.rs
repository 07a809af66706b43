//! The file of a chunk while it is written: frames one after the other, under a temporary name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Fault;
use crate::format::chunk::{
    ChunkIdentity, FOOTER, Footer, Section, SectionEntry, encode_header, encode_trailer, frame,
};
use crate::format::codec::Packer;
use crate::vfs::{File, Open, Vfs};

/// The number of bytes that are written and synced at once: a sync of the log waits until the disk has taken what was
/// given to it before, so a chunk is given to it in small pieces.
const BUFFER_BYTES: usize = 1024 * 1024;
/// The size of the frames of a section that is read as a whole.
const PIECE_BYTES: usize = 64 * 1024;

/// A chunk that is being written. If it is dropped before [`Draft::finish`], it leaves a file that the next
/// draft of this number or the next open of the store removes.
pub(super) struct Draft {
    file: Arc<dyn File>,
    path: PathBuf,
    pub(super) identity: ChunkIdentity,
    /// The offset of the next frame.
    offset: u64,
    buffer: Vec<u8>,
    packer: Packer,
    sections: Vec<SectionEntry>,
}

impl Draft {
    pub(super) fn create(
        vfs: &dyn Vfs,
        path: &Path,
        identity: ChunkIdentity,
    ) -> Result<Draft, Fault> {
        if vfs.exists(path).map_err(Fault::io("look for", path))? {
            vfs.remove(path).map_err(Fault::io("remove", path))?;
        }
        let file = vfs.open(path, Open::Create).map_err(Fault::io("create", path))?;
        let buffer = encode_header(&identity);
        let offset = buffer.len() as u64;
        let (packer, sections) = (Packer::new(), Vec::new());
        let path = path.to_owned();
        Ok(Draft { file, path, identity, offset, buffer, packer, sections })
    }

    /// Returns the offset of the next frame.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Adds a frame; returns the number of bytes of the file that it takes.
    pub(super) fn put(&mut self, section: Section, payload: &[u8]) -> Result<u64, Fault> {
        self.put_numbered(section.number(), payload)
    }

    /// Ends a section that began at `start`.
    pub(super) fn close(&mut self, section: Section, start: u64) {
        let (number, range) = (section.number(), start..self.offset);
        self.sections.push(SectionEntry { number, critical: true, range });
    }

    /// Adds a section that is read as a whole.
    pub(super) fn put_section(&mut self, section: Section, content: &[u8]) -> Result<(), Fault> {
        let start = self.offset;
        for piece in content.chunks(PIECE_BYTES) {
            self.put(section, piece)?;
        }
        self.close(section, start);
        Ok(())
    }

    /// Adds the footer, with the sections so far. On return the file is durable, but not yet its name.
    pub(super) fn finish(mut self, footer: &mut Footer) -> Result<(), Fault> {
        footer.sections = std::mem::take(&mut self.sections);
        let footer_offset = self.offset;
        self.put_numbered(FOOTER, &footer.encode())?;
        let trailer = encode_trailer(&self.identity, self.offset, footer_offset);
        self.buffer.extend_from_slice(&trailer);
        self.offset += trailer.len() as u64;
        self.flush()
    }

    fn put_numbered(&mut self, section: u16, payload: &[u8]) -> Result<u64, Fault> {
        let before = self.buffer.len();
        let (identity, packer) = (&self.identity, &mut self.packer);
        frame::encode(identity, self.offset, section, payload, packer, &mut self.buffer);
        let length = (self.buffer.len() - before) as u64;
        self.offset += length;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(length)
    }

    /// Writes what was added since the last time, durably.
    fn flush(&mut self) -> Result<(), Fault> {
        let offset = self.offset - self.buffer.len() as u64;
        self.file.write_at(&self.buffer, offset).map_err(Fault::io("write", &self.path))?;
        self.buffer.clear();
        self.file.sync_data().map_err(Fault::io("sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::MemVfs;

    /// A sync of the log waits until the disk has taken all that was given to it before.
    #[test]
    fn a_chunk_is_synced_in_small_pieces_while_it_is_written() {
        let vfs = MemVfs::new();
        let identity = ChunkIdentity { cluster: [1; 16], log: 0, number: 1 };
        let mut draft = Draft::create(&vfs, Path::new("/draft"), identity).expect("a file");
        let before = vfs.counters();
        let mut noise = 1_u64;
        let noise = std::iter::from_fn(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some((noise >> 56) as u8)
        });
        let piece: Vec<u8> = noise.take(PIECE_BYTES).collect();
        for mib in 1..5 {
            for _ in 0..BUFFER_BYTES / PIECE_BYTES {
                draft.put(Section::Events, &piece).expect("written");
            }
            let now = vfs.counters();
            assert_eq!(now.syncs - before.syncs, mib);
            assert!(now.bytes_written - before.bytes_written >= mib << 20);
        }
    }
}
