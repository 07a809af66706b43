//! Finds the subscriptions of an event by its keys, so that thousands that wait for other events cost nothing.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use quorate_proto::{Query, QueryItem, Read, RecordedEvent, Scope, Source, StreamName};
use quorate_store::{Key, StoredEvent};

/// The events that a subscription wants.
#[derive(Debug)]
pub(super) struct Filter {
    query: Query,
    with_system: bool,
    /// The one stream that the subscription reads, if it reads only one.
    pub(super) stream: Option<StreamName>,
}

impl Filter {
    pub(super) fn of(read: &Read) -> Filter {
        let stream = match &read.source {
            Source::Stream { stream, .. } => Some(stream.clone()),
            Source::Query(_) => None,
        };
        Filter { query: read.source.to_query(), with_system: read.with_system, stream }
    }

    #[cfg(test)]
    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// Returns true if the subscription wants this event.
    pub(super) fn matches(&self, event: &MatchInput<'_>) -> bool {
        if self.query.items.is_empty() {
            return self.with_system || !event.is_system();
        }
        self.query.items.iter().any(|item| self.item_matches(item, event))
    }

    fn item_matches(&self, item: &QueryItem, event: &MatchInput<'_>) -> bool {
        let QueryItem { scope, types, tags, correlation } = item;
        if let Some(Scope::Stream(stream)) = scope
            && types.is_empty()
            && tags.is_empty()
            && correlation.is_none()
        {
            return *stream == event.stored.stream;
        }
        let decoded = event.decoded();
        if self.with_system {
            item.matches_with_system(&decoded.stream, &decoded.event)
        } else {
            item.matches(&decoded.stream, &decoded.event)
        }
    }

    /// Returns keys of which every event that matches has at least one; none if any event may match.
    fn keys(&self) -> Option<Vec<Key>> {
        let items = self.query.items.iter().map(keys_of);
        let keys = items.collect::<Option<Vec<_>>>()?;
        Some(keys.concat()).filter(|keys| !keys.is_empty())
    }
}

/// Returns keys of which every event that the item matches has at least one: those of the rarest kind.
fn keys_of(item: &QueryItem) -> Option<Vec<Key>> {
    if let Some(Scope::Stream(stream)) = &item.scope {
        return Some(vec![Key::Stream(stream.clone())]);
    }
    if let Some(id) = &item.correlation {
        return Some(vec![Key::Correlation(id.clone())]);
    }
    if let Some(tag) = item.tags.first() {
        return Some(vec![Key::Tag(tag.clone())]);
    }
    match &item.scope {
        Some(Scope::Category(category)) => return Some(vec![Key::Category(category.clone())]),
        Some(Scope::Path(path)) => return Some(vec![Key::Path(path.clone())]),
        Some(Scope::Stream(_)) | None => {}
    }
    let types = item.types.iter().map(|kind| Key::Type(kind.clone())).collect::<Vec<_>>();
    Some(types).filter(|types| !types.is_empty())
}

/// An event that was applied, decoded at most once for all subscriptions.
pub(super) struct MatchInput<'a> {
    pub(super) stored: &'a StoredEvent,
    decoded: OnceCell<RecordedEvent>,
}

impl<'a> MatchInput<'a> {
    pub(super) fn new(stored: &'a StoredEvent) -> MatchInput<'a> {
        MatchInput { stored, decoded: OnceCell::new() }
    }

    fn decoded(&self) -> &RecordedEvent {
        self.decoded.get_or_init(|| self.stored.decode())
    }

    fn is_system(&self) -> bool {
        self.stored.stream.is_system() || self.stored.kind().is_system()
    }
}

/// The subscriptions by the keys that they wait for.
///
/// Invariant: a subscription is listed under each key of its filter or, if it has none, in `everything`, and nowhere
/// else; there is no empty set.
#[derive(Debug, Default)]
pub(super) struct SubscriptionIndex {
    streams: HashMap<StreamName, BTreeSet<u64>>,
    others: HashMap<Key, BTreeSet<u64>>,
    everything: BTreeSet<u64>,
}

impl SubscriptionIndex {
    pub(super) fn add(&mut self, number: u64, filter: &Filter) {
        let Some(keys) = filter.keys() else {
            self.everything.insert(number);
            return;
        };
        for key in keys {
            match key {
                Key::Stream(stream) => self.streams.entry(stream).or_default().insert(number),
                key => self.others.entry(key).or_default().insert(number),
            };
        }
    }

    pub(super) fn remove(&mut self, number: u64, filter: &Filter) {
        let Some(keys) = filter.keys() else {
            self.everything.remove(&number);
            return;
        };
        for key in keys {
            match key {
                Key::Stream(stream) => take_out(&mut self.streams, &stream, number),
                key => take_out(&mut self.others, &key, number),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.others.is_empty() && self.everything.is_empty()
    }

    /// Calls `visit` once with each subscription that may want the event.
    pub(super) fn visit(&self, event: &StoredEvent, visit: impl FnMut(u64)) {
        let stream = self.streams.get(&event.stream);
        if self.others.is_empty() {
            let sets = stream.into_iter().chain([&self.everything]);
            // A subscription is in only one of the two sets.
            return sets.flatten().copied().for_each(visit);
        }
        let mut found: BTreeSet<u64> = self.everything.clone();
        found.extend(stream.into_iter().flatten());
        for key in event.keys() {
            found.extend(self.others.get(&key).into_iter().flatten());
        }
        found.into_iter().for_each(visit);
    }
}

fn take_out<K: Eq + Hash>(sets: &mut HashMap<K, BTreeSet<u64>>, key: &K, number: u64) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&number);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
