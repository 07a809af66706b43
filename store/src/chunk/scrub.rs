//! Checks the bytes of a chunk piece by piece.

use super::Chunk;
use crate::Fault;

impl Chunk {
    /// Checks the frames of the sections from `offset` on, which is 0 or what the last call returned: about
    /// `budget_bytes`, at least one frame. Returns the offset of the next piece; `None` at the end.
    ///
    /// The header, the footer and the trailer are checked when the chunk is opened. [`Chunk::verify`] checks
    /// that the parts of the chunk agree.
    pub(crate) fn check_piece(&self, offset: u64, budget_bytes: u64) -> Result<Option<u64>, Fault> {
        let end = offset.saturating_add(budget_bytes.max(1));
        let sections = self.footer.sections.iter();
        for section in sections.filter(|section| section.range.end > offset) {
            let mut next = section.range.start.max(offset);
            while next < section.range.end {
                if next >= end {
                    return Ok(Some(next));
                }
                let frame = next..self.file.frame_end(next, section.range.end)?;
                next = frame.end;
                self.file.frame(section.number, frame)?;
            }
        }
        Ok(None)
    }

    /// Returns true if the fault names a damaged frame of a section, and that frame is whole.
    pub(crate) fn refutes(&self, fault: &Fault) -> bool {
        let Fault::Damaged { offset, .. } = fault else { return false };
        let mut sections = self.footer.sections.iter();
        let is_in_section = sections.any(|section| section.range.contains(offset));
        is_in_section && self.check_piece(*offset, 1).is_ok()
    }
}
