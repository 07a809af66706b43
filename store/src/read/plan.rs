//! What a read asks of the index: keys, and the part of their postings that counts.

use std::ops::Range;

use quorate_proto::{
    Direction, EventType, Position, Query, QueryItem, Read, Scope, Source, StreamName, Timestamp,
};

use crate::event::StoredEvent;
use crate::key::Key;

/// A read in the words of the index.
///
/// Invariant: `items` is empty exactly when everything is asked for; an item has a scope or a type.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    /// The stream, if it is one that is read.
    pub(super) stream: Option<StreamName>,
    /// Of a stream: the versions asked for; else all.
    pub(super) versions: Range<u64>,
    /// The positions asked for that are there; the end is exclusive.
    pub(super) positions: Range<Position>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) direction: Direction,
    filter: Filter,
}

/// What an event that the index found must still be asked.
#[derive(Debug)]
enum Filter {
    /// Nothing: the index knows all there is to know.
    Nothing,
    /// Whether it is the system's: everything else is asked for.
    IsSystem,
    /// Whether the query matches it, if need be as if all were named.
    Query { query: Query, with_system: bool },
}

/// All demands hold for an event that an item matches.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) scope: Option<Key>,
    /// Any of these; all types if empty.
    pub(super) types: Vec<Key>,
}

impl Plan {
    /// The plan for what stands up to and with `as_of`.
    pub(super) fn new(read: &Read, as_of: Position) -> Plan {
        let bounds = &read.bounds;
        let asked = bounds.after.saturating_add(1)..bounds.before.unwrap_or(u64::MAX);
        let end = as_of.next();
        let (items, stream, versions, positions) = match &read.source {
            Source::Stream { stream, types } => {
                let scope = Some(Key::Stream(stream.clone()));
                let item = Item { scope, types: types.iter().map(type_key).collect() };
                (vec![item], Some(stream.clone()), asked, Position(1)..end)
            }
            Source::Query(query) => {
                let positions = Position(asked.start)..Position(asked.end).min(end);
                (items(query), None, 0..u64::MAX, positions)
            }
        };
        let (from, until, direction) = (bounds.from, bounds.until, read.direction);
        let filter = Filter::new(read);
        Plan { items, stream, versions, positions, from, until, direction, filter }
    }

    /// Whether an event that the index found is one that is asked for.
    pub(super) fn wants(&self, event: &StoredEvent) -> bool {
        self.holds(event.recorded_at) && self.filter.passes(event)
    }

    /// The keys whose chunks are the only ones that can hold a match: of an item its scope, else its types.
    pub(super) fn leading_keys(&self) -> impl Iterator<Item = &Key> {
        self.items.iter().flat_map(|item| {
            let types: &[Key] = if item.scope.is_some() { &[] } else { &item.types };
            item.scope.iter().chain(types)
        })
    }

    /// Whether the time is asked for.
    fn holds(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time <= until)
    }
}

impl Filter {
    fn new(read: &Read) -> Filter {
        let Source::Query(query) = &read.source else { return Filter::Nothing };
        let is_indexed = |item: &QueryItem| item.tags.is_empty() && item.correlation.is_none();
        match query.items.as_slice() {
            [] if read.with_system => Filter::Nothing,
            [] => Filter::IsSystem,
            [one] if one.is_everything() && !read.with_system => Filter::IsSystem,
            items
                if items.iter().all(is_indexed) && !items.iter().any(QueryItem::is_everything) =>
            {
                Filter::Nothing
            }
            _ => Filter::Query { query: query.clone(), with_system: read.with_system },
        }
    }

    fn passes(&self, event: &StoredEvent) -> bool {
        match self {
            Filter::Nothing => true,
            Filter::IsSystem => !event.stream.is_system() && !event.kind().is_system(),
            Filter::Query { query, with_system: true } => {
                query.matches_with_system(&event.stream, &event.decode().event)
            }
            Filter::Query { query, with_system: false } => query.matches_event(&event.decode()),
        }
    }
}

/// The items of a query; none if one of them matches everything.
fn items(query: &Query) -> Vec<Item> {
    let item = |item: &QueryItem| Item {
        scope: item.scope.as_ref().map(scope_key),
        types: item.types.iter().map(type_key).collect(),
    };
    let items: Vec<Item> = query.items.iter().map(item).collect();
    let is_everything = |item: &Item| item.scope.is_none() && item.types.is_empty();
    if items.iter().any(is_everything) { Vec::new() } else { items }
}

fn scope_key(scope: &Scope) -> Key {
    match scope {
        Scope::Stream(stream) => Key::Stream(stream.clone()),
        Scope::Category(category) => Key::Category(category.clone()),
        Scope::Path(path) => Key::Path(path.clone()),
    }
}

fn type_key(kind: &EventType) -> Key {
    Key::Type(kind.clone())
}
