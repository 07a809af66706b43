//! A file that takes writes without changing the file on the disk: a check must leave no trace.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::vfs::File;

const BLOCK: u64 = 4096;

/// A file, and the writes over it, in memory.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Arc<dyn File>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The number of bytes that the file below still shows.
    below: u64,
    len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn new(file: Arc<dyn File>) -> io::Result<Overlay> {
        let len = file.len()?;
        let state = State { below: len, len, blocks: BTreeMap::new() };
        Ok(Overlay { file, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, state: &State, index: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = state.blocks.get(&index) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK as usize];
        let start = index * BLOCK;
        let there = state.below.saturating_sub(start).min(BLOCK);
        if let Some(there) = block.get_mut(..there as usize).filter(|there| !there.is_empty()) {
            self.file.read_at(there, start)?;
        }
        Ok(block)
    }
}

/// Returns the blocks that a range touches: index, bytes of the block, bytes of the range.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let at = offset + done as u64;
        let inside = (at % BLOCK) as usize;
        let count = (BLOCK as usize - inside).min(length - done);
        let piece = (at / BLOCK, inside..inside + count, done..done + count);
        done += count;
        Some(piece)
    })
}

impl File for Overlay {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        if offset.saturating_add(buffer.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (index, inside, piece) in pieces(offset, buffer.len()) {
            let block = self.block(&state, index)?;
            buffer[piece].copy_from_slice(&block[inside]);
        }
        Ok(())
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        for (index, inside, piece) in pieces(offset, buffer.len()) {
            let mut block = self.block(&state, index)?;
            block[inside].copy_from_slice(&buffer[piece]);
            state.blocks.insert(index, block);
        }
        state.len = state.len.max(offset + buffer.len() as u64);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let mut last = self.block(&state, len / BLOCK)?;
        last[(len % BLOCK) as usize..].fill(0);
        state.blocks.retain(|index, _| *index <= len / BLOCK);
        state.blocks.insert(len / BLOCK, last);
        state.below = state.below.min(len);
        state.len = len;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }
}
