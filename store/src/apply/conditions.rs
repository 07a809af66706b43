//! Conditions in apply: only what came after their check is looked at, and that is in the active tail.

use quorate_proto::{Condition, Position, QueryItem, Violation};

use crate::defect::{Defect, is_present};
use crate::fault::Fault;
use crate::life::Floors;
use crate::read::Point;
use crate::view::{View, ordinal_of};

/// What the conditions of an append come to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// In the order of the request; of the conditions whose check was not too old.
    pub(super) violations: Vec<Violation>,
    /// Whether the check of any ends before the last boundary: what is behind it may be sealed already, here
    /// or elsewhere. A function of the log, as apply always begins a tail where it ended one.
    pub(super) is_too_old: bool,
}

/// Judges conditions that hold through `checked`, by the events after it.
pub(super) fn check(
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

/// The position of the newest event of the active tail after `after` that is visible and that an item matches.
fn newest_match(
    view: &View,
    floors: &mut Floors,
    items: &[QueryItem],
    after: Position,
) -> Result<Option<Position>, Fault> {
    let everything = [QueryItem::default()];
    let items = if items.is_empty() { &everything } else { items };
    // A position that no log reaches may be named.
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
