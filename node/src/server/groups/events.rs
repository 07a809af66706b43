//! Events that are read again by their position: to be tried once more, or to be shown.

use quorate_proto::{Position, Query, Read};
use quorate_store::{Fault, Reader, StoredEvent};

/// Bytes of a page: any will do, for there is one event.
const PAGE_BYTES: usize = 1;

/// The event at a position; none if it was removed.
pub(super) fn at(reader: &Reader, position: Position) -> Result<Option<StoredEvent>, Fault> {
    let mut read = Read { with_system: true, ..Read::query(Query::everything()) };
    read.bounds.after = position.0.saturating_sub(1);
    read.bounds.before = Some(position.0.saturating_add(1));
    let mut scan = reader.scan(&read)?;
    while let Some(page) = scan.next_page(PAGE_BYTES)? {
        if let Some(event) = page.into_iter().next() {
            return Ok(Some(event));
        }
    }
    Ok(None)
}
