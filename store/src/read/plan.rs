//! The plan of a read: the keys to look up in the index, and the parts of their postings to use.

use std::collections::BTreeSet;
use std::ops::Range;

use quorate_proto::{
    Direction, Position, Query, QueryItem, Read, Source, StreamName, Timestamp, Version,
};

use crate::format::{Key, StoredEvent};

/// A read, expressed in keys of the index.
///
/// Invariant: `items` is empty exactly when all events match.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    /// The stream that is read; `None` if the source is a query.
    pub(super) stream: Option<StreamName>,
    /// The versions of the stream to read; all if the source is a query.
    pub(super) versions: Range<u64>,
    /// The positions to read, up to the newest event; the end is exclusive.
    pub(super) positions: Range<Position>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) direction: Direction,
    filter: Filter,
}

/// An item of a query, in keys: an event matches that has `all` of them, and one of `any`.
///
/// Invariants: `all` is not empty; `any` is empty, which means no restriction, or has two or more keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) all: Vec<Key>,
    pub(super) any: Vec<Key>,
}

/// The check that an event found by the index must still pass.
#[derive(Debug)]
enum Filter {
    /// No check: the index alone decides.
    Nothing,
    /// The event must not be the system's: everything else is requested.
    IsSystem,
    /// The query must match the event: everything is requested, and some of the system's events by name.
    Query(Query),
}

impl Plan {
    /// Makes the plan to read the events up to and including `as_of`.
    pub(super) fn new(read: &Read, as_of: Position) -> Plan {
        let bounds = &read.bounds;
        let asked = bounds.after.saturating_add(1)..bounds.before.unwrap_or(u64::MAX);
        let end = as_of.next();
        let (items, stream, versions, positions) = match &read.source {
            Source::Stream { stream, .. } => {
                let items = items(&read.source.to_query());
                (items, Some(stream.clone()), asked, Position(1)..end)
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

    /// Leaves out the versions of the stream before `version`.
    pub(super) fn start_at(&mut self, version: Version) {
        self.versions.start = self.versions.start.max(version.0);
    }

    /// Returns true if an event that the index found is requested.
    pub(super) fn wants(&self, event: &StoredEvent) -> bool {
        let time = event.recorded_at;
        self.from.is_none_or(|from| from <= time)
            && self.until.is_none_or(|until| time <= until)
            && self.filter.passes(event)
    }
}

impl Filter {
    fn new(read: &Read) -> Filter {
        match &read.source {
            _ if read.with_system => Filter::Nothing,
            Source::Stream { .. } => Filter::Nothing,
            Source::Query(query) => match query.items.as_slice() {
                [] => Filter::IsSystem,
                items if items.iter().all(QueryItem::is_everything) => Filter::IsSystem,
                items if items.iter().any(QueryItem::is_everything) => Filter::Query(query.clone()),
                _ => Filter::Nothing,
            },
        }
    }

    fn passes(&self, event: &StoredEvent) -> bool {
        match self {
            Filter::Nothing => true,
            // Event types of the system occur in its streams only.
            Filter::IsSystem => !event.stream.is_system(),
            Filter::Query(query) => {
                !event.stream.is_system() || query.matches_event(&event.decode())
            }
        }
    }
}

impl Item {
    /// Returns the items for `all` keys and any of the `types`; without `all`, each type is an item.
    fn split(mut all: Vec<Key>, types: impl Iterator<Item = Key>) -> Vec<Item> {
        let types: BTreeSet<Key> = types.collect();
        if all.is_empty() {
            return types.into_iter().map(|key| Item { all: vec![key], any: Vec::new() }).collect();
        }
        let mut any: Vec<Key> = types.into_iter().collect();
        if any.len() == 1 {
            all.append(&mut any);
        }
        vec![Item { all, any }]
    }

    fn of(item: &QueryItem) -> Vec<Item> {
        let scope = item.scope.as_ref().map(Key::of_scope);
        let correlation = item.correlation.clone().map(Key::Correlation);
        let tags: BTreeSet<Key> = item.tags.iter().cloned().map(Key::Tag).collect();
        let all = scope.into_iter().chain(correlation).chain(tags).collect();
        Item::split(all, item.types.iter().cloned().map(Key::Type))
    }
}

/// Returns the items of a query, each once; no items if one of them matches everything.
fn items(query: &Query) -> Vec<Item> {
    if query.items.iter().any(QueryItem::is_everything) {
        return Vec::new();
    }
    let items: BTreeSet<Item> = query.items.iter().flat_map(Item::of).collect();
    items.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use quorate_proto::{CorrelationId, EventType, Tag};

    use super::*;

    fn kind(name: &str) -> Key {
        Key::Type(EventType::new(name).expect("a type"))
    }

    fn tag(name: &str) -> Key {
        Key::Tag(Tag::new(name).expect("a tag"))
    }

    #[test]
    fn types_alone_are_asked_for_one_by_one_and_beside_other_keys_together() {
        let types =
            vec![EventType::new("B").expect("a type"), EventType::new("A").expect("a type")];
        let item = QueryItem { types, ..QueryItem::default() };
        let split = Item::of(&item);
        assert_eq!(split.len(), 2);
        assert_eq!(split[0], Item { all: vec![kind("A")], any: vec![] });
        let tags = vec![Tag::new("t").expect("a tag")];
        let tagged = Item::of(&QueryItem { tags: tags.clone(), ..item });
        assert_eq!(tagged, [Item { all: vec![tag("t")], any: vec![kind("A"), kind("B")] }]);
        let correlation = Some(CorrelationId::new("c").expect("an id"));
        let types = vec![EventType::new("A").expect("a type")];
        let all = Item::of(&QueryItem { tags, correlation, types, scope: None });
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].all.len(), all[0].any.len()), (3, 0));
    }

    #[test]
    fn an_item_that_demands_nothing_asks_for_everything() {
        let item =
            QueryItem { types: vec![EventType::new("A").expect("a type")], ..Default::default() };
        assert!(items(&Query { items: vec![item, QueryItem::default()] }).is_empty());
    }
}
