//! Fills in the heads of streams that only chunks know, a run of them with each seal.

use std::ops::Bound;
use std::sync::PoisonError;

use super::{Heads, Known};
use crate::fault::Fault;
use crate::format::Key;
use crate::view::View;

/// The most streams that one seal fills in.
const RUN_MAX: usize = 100_000;

/// The progress of filling.
#[derive(Debug)]
pub(super) enum Fill {
    /// The streams up to this key, which is encoded, are in.
    Through(Vec<u8>),
    /// All streams are in, or there are too many.
    Over,
}

impl Heads {
    /// Takes in a run of streams that the chunks of a view hold and that are not here; the run is the longer the more
    /// keys the seal has. Nobody needs it: at a fault the next seal tries again.
    pub(crate) fn fill(&self, view: &View, keys: usize) {
        let mut fill = self.fill.lock().unwrap_or_else(PoisonError::into_inner);
        let Fill::Through(after) = &mut *fill else { return };
        if let Ok(true) = self.fill_after(view, after, (keys * 2).clamp(1, RUN_MAX)) {
            *fill = Fill::Over;
        }
    }

    /// Takes in the streams after a key, and moves the key. Returns true if nothing is left to do.
    fn fill_after(&self, view: &View, after: &mut Vec<u8>, mut run: usize) -> Result<bool, Fault> {
        let start = after.clone();
        for row in view.index().keys_from(Bound::Excluded(&start))? {
            let (key, state) = row?;
            let Key::Stream(stream) = decoded(view, &key)? else { break };
            let hash = self.hasher.hash_stream(stream.as_str());
            if self.shard(hash).find(hash, stream.as_str()).is_none() {
                if run == 0 {
                    return Ok(false);
                }
                run -= 1;
                let head = view.head_in_chunks(&stream, state.version)?;
                let last_chunk = u32::try_from(state.last_chunk).unwrap_or(0);
                let mut shard = self.shard(hash);
                shard.insert(hash, stream.as_str(), Known { head, last_chunk });
                if shard.has_dropped {
                    return Ok(true);
                }
            }
            *after = key;
        }
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.is_complete = !shard.has_dropped;
        }
        Ok(true)
    }
}

fn decoded(view: &View, key: &[u8]) -> Result<Key, Fault> {
    Key::decode(key).map_err(|malformed| view.catalog.damaged(&format!("a key {malformed}")))
}
