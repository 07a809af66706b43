//! A file system in memory.
/// placeholder
#[derive(Debug)]
pub struct MemVfs;
