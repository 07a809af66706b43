//! Reading is one thing: a source, bounds, a direction, a limit, and how fresh the answer must be.

use crate::invalid::Invalid;
use crate::limits::{QUERY_BYTES_MAX, QUERY_ITEMS_MAX, QUERY_TAGS_MAX, QUERY_TYPES_MAX};
use crate::{
    Category, CorrelationId, Event, EventType, LogIndex, Path, Position, RecordedEvent, StreamName,
    Tag, Timestamp,
};

/// The scope of a query item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One stream.
    Stream(StreamName),
    /// All streams of a category, in whatever path.
    Category(Category),
    /// All streams in a path.
    Path(Path),
}

impl Scope {
    /// The name of the stream, category or path.
    pub fn as_str(&self) -> &str {
        match self {
            Scope::Stream(stream) => stream.as_str(),
            Scope::Category(category) => category.as_str(),
            Scope::Path(path) => path.as_str(),
        }
    }

    /// Returns true if a stream lies in the scope. The system's streams lie in no category and no path.
    pub fn holds(&self, stream: &StreamName) -> bool {
        match self {
            Scope::Stream(one) => one == stream,
            Scope::Category(category) => {
                !stream.is_system() && stream.category() == category.as_str()
            }
            Scope::Path(path) => !stream.is_system() && path.holds(stream),
        }
    }
}

/// A part of a query. An event matches the item if it meets all demands of the item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryItem {
    /// The scope in which events are looked for; everywhere if not given.
    pub scope: Option<Scope>,
    /// Any of these types; all types if empty.
    pub types: Vec<EventType>,
    /// All of these tags.
    pub tags: Vec<Tag>,
    /// This correlation id; any if not given.
    pub correlation: Option<CorrelationId>,
}

impl QueryItem {
    /// Returns true if the item matches an event of this stream. Events of the system match only an item that
    /// names their stream or their type.
    pub fn matches(&self, stream: &StreamName, event: &Event) -> bool {
        let is_named = matches!(self.scope, Some(Scope::Stream(_))) || !self.types.is_empty();
        let is_system = stream.is_system() || event.kind.is_system();
        (is_named || !is_system) && self.matches_with_system(stream, event)
    }

    /// Like [`QueryItem::matches`], but the system's events need not be named.
    pub fn matches_with_system(&self, stream: &StreamName, event: &Event) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.holds(stream))
            && (self.types.is_empty() || self.types.contains(&event.kind))
            && self.tags.iter().all(|tag| event.tags.contains(tag))
            && (self.correlation.is_none() || self.correlation == event.correlation_id)
    }

    /// Returns true if the item demands nothing, and so matches every event but the system's.
    pub fn is_everything(&self) -> bool {
        *self == QueryItem::default()
    }
}

/// A query of events. It matches an event that any of its items matches; without an item, everything.
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

    /// Returns true if the query matches an event of this stream. Events of the system match only an item that
    /// names their stream or their type.
    pub fn matches(&self, stream: &StreamName, event: &Event) -> bool {
        if self.items.is_empty() {
            return QueryItem::default().matches(stream, event);
        }
        self.items.iter().any(|item| item.matches(stream, event))
    }

    /// Like [`Query::matches`], but the system's events need not be named: a read's `with_system`.
    pub fn matches_with_system(&self, stream: &StreamName, event: &Event) -> bool {
        self.items.is_empty()
            || self.items.iter().any(|item| item.matches_with_system(stream, event))
    }

    /// Returns true if the query matches a recorded event.
    pub fn matches_event(&self, event: &RecordedEvent) -> bool {
        self.matches(&event.stream, &event.event)
    }

    /// Returns the bytes that the query counts towards the limits of an append: its names, and a few for each.
    pub fn size(&self) -> usize {
        let item = |item: &QueryItem| {
            let scope = item.scope.as_ref().map_or(0, |scope| scope.as_str().len());
            let types: usize = item.types.iter().map(|kind| kind.as_str().len() + 4).sum();
            let tags: usize = item.tags.iter().map(|tag| tag.as_str().len() + 4).sum();
            16 + scope + types + tags + item.correlation.as_ref().map_or(0, |id| id.as_str().len())
        };
        self.items.iter().map(item).sum()
    }

    /// Checks the limits.
    pub fn check(&self) -> Result<(), Invalid> {
        check_items(self.items.len())?;
        for item in &self.items {
            check_tags(item.tags.len())?;
            check_types(item.types.len())?;
        }
        let size = self.size();
        if size > QUERY_BYTES_MAX {
            let why = format!("has {size} bytes; at most {QUERY_BYTES_MAX} are allowed");
            return Err(Invalid::too_large("query", why, QUERY_BYTES_MAX as u64));
        }
        Ok(())
    }
}

/// Checks how many items a query has, before the items are read.
pub(crate) fn check_items(count: usize) -> Result<(), Invalid> {
    check_count("query", ("has", " items"), count, QUERY_ITEMS_MAX)
}

/// Checks how many types are requested, before the types are read.
pub(crate) fn check_types(count: usize) -> Result<(), Invalid> {
    check_count("types", ("are", ""), count, QUERY_TYPES_MAX)
}

/// Checks how many tags are requested, before the tags are read.
pub(crate) fn check_tags(count: usize) -> Result<(), Invalid> {
    check_count("tags", ("are", ""), count, QUERY_TAGS_MAX)
}

/// Checks a count against its limit; `words` surround the count in the error's text.
fn check_count(
    field: &'static str,
    words: (&str, &str),
    count: usize,
    max: usize,
) -> Result<(), Invalid> {
    if count <= max {
        return Ok(());
    }
    let (before, after) = words;
    let why = format!("{before} {count}{after}; at most {max} are allowed");
    Err(Invalid::limit(field, why, max as u64))
}

/// The source of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One stream, whole or only some events of it; bounds are versions.
    Stream {
        /// The stream.
        stream: StreamName,
        /// Any of these types; all if empty.
        types: Vec<EventType>,
        /// All of these tags.
        tags: Vec<Tag>,
        /// This correlation id; any if not given.
        correlation: Option<CorrelationId>,
    },
    /// The events that a query matches in the whole log; bounds are positions.
    Query(Query),
}

impl Source {
    /// Returns the source that is the whole of a stream.
    pub fn stream(stream: StreamName) -> Source {
        Source::Stream { stream, types: Vec::new(), tags: Vec::new(), correlation: None }
    }

    /// Returns the query that matches the events of the source.
    pub fn to_query(&self) -> Query {
        match self {
            Source::Query(query) => query.clone(),
            Source::Stream { stream, types, tags, correlation } => Query {
                items: vec![QueryItem {
                    scope: Some(Scope::Stream(stream.clone())),
                    types: types.clone(),
                    tags: tags.clone(),
                    correlation: correlation.clone(),
                }],
            },
        }
    }
}

/// The direction in which events are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forwards,
    /// Newest first.
    Backwards,
}

/// The required freshness of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// The answer has every append that was acknowledged before the read began, on any node.
    #[default]
    Linearizable,
    /// Waits until this position is applied on the node that answers.
    AtLeast(Position),
    /// The answer has the events that are applied on the node.
    Local,
}

/// The part of the source that is read. The numbers are versions when the source is a stream and positions
/// when it is a query; both are exclusive. The times are inclusive, and compared with `recorded_at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Only events after this number; 0 is the beginning.
    pub after: u64,
    /// Only events before this number.
    pub before: Option<u64>,
    /// Only events that were recorded at this time or later.
    pub from: Option<Timestamp>,
    /// Only events that were recorded at this time or earlier.
    pub until: Option<Timestamp>,
}

/// A point in the log: it decides which events an answer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPoint {
    /// The position of the last event.
    pub position: Position,
    /// The last entry.
    pub log_index: LogIndex,
    /// Log time, by which ages are judged.
    pub log_time: Timestamp,
}

/// A read of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The source of the events.
    pub source: Source,
    /// The part of the source that is read.
    pub bounds: Bounds,
    /// The direction of the read.
    pub direction: Direction,
    /// The most events that are given out; all if not given.
    pub limit: Option<u64>,
    /// The required freshness of the answer.
    pub consistency: Consistency,
    /// True if the read begins with the stream's newest aggregate snapshot: then only the events after it are
    /// read. Needs a whole stream as the source, without types or bounds, read forwards.
    pub with_snapshot: bool,
    /// The newest schema of a snapshot that the reader understands, at least 1; any if not given. A snapshot of a
    /// newer one is passed over, and the read is one without a snapshot.
    pub snapshot_schema_max: Option<u32>,
    /// True if a query gives out the system's events too, where it does not name them.
    pub with_system: bool,
    /// True if the read goes on with later appends. Forwards only, and without `before` and `until`.
    pub follow: bool,
    /// The point of an answer that another node began, and of which this read requests the rest; the bounds end there.
    /// It fails if an event of the rest was removed since that point. Not for a read that follows.
    pub continues: Option<LogPoint>,
}

impl Read {
    /// Returns a read of a whole stream, oldest event first.
    pub fn stream(stream: StreamName) -> Read {
        Read::of(Source::stream(stream))
    }

    /// Returns a read of all that a query matches, oldest event first.
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
            with_snapshot: false,
            snapshot_schema_max: None,
            with_system: false,
            follow: false,
            continues: None,
        }
    }

    /// Checks the limits, and that a snapshot is requested only where it can be given.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.with_snapshot {
            self.check_with_snapshot()?;
        }
        if self.snapshot_schema_max.is_some_and(|most| most == 0 || !self.with_snapshot) {
            let why = "is at least 1, and needs `with_snapshot`";
            return Err(Invalid::new("snapshot_schema_max", why));
        }
        if self.follow {
            self.check_follow()?;
        }
        if self.continues.is_some() && (self.follow || self.with_snapshot) {
            let why = "is for the rest of an answer that ends, without its snapshot";
            return Err(Invalid::new("continues", why));
        }
        self.source.to_query().check()
    }

    fn check_follow(&self) -> Result<(), Invalid> {
        let is_open = self.bounds.before.is_none() && self.bounds.until.is_none();
        if !is_open || self.direction != Direction::Forwards {
            let why = "goes forwards, without an end: neither `before` nor `until` can be set";
            return Err(Invalid::new("follow", why));
        }
        Ok(())
    }

    fn check_with_snapshot(&self) -> Result<(), Invalid> {
        let is_whole = match &self.source {
            Source::Stream { stream, .. } => self.source == Source::stream(stream.clone()),
            Source::Query(_) => false,
        };
        if !is_whole || self.bounds != Bounds::default() || self.direction != Direction::Forwards {
            let why = "needs a whole stream, read forwards";
            return Err(Invalid::new("with_snapshot", why));
        }
        Ok(())
    }
}
