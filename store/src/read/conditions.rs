//! Judging the conditions of an append before it is proposed, by the events applied here.

use std::sync::Arc;

use quorate_proto::{Condition, Direction, Position, Read, Violation};

use super::Scan;
use crate::fault::Fault;
use crate::view::{Published, Shared};

/// Bytes of events read in one go, while the events that the index finds are hidden.
const PAGE_BYTES: usize = 64 * 1024;

/// Returns the violations as of a point, in the order of the conditions, each with the newest event that its condition
/// forbids: a condition is a read backwards that ends at the first match.
pub(super) fn check(
    shared: &Arc<Shared>,
    published: &Published,
    conditions: &[Condition],
) -> Result<Vec<Violation>, Fault> {
    let mut violations = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        if let Some(position) = newest_match(shared, published, condition)? {
            violations.push(Violation { condition: index, position });
        }
    }
    Ok(violations)
}

/// Returns the position of the newest event that the condition forbids.
fn newest_match(
    shared: &Arc<Shared>,
    published: &Published,
    condition: &Condition,
) -> Result<Option<Position>, Fault> {
    let mut read = Read::query(condition.query.clone());
    read.bounds.after = condition.after.0;
    read.direction = Direction::Backwards;
    read.limit = Some(1);
    let mut scan = Scan::begin(shared, published, &read)?;
    while let Some(page) = scan.next_page(PAGE_BYTES)? {
        if let Some(event) = page.first() {
            return Ok(Some(event.position));
        }
    }
    Ok(None)
}
