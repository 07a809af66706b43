//! Writes a chunk again without the events that are below their streams' floors.

use std::path::Path;

use quorate_proto::{LogIndex, Position, StreamName, Version};

use super::{Chunk, ChunkIdentity, ChunkSummary};
use crate::Fault;
use crate::vfs::Vfs;

/// Replaces the file of `source` by one without the events below what `cut` says of their streams: the first
/// version that is kept. Of those at `keep_stub_from` and after, place and id are kept. `checkpoint` is the log
/// index of the checkpoint that the cuts go by. `None`, and nothing is written, if nothing would go.
///
/// On return the new file is durable; a power cut leaves the old or the new. `source` goes on reading the old
/// file for as long as it is open.
#[expect(dead_code, clippy::unimplemented, reason = "lands next")]
pub(crate) fn rewrite(
    _vfs: &dyn Vfs,
    _directory: &Path,
    _identity: &ChunkIdentity,
    _source: &Chunk,
    _cut: &mut dyn FnMut(&StreamName) -> Result<Version, Fault>,
    _keep_stub_from: Position,
    _checkpoint: LogIndex,
) -> Result<Option<ChunkSummary>, Fault> {
    unimplemented!()
}
