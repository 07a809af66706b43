//! The real file system.
/// placeholder
#[derive(Debug)]
pub struct OsVfs;
