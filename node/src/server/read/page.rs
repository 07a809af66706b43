//! A page of a scan: a few messages of events.

use quorate_store::{Fault, Scan};

use super::cursor::Cursor;
use super::form::{Form, Formed, MESSAGE_BYTES};

/// The bytes of events in the first page of a scan, which is on its way while the next one is read; each page is twice
/// as large as the one before it …
pub(super) const FIRST_PAGE_BYTES: usize = MESSAGE_BYTES;
/// … up to this size. To hand a page from thread to thread costs as much as to read some dozens of events.
pub(super) const PAGE_BYTES: usize = 4 * MESSAGE_BYTES;
/// The bytes of events in the first page of a read that waits for its point meanwhile.
pub(super) const EARLY_PAGE_BYTES: usize = 2 * MESSAGE_BYTES;
/// The most pages of the store that are searched in one step: a scan that finds nothing must return now and then, to
/// learn that its client has left, and to send a sign that this node still searches.
const STORE_PAGES_MAX: usize = 16;

/// The next events of a scan.
pub(super) struct Page<F> {
    pub(super) events: Option<Formed<F>>,
    /// The point that the scan ends at.
    pub(super) end: Cursor,
    /// The rest of the scan; none if this is the last page.
    pub(super) rest: Option<Box<Scan>>,
}

impl<F: Form> Page<F> {
    /// Collects events of about so many bytes.
    pub(super) fn fetch(mut scan: Box<Scan>, budget_bytes: usize) -> Result<Page<F>, Fault> {
        let end = Cursor { position: scan.as_of(), version: scan.version() };
        let mut events = Vec::new();
        let mut bytes = 0;
        for _ in 0..STORE_PAGES_MAX {
            let Some(page) = scan.next_page(budget_bytes - bytes)? else {
                return Ok(Page { events: Formed::of(events), end, rest: None });
            };
            bytes += page.iter().map(|one| one.size() + one.stream.as_str().len()).sum::<usize>();
            match events.is_empty() {
                true => events = page,
                false => events.extend(page),
            }
            if bytes >= budget_bytes {
                break;
            }
        }
        Ok(Page { events: Formed::of(events), end, rest: Some(scan) })
    }
}
