//! Reading is one thing: a source, bounds, a direction, a limit, and how fresh the answer must be.

use crate::error::Invalid;
use crate::limits::{QUERY_ITEMS_MAX, QUERY_TYPES_MAX};
use crate::{Category, EventType, Path, Position, RecordedEvent, StreamName, Timestamp};

/// What one item of a query looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One stream.
    Stream(StreamName),
    /// All streams of a category, in whatever path.
    Category(Category),
    /// All streams in a path.
    Path(Path),
}

impl Scope {
    /// Whether a stream lies in the scope.
    pub fn holds(&self, stream: &StreamName) -> bool {
        match self {
            Scope::Stream(one) => one == stream,
            Scope::Category(category) => stream.category() == category.as_str(),
            Scope::Path(path) => path.holds(stream),
        }
    }
}

/// All demands of an item hold for an event that it matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryItem {
    /// Where to look; everywhere if not told.
    pub scope: Option<Scope>,
    /// Any of these types; all types if empty.
    pub types: Vec<EventType>,
}

impl QueryItem {
    /// Whether the item matches an event of this stream and type.
    pub fn matches(&self, stream: &StreamName, kind: &EventType) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.holds(stream))
            && (self.types.is_empty() || self.types.contains(kind))
    }
}

/// Matches an event that any of its items matches; without an item, everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The items.
    pub items: Vec<QueryItem>,
}

impl Query {
    /// Every event.
    pub fn everything() -> Query {
        Query::default()
    }

    /// Whether the query matches an event of this stream and type. Events of the system match only a
    /// query that names their stream or their type.
    pub fn matches(&self, stream: &StreamName, kind: &EventType) -> bool {
        if self.items.is_empty() {
            return !stream.is_system() && !kind.is_system();
        }
        self.items.iter().any(|item| item.matches(stream, kind))
    }

    /// Whether the query matches a recorded event.
    pub fn matches_event(&self, event: &RecordedEvent) -> bool {
        self.matches(&event.stream, &event.event.kind)
    }

    /// Checks the limits.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.items.len() > QUERY_ITEMS_MAX {
            let why =
                format!("has {} items; at most {QUERY_ITEMS_MAX} are allowed", self.items.len());
            return Err(Invalid::limit("query", why, QUERY_ITEMS_MAX as u64));
        }
        for item in &self.items {
            if item.types.len() > QUERY_TYPES_MAX {
                let why =
                    format!("are {}; at most {QUERY_TYPES_MAX} are allowed", item.types.len());
                return Err(Invalid::limit("types", why, QUERY_TYPES_MAX as u64));
            }
        }
        Ok(())
    }
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One stream, whole or only some types of it; bounds are versions.
    Stream {
        /// The stream.
        stream: StreamName,
        /// Any of these types; all if empty.
        types: Vec<EventType>,
    },
    /// What a query matches in the whole log; bounds are positions.
    Query(Query),
}

/// Which way events are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forwards,
    /// Newest first.
    Backwards,
}

/// How fresh the answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every append that was acknowledged before the read began, wherever.
    #[default]
    Linearizable,
    /// Waits until this position is applied on the node that answers.
    AtLeast(Position),
    /// What the node has.
    Local,
}

/// Which part of the source is read. The numbers are versions when the source is a stream and positions
/// when it is a query; both are exclusive. The times are inclusive and speak of `recorded_at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Only what comes after this one; 0 is the beginning.
    pub after: u64,
    /// Only what comes before this one.
    pub before: Option<u64>,
    /// Only what was recorded at this time or later.
    pub from: Option<Timestamp>,
    /// Only what was recorded at this time or earlier.
    pub until: Option<Timestamp>,
}

/// A read of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What is read.
    pub source: Source,
    /// Which part of it.
    pub bounds: Bounds,
    /// Which way.
    pub direction: Direction,
    /// At most so many events; all if not told.
    pub limit: Option<u64>,
    /// How fresh.
    pub consistency: Consistency,
}

impl Read {
    /// A whole stream, oldest first.
    pub fn stream(stream: StreamName) -> Read {
        Read::of(Source::Stream { stream, types: Vec::new() })
    }

    /// All that a query matches, oldest first.
    pub fn query(query: Query) -> Read {
        Read::of(Source::Query(query))
    }

    fn of(source: Source) -> Read {
        Read {
            source,
            bounds: Bounds::default(),
            direction: Direction::default(),
            limit: None,
            consistency: Consistency::default(),
        }
    }

    /// Checks the limits.
    pub fn check(&self) -> Result<(), Invalid> {
        match &self.source {
            Source::Query(query) => query.check(),
            Source::Stream { types, .. } => {
                let item = QueryItem { scope: None, types: types.clone() };
                Query { items: vec![item] }.check()
            }
        }
    }
}
