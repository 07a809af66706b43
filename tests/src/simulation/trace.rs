//! The trace of a run, as a digest, so that two runs of one seed can be compared.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that happened, in order: each change to a disk, each connection, each draw of a random
/// number, each fault, each operation of a client, with the simulated time. Clones write to the same trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    digest: u64,
    count: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps only its digest.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// A trace that keeps its lines too, to find where two runs begin to differ.
    pub fn with_lines() -> Trace {
        let trace = Trace::default();
        trace.notes().lines = Some(Vec::new());
        trace
    }

    /// Notes that `who` did or met something, now.
    pub fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let line = format!("{:>12} {who} {what}", now.as_micros());
        let mut notes = self.notes();
        notes.digest = fold(notes.digest, line.as_bytes());
        notes.count += 1;
        if let Some(lines) = &mut notes.lines {
            lines.push(line);
        }
    }

    /// A number that two runs share only if the same things happened in both, in the same order.
    pub fn digest(&self) -> u64 {
        self.notes().digest
    }

    /// The number of notes.
    pub fn count(&self) -> u64 {
        self.notes().count
    }

    /// Takes the lines, if they are kept.
    pub fn take_lines(&self) -> Vec<String> {
        self.notes().lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a over the digest so far and these bytes: short, and the same on every machine.
pub(super) fn fold(digest: u64, bytes: &[u8]) -> u64 {
    let start = digest ^ 0xcbf2_9ce4_8422_2325;
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
