//! The beginning of a read: the first page, and what goes before it. It may be read before the read's point is known.

use std::sync::atomic::{AtomicU32, Ordering};

use quorate_proto::{LogPoint, Read, RecordedSnapshot};
use quorate_store::{Fault, Reader};

use super::form::Form;
use super::page::Page;

/// The number of reads that wait for their point before they begin, after one that began too early.
const PATIENT_READS: u32 = 64;

/// The beginning of a read.
pub(crate) struct Beginning<F> {
    pub(super) point: LogPoint,
    pub(super) snapshot: Option<RecordedSnapshot>,
    /// The schema of a snapshot that the reader does not understand.
    pub(super) passed_over: Option<u32>,
    pub(super) page: Page<F>,
}

impl<F: Form> Beginning<F> {
    /// Begins a read as of now, with a page of about so many bytes.
    pub(super) fn read(reader: &Reader, read: &Read, bytes: usize) -> Result<Beginning<F>, Fault> {
        let scan = Box::new(reader.scan(read)?);
        let snapshot = scan.snapshot().cloned();
        let (point, passed_over) = (scan.point(), scan.snapshot_schema_passed_over());
        Ok(Beginning { point, snapshot, passed_over, page: Page::fetch(scan, bytes)? })
    }
}

/// Decides which reads begin before their point is known. While the log goes on, such a beginning is mostly too old
/// by the time that the point is known, and its work is lost.
#[derive(Debug, Default)]
pub(super) struct EarlyReads {
    /// The number of reads that still wait.
    patient: AtomicU32,
}

impl EarlyReads {
    /// Returns true if the next read may begin early.
    pub(super) fn may_begin(&self) -> bool {
        let one_less = |patient: u32| patient.checked_sub(1);
        self.patient.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err()
    }

    /// Notes that a beginning was too old when its point was known.
    pub(super) fn was_too_early(&self) {
        self.patient.store(PATIENT_READS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_one_that_was_too_early_reads_wait_for_a_while() {
        let early = EarlyReads::default();
        assert!(early.may_begin() && early.may_begin());
        early.was_too_early();
        let waiting = (0..PATIENT_READS).filter(|_| !early.may_begin()).count();
        assert_eq!(waiting as u32, PATIENT_READS);
        assert!(early.may_begin());
    }
}
