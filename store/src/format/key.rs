//! A key of the index: a stream, a category, a path, a type, a tag or a correlation id.

use quorate_proto::{
    Category, CorrelationId, Event, EventRef, EventType, Path, Scope, StreamName, Tag,
};

use crate::format::Malformed;

/// A key of the index. The kinds are numbered on disk; keys sort by kind, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The events of one stream.
    Stream(StreamName),
    /// The events of all streams of one category.
    Category(Category),
    /// The events of all streams in one path.
    Path(Path),
    /// The events of one type.
    Type(EventType),
    /// The events that carry a tag.
    Tag(Tag),
    /// The events of one correlation id.
    Correlation(CorrelationId),
}

impl Key {
    /// Returns the kind's number on disk, which is never used for another kind.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Key::Stream(_) => Key::STREAM_KIND,
            Key::Category(_) => Key::CATEGORY_KIND,
            Key::Path(_) => Key::PATH_KIND,
            Key::Type(_) => Key::TYPE_KIND,
            Key::Tag(_) => Key::TAG_KIND,
            Key::Correlation(_) => Key::CORRELATION_KIND,
        }
    }

    /// Returns the name within the kind.
    pub fn name(&self) -> &str {
        match self {
            Key::Stream(stream) => stream.as_str(),
            Key::Category(category) => category.as_str(),
            Key::Path(path) => path.as_str(),
            Key::Type(kind) => kind.as_str(),
            Key::Tag(tag) => tag.as_str(),
            Key::Correlation(id) => id.as_str(),
        }
    }

    /// Returns kind and name as they stand in dictionaries and the catalog; the bytes sort as [`Key`] does.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind()];
        bytes.extend_from_slice(self.name().as_bytes());
        bytes
    }

    /// Returns the key for which [`Key::encode`] returned these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Key, Malformed> {
        let (kind, name) = bytes.split_first().ok_or_else(|| Malformed::new("is empty"))?;
        let name = std::str::from_utf8(name).map_err(|_| Malformed::new("is not UTF-8"))?;
        Key::of_kind(*kind, name)
    }

    /// Returns the key of a name within a kind.
    pub(crate) fn of_kind(kind: u8, name: &str) -> Result<Key, Malformed> {
        let key = match kind {
            Key::STREAM_KIND => StreamName::new(name).map(Key::Stream),
            Key::CATEGORY_KIND => Category::new(name).map(Key::Category),
            Key::PATH_KIND => Path::new(name).map(Key::Path),
            Key::TYPE_KIND => EventType::new(name).map(Key::Type),
            Key::TAG_KIND => Tag::new(name).map(Key::Tag),
            Key::CORRELATION_KIND => CorrelationId::new(name).map(Key::Correlation),
            _ => return Err(Malformed::new(format!("has the unknown kind {kind}"))),
        };
        key.map_err(Malformed::invalid)
    }

    /// The kind of streams.
    pub(crate) const STREAM_KIND: u8 = 1;
    /// The kind of categories.
    pub(crate) const CATEGORY_KIND: u8 = 2;
    /// The kind of paths.
    pub(crate) const PATH_KIND: u8 = 3;
    /// The kind of types, the last kind whose names can be listed.
    pub(crate) const TYPE_KIND: u8 = 4;
    /// The kind of tags.
    pub(crate) const TAG_KIND: u8 = 5;
    /// The kind of correlation ids.
    pub(crate) const CORRELATION_KIND: u8 = 6;

    /// Returns the key of all events in a scope.
    pub(crate) fn of_scope(scope: &Scope) -> Key {
        match scope {
            Scope::Stream(stream) => Key::Stream(stream.clone()),
            Scope::Category(category) => Key::Category(category.clone()),
            Scope::Path(path) => Key::Path(path.clone()),
        }
    }

    /// Returns the scope of the key, if it has one.
    pub(crate) fn into_scope(self) -> Option<Scope> {
        match self {
            Key::Stream(stream) => Some(Scope::Stream(stream)),
            Key::Category(category) => Some(Scope::Category(category)),
            Key::Path(path) => Some(Scope::Path(path)),
            _ => None,
        }
    }

    /// Returns the category and the paths that a stream lies in; streams of the system lie in none.
    pub(crate) fn above(stream: &StreamName) -> impl Iterator<Item = Key> {
        let stream = (!stream.is_system()).then_some(stream);
        stream.into_iter().flat_map(|stream| {
            let category = Category::new(stream.category()).expect("part of a valid name");
            let path = |path| Key::Path(Path::new(path).expect("part of a valid name"));
            std::iter::once(Key::Category(category)).chain(stream.paths().map(path))
        })
    }

    /// Returns the number of keys of an event that is written to a stream: see [`crate::StoredEvent::keys`].
    pub(crate) fn count(stream: &StreamName, event: &Event) -> u64 {
        let labels = match stream.is_system() {
            true => 1,
            false => 1 + event.tags.len() + usize::from(event.correlation_id.is_some()),
        };
        Key::count_of_stream(stream.as_str()) + labels as u64
    }

    /// Returns the number of the keys that an event has by its stream.
    pub(crate) fn count_of_stream(stream: &str) -> u64 {
        match stream.starts_with('$') {
            true => 1,
            false => 2 + stream.bytes().filter(|byte| *byte == b'/').count() as u64,
        }
    }

    /// Returns what [`Key::count`] does for an event that is written to a user's stream.
    pub(crate) fn count_ref(stream: &str, event: &EventRef<'_>) -> u64 {
        let labels = 1 + event.tags.len() + usize::from(!event.correlation_id.is_empty());
        Key::count_of_stream(stream) + labels as u64
    }
}
