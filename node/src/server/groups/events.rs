//! Reads single events again by their position, to try them once more or to show them.

use quorate_proto::{Position, Query, Read};
use quorate_store::{Fault, Reader, StoredEvent};

/// The bytes of a page; any number will do, because there is only one event.
const PAGE_BYTES: usize = 1;

/// Returns the event at a position; none if the event was removed.
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
