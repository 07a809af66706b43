//! A page of a scan: about one message of events.

use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_store::{Fault, Scan, StoredEvent};

use super::cursor::Cursor;

/// The most pages of the store that are searched in one step: a scan that finds nothing must return now and then, to
/// learn that its client has left, and to send a sign that this node still searches.
const STORE_PAGES_MAX: usize = 16;

/// The next events of a scan.
pub(super) struct Page {
    pub(super) events: Vec<StoredEvent>,
    /// The point that the scan ends at.
    pub(super) end: Cursor,
    /// The rest of the scan; none if this is the last page.
    pub(super) rest: Option<Box<Scan>>,
}

impl Page {
    /// Collects about one message of events.
    pub(super) fn fetch(mut scan: Box<Scan>) -> Result<Page, Fault> {
        let end = Cursor { position: scan.as_of(), version: scan.version() };
        let mut events = Vec::new();
        let mut bytes = 0;
        for _ in 0..STORE_PAGES_MAX {
            let Some(page) = scan.next_page(READ_MESSAGE_BYTES - bytes)? else {
                return Ok(Page { events, end, rest: None });
            };
            bytes += page.iter().map(|one| one.size() + one.stream.as_str().len()).sum::<usize>();
            events.extend(page);
            if bytes >= READ_MESSAGE_BYTES {
                break;
            }
        }
        Ok(Page { events, end, rest: Some(scan) })
    }
}
