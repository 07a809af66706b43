//! Commands: what a log entry asks the store to do. One kind so far: appends.
//!
//! ```text
//! command      kind 2 (1 = appends), version 2 (1), recorded_at 8, count 4, appends
//! append       length 4, flags 1 (none yet), writes, requirements
//! writes       count (varint); each: stream 1 + n, expectation, events (varint), bodies 4 + n each
//! requirements count (varint); each: stream 1 + n, expectation
//! expectation  1 (0 any, 1 none, 2 exists, 3 exactly, and then 8 more: the version)
//! ```
//!
//! Flag 1 is kept for "checked through C" and conditions, which will stand after the requirements. What
//! this build does not know, be it a kind, a version, a flag or an expectation, is malformed: to skip it
//! would make replicas differ. A body is as [`super::event`] has it, so that the tail keeps slices.

use bytes::Bytes;
use quorate_proto::{Append, Invalid, Timestamp};

/// The bytes of an append that passed [`Append::check`]: made once per request, then only copied.
pub fn encode_append(append: &Append) -> Bytes {
    unimplemented!()
}

/// The append in bytes that came from elsewhere, checked by [`Append::check`]. `data` and `metadata` are
/// slices of `bytes`.
pub fn decode_append(bytes: &Bytes) -> Result<Append, Invalid> {
    unimplemented!()
}

/// Puts encoded appends together to one command.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    count: u32,
}

impl Builder {
    /// Bytes that an append takes beside its own.
    pub const BYTES_PER_APPEND: usize = 4;

    /// An empty command, stamped with the time of the leader.
    pub fn new(recorded_at: Timestamp) -> Builder {
        unimplemented!()
    }

    /// Adds what [`encode_append`] made.
    pub fn push(&mut self, append: &Bytes) {
        unimplemented!()
    }

    /// Bytes of the command so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many appends there are.
    pub fn count(&self) -> usize {
        unimplemented!()
    }

    /// The command, for [`crate::Payload::Command`].
    pub fn finish(self) -> Bytes {
        unimplemented!()
    }
}
