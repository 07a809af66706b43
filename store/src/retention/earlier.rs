//! The record of a scope as it was before the catalog's: its changes are events, which make it anew.

use std::sync::Arc;

use quorate_proto::{ChangeKind, Position, Scope, StreamName, Version};

use super::record::Moment;
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::StoredEvent;
use crate::format::retention::Record;
use crate::view::View;

/// Returns the record of a scope as of any position. Costs more than [`View::record`] only where the scope changed after
/// the position, and the catalog may have that change.
pub(super) fn record_at(
    view: &View,
    scope: &Scope,
    as_of: Position,
) -> Result<Option<Arc<Record>>, Fault> {
    let found = view.record(scope, as_of)?;
    let is_sealed = view.chunks.last().is_some_and(|last| last.summary().last_position > as_of);
    if found.is_none() || !is_sealed {
        return Ok(found);
    }
    // A scope whose changes cannot have a name has no record.
    let Ok(changes) = scope.changes() else { return Ok(found) };
    let then = view.version_at(&changes, as_of)?;
    if then == view.version(&changes, Position(u64::MAX))? {
        return Ok(found);
    }
    let mut record = Record::default();
    for version in 1..=then.0 {
        let event = event_of(view, &changes, Version(version))?;
        apply(view, scope, &event, &mut record)?;
    }
    Ok((then > Version::ZERO).then(|| Arc::new(record)))
}

/// Changes a record as the event of a change did when it was applied.
fn apply(
    view: &View,
    scope: &Scope,
    event: &StoredEvent,
    record: &mut Record,
) -> Result<(), Fault> {
    let recorded = event.decode();
    let kind = ChangeKind::of_event(&recorded.event);
    let kind = kind.map_err(|why| unreadable(view, &format!("an event {why}")))?;
    let (position, time) = (event.position, event.recorded_at);
    let mut at = Moment { position, time, ..Moment::default() };
    if let Scope::Stream(stream) = scope {
        at.version = view.version_at(stream, position)?;
        record.change_stream(&kind, at);
    } else if let ChangeKind::Settings(settings) = &kind {
        record.change_scope(settings, at);
    }
    Ok(())
}

/// Returns an event of a stream of changes, of which none is ever removed.
fn event_of(view: &View, changes: &StreamName, version: Version) -> Result<StoredEvent, Fault> {
    let position = view.position_of(changes, version, &mut ReadCounters::default())?;
    let event = position.map_or(Ok(None), |position| view.event(position))?;
    event.ok_or_else(|| unreadable(view, &format!("`{changes}` lacks version {version}")))
}

fn unreadable(view: &View, why: &str) -> Fault {
    Fault::damaged(&view.directory, 0, format!("a change of settings cannot be read: {why}"))
}
