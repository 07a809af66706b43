//! Reads on the wire.

use std::time::Duration;

use super::event::{correlation_of, tags_of, text_of};
use super::v1;
use super::v1::consistency::Level;
use super::v1::query_item::Scope as WireScope;
use super::v1::read_request::Source as WireSource;
use crate::read::{check_items, check_tags, check_types};
use crate::{
    Bounds, Category, Consistency, Direction, EventType, Invalid, LogIndex, LogPoint, Path,
    Position, Query, QueryItem, Read, Scope, Source, StreamName, Tag, Timestamp,
};

/// The interval at which a node sends its followers and consumers a message, an empty one if there is nothing new.
pub const LIFE_SIGN_EVERY: Duration = Duration::from_secs(5);
/// The time without a message after which a follower or a consumer gives its node up, connected or not.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

impl From<Query> for v1::Query {
    fn from(query: Query) -> v1::Query {
        let item = |item: QueryItem| v1::QueryItem {
            scope: item.scope.map(|scope| match scope {
                Scope::Stream(stream) => WireScope::Stream(stream.as_str().to_owned()),
                Scope::Category(category) => WireScope::Category(category.as_str().to_owned()),
                Scope::Path(path) => WireScope::Path(path.as_str().to_owned()),
            }),
            types: item.types.iter().map(|kind| kind.as_str().to_owned()).collect(),
            tags: item.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            correlation_id: text_of(item.correlation.as_ref()),
        };
        v1::Query { items: query.items.into_iter().map(item).collect() }
    }
}

impl TryFrom<v1::Query> for Query {
    type Error = Invalid;

    fn try_from(query: v1::Query) -> Result<Query, Invalid> {
        let item = |item: v1::QueryItem| {
            let scope = match item.scope {
                None => None,
                Some(WireScope::Stream(stream)) => Some(Scope::Stream(StreamName::new(stream)?)),
                Some(WireScope::Category(name)) => Some(Scope::Category(Category::new(name)?)),
                Some(WireScope::Path(path)) => Some(Scope::Path(Path::new(path)?)),
            };
            Ok(QueryItem {
                scope,
                types: types_of(item.types)?,
                tags: query_tags(item.tags)?,
                correlation: correlation_of(&item.correlation_id)?,
            })
        };
        check_items(query.items.len())?;
        let items = query.items.into_iter().map(item).collect::<Result<_, Invalid>>()?;
        Ok(Query { items })
    }
}

impl From<Consistency> for v1::Consistency {
    fn from(consistency: Consistency) -> v1::Consistency {
        let level = match consistency {
            Consistency::Linearizable => Level::Linearizable(v1::Empty {}),
            Consistency::AtLeast(position) => Level::AtLeast(position.0),
            Consistency::Local => Level::Local(v1::Empty {}),
        };
        v1::Consistency { level: Some(level) }
    }
}

impl From<Option<v1::Consistency>> for Consistency {
    fn from(consistency: Option<v1::Consistency>) -> Consistency {
        match consistency.and_then(|consistency| consistency.level) {
            None | Some(Level::Linearizable(_)) => Consistency::Linearizable,
            Some(Level::AtLeast(position)) => Consistency::AtLeast(Position(position)),
            Some(Level::Local(_)) => Consistency::Local,
        }
    }
}

impl From<LogPoint> for v1::LogPoint {
    fn from(point: LogPoint) -> v1::LogPoint {
        v1::LogPoint {
            as_of: point.position.0,
            log_index: point.log_index.0,
            log_time: point.log_time.0,
        }
    }
}

impl From<v1::LogPoint> for LogPoint {
    fn from(point: v1::LogPoint) -> LogPoint {
        LogPoint {
            position: Position(point.as_of),
            log_index: LogIndex(point.log_index),
            log_time: Timestamp(point.log_time),
        }
    }
}

impl From<Read> for v1::ReadRequest {
    /// Converts a read; the time left is not set.
    fn from(read: Read) -> v1::ReadRequest {
        let source = match read.source {
            Source::Stream { stream, types, tags, correlation } => {
                WireSource::Stream(v1::StreamSource {
                    stream: stream.as_str().to_owned(),
                    types: types.iter().map(|kind| kind.as_str().to_owned()).collect(),
                    tags: tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
                    correlation_id: text_of(correlation.as_ref()),
                })
            }
            Source::Query(query) => WireSource::Query(query.into()),
        };
        v1::ReadRequest {
            source: Some(source),
            after: read.bounds.after,
            before: read.bounds.before,
            recorded_from: read.bounds.from.map(|time| time.0),
            recorded_until: read.bounds.until.map(|time| time.0),
            direction: match read.direction {
                Direction::Forwards => v1::Direction::Forwards.into(),
                Direction::Backwards => v1::Direction::Backwards.into(),
            },
            limit: read.limit,
            consistency: Some(read.consistency.into()),
            time_left_ms: 0,
            with_snapshot: read.with_snapshot,
            snapshot_schema_max: read.snapshot_schema_max,
            with_system: read.with_system,
            follow: read.follow,
            continues: read.continues.map(v1::LogPoint::from),
        }
    }
}

impl TryFrom<v1::ReadRequest> for Read {
    type Error = Invalid;

    /// Converts a request; the result passed [`Read::check`].
    fn try_from(request: v1::ReadRequest) -> Result<Read, Invalid> {
        let direction = match v1::Direction::try_from(request.direction) {
            Ok(v1::Direction::Forwards) => Direction::Forwards,
            Ok(v1::Direction::Backwards) => Direction::Backwards,
            Err(_) => return Err(Invalid::new("direction", "is not known")),
        };
        let source = match request.source {
            Some(WireSource::Stream(source)) => Source::Stream {
                stream: StreamName::new(source.stream)?,
                types: types_of(source.types)?,
                tags: query_tags(source.tags)?,
                correlation: correlation_of(&source.correlation_id)?,
            },
            Some(WireSource::Query(query)) => Source::Query(query.try_into()?),
            None => return Err(Invalid::new("source", "is missing")),
        };
        let bounds = Bounds {
            after: request.after,
            before: request.before,
            from: request.recorded_from.map(Timestamp),
            until: request.recorded_until.map(Timestamp),
        };
        let (consistency, limit) = (request.consistency.into(), request.limit);
        let read = Read {
            source,
            bounds,
            direction,
            limit,
            consistency,
            with_snapshot: request.with_snapshot,
            snapshot_schema_max: request.snapshot_schema_max,
            with_system: request.with_system,
            follow: request.follow,
            continues: request.continues.map(LogPoint::from),
        };
        read.check()?;
        Ok(read)
    }
}

fn query_tags(tags: Vec<String>) -> Result<Vec<Tag>, Invalid> {
    check_tags(tags.len())?;
    tags_of(tags)
}

fn types_of(types: Vec<String>) -> Result<Vec<EventType>, Invalid> {
    check_types(types.len())?;
    types.into_iter().map(EventType::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CorrelationId;

    #[test]
    fn a_read_survives_its_way_over_the_wire() {
        let kind = |name| EventType::new(name).expect("a type");
        let item = |scope| QueryItem {
            scope: Some(scope),
            types: vec![kind("Paid")],
            tags: vec![Tag::new("customer:7").expect("a tag")],
            correlation: Some(CorrelationId::new("cmd-91").expect("an id")),
        };
        let query = Query {
            items: vec![
                item(Scope::Stream(StreamName::new("order-1").expect("a name"))),
                item(Scope::Category(Category::new("order").expect("a name"))),
                item(Scope::Path(Path::new("acme/eu").expect("a name"))),
                QueryItem::default(),
            ],
        };
        let read = Read {
            bounds: Bounds {
                after: 7,
                before: Some(9),
                from: Some(Timestamp(-1)),
                until: Some(Timestamp(1)),
            },
            direction: Direction::Backwards,
            limit: Some(3),
            consistency: Consistency::AtLeast(Position(5)),
            with_system: true,
            continues: Some(LogPoint {
                position: Position(8),
                log_index: LogIndex(4),
                log_time: Timestamp(-3),
            }),
            ..Read::query(query)
        };
        let stream = Read {
            consistency: Consistency::Local,
            with_snapshot: true,
            snapshot_schema_max: Some(2),
            ..Read::stream(StreamName::new("order-1").expect("a name"))
        };
        let filtered = Read {
            source: Source::Stream {
                stream: StreamName::new("order-1").expect("a name"),
                types: vec![kind("Paid")],
                tags: vec![Tag::new("customer:7").expect("a tag")],
                correlation: Some(CorrelationId::new("cmd-91").expect("an id")),
            },
            ..stream
        };
        assert!(filtered.check().is_err(), "a snapshot is of the whole stream");
        let filtered = Read { with_snapshot: false, ..filtered };
        assert!(filtered.check().is_err(), "a schema of no snapshot");
        let filtered = Read { snapshot_schema_max: None, ..filtered };
        let zero = Read { snapshot_schema_max: Some(0), ..stream.clone() };
        assert!(zero.check().is_err(), "there is no schema 0");
        let followed = Read { follow: true, ..Read::query(Query::everything()) };
        let continued = Read { continues: Some(LogPoint::default()), ..followed.clone() };
        assert!(continued.check().is_err(), "a read that follows has no rest");
        for read in [read, stream, filtered, followed, Read::query(Query::everything())] {
            assert_eq!(Read::try_from(v1::ReadRequest::from(read.clone())), Ok(read));
        }
    }

    #[test]
    fn counts_are_checked_before_names() {
        let wrong = || vec![String::new(); 101];
        let items = vec![v1::QueryItem { types: wrong(), ..v1::QueryItem::default() }; 101];
        let one = |item| v1::Query { items: vec![item] };
        for (query, field, limit) in [
            (v1::Query { items: items.clone() }, "query", 100),
            (one(items[0].clone()), "types", 100),
            (one(v1::QueryItem { tags: wrong(), ..v1::QueryItem::default() }), "tags", 32),
        ] {
            let refused = Query::try_from(query).expect_err("too many");
            assert_eq!((refused.field, refused.limit), (field, limit));
        }
    }

    #[test]
    fn a_read_without_a_source_is_refused() {
        let refused = Read::try_from(v1::ReadRequest::default()).expect_err("no source");
        assert_eq!(refused.field, "source");
    }
}
