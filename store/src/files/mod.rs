//! The files of a store: their names in its folder, those that are open, and the pieces of them that were read last.
//!
//! The room uses the formats and the `Vfs`; the content of a file is the business of chunks and catalog.

mod cache;
mod folder;
mod open;

pub use cache::ReadCounters;
pub(crate) use cache::{BlockCache, Cached};
pub(crate) use folder::{
    CURRENT_NEW, Folder, chunk_path, is_of_catalogs, is_of_chunks, nameless, read_current,
};
pub(crate) use open::FileId;
