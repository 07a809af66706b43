//! Who this node is: what it is given once, when its cluster is founded or takes it in.

/// Which cluster a node belongs to and which of its nodes it is. Never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster: 128 random bits, drawn when it was founded.
    pub cluster: [u8; 16],
    /// The log: 0 until a cluster has several.
    pub log: u32,
    /// The node: given by the cluster and never used twice; 1, 2, 3 …
    pub node: u64,
    /// Bytes of commands from one checkpoint to the next, alike on every node of the cluster.
    pub chunk_bytes: u64,
}
