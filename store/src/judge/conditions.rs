//! Conditions in apply: only events after the position of their check are read, and those are in the active tail.

use quorate_proto::{Condition, Position, QueryItem, Violation};

use crate::defect::{Defect, is_present};
use crate::fault::Fault;
use crate::point::Point;
use crate::retention::Floors;
use crate::view::{View, ordinal_of};

/// The result of checking the conditions of an append.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The violations, in the order of the request, of the conditions whose check was not too old.
    pub(crate) violations: Vec<Violation>,
    /// True if the check of a condition ends before the last boundary: events before that may be sealed
    /// already, here or elsewhere. A function of the log, as apply always begins a tail where it ended one.
    pub(crate) is_too_old: bool,
}

/// Judges conditions that are known to hold through `checked`, by the events after that position.
pub(crate) fn check(
    view: &View,
    point: Point,
    conditions: &[Condition],
    checked: Position,
) -> Result<Checked, Fault> {
    let mut outcome = Checked::default();
    if is_present(Defect::NoConditionCheck) {
        return Ok(outcome);
    }
    let boundary = Position(view.active.first().0 - 1);
    let mut floors = Floors::at(point);
    for (index, condition) in conditions.iter().enumerate() {
        let after = condition.after.max(checked);
        if after < boundary {
            outcome.is_too_old = true;
            continue;
        }
        if let Some(position) = newest_match(view, &mut floors, &condition.query.items, after)? {
            outcome.violations.push(Violation { condition: index, position });
        }
    }
    Ok(outcome)
}

/// Returns the position of the newest visible event of the active tail, after `after`, that an item matches.
fn newest_match(
    view: &View,
    floors: &mut Floors,
    items: &[QueryItem],
    after: Position,
) -> Result<Option<Position>, Fault> {
    let everything = [QueryItem::default()];
    let items = if items.is_empty() { &everything } else { items };
    // A request may name a position that no log reaches.
    let begin = ordinal_of(Position(after.0.saturating_add(1)), view.active.first());
    let mut newest = None;
    for item in items {
        let mut range = begin..view.active.end();
        while let Some(event) = view.active.newest_match(item, &range) {
            if floors.is_hidden(view, &event)? {
                range.end = ordinal_of(event.position, view.active.first());
                continue;
            }
            newest = newest.max(Some(event.position));
            break;
        }
    }
    Ok(newest)
}
