//! The source of a read: one stream, or a query over the whole log.

use std::fmt;

use quorate_proto::{
    self as proto, Category, CorrelationId, EventType, Invalid, Path, Scope, StreamName, Tag,
};

use crate::event::Event;

/// Finds the events in the whole log that any of its items matches.
///
/// Names are checked when the query is used, so that it can be written in one line.
///
/// ```
/// use quorate_client::Query;
/// let orders = Query::category("order");
/// let payments = Query::category("order").types(["OrderPaid", "OrderRefunded"]);
/// let either = Query::path("acme/eu").or(payments);
/// let of_owner = Query::item().types(["Frozen"]).tags(["owner:7"]);
/// let of_command = Query::item().correlation("cmd-91");
/// # let _ = (orders, either, of_owner, of_command);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(Result<proto::Query, Invalid>);

impl Query {
    /// Finds every event of the log.
    pub fn everything() -> Query {
        Query(Ok(proto::Query::everything()))
    }

    /// Finds all streams of a category, in any path: `order` finds `order-42` and `acme/order-7`.
    pub fn category(name: impl AsRef<str>) -> Query {
        Query::scoped(Category::new(name).map(Scope::Category))
    }

    /// Finds all streams in a path: `acme` finds `acme/order-7` and `acme/eu/order-7`.
    pub fn path(name: impl AsRef<str>) -> Query {
        Query::scoped(Path::new(name).map(Scope::Path))
    }

    /// Finds one stream. Its bounds are still positions; to read by version, read the stream itself.
    pub fn stream(name: impl AsRef<str>) -> Query {
        Query::scoped(StreamName::new(name).map(Scope::Stream))
    }

    /// Finds every event, until it is narrowed: `Query::item().types(["Frozen"]).tags(["owner:7"])`.
    pub fn item() -> Query {
        Query(Ok(proto::Query { items: vec![proto::QueryItem::default()] }))
    }

    /// Finds every event with this tag, in any stream.
    pub fn tag(tag: impl AsRef<str>) -> Query {
        Query::item().tags([tag])
    }

    /// Finds every event of any of these types, in any stream.
    pub fn of_types<T: AsRef<str>>(types: impl IntoIterator<Item = T>) -> Query {
        Query::item().types(types)
    }

    /// Narrows the last item to events of any of these types.
    #[must_use]
    pub fn types<T: AsRef<str>>(self, types: impl IntoIterator<Item = T>) -> Query {
        let types = types_of(types);
        self.narrow(|item| {
            item.types.extend(types?);
            Ok(())
        })
    }

    /// Narrows the last item to events with all of these tags.
    #[must_use]
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> Query {
        let tags = tags_of(tags);
        self.narrow(|item| {
            item.tags.extend(tags?);
            Ok(())
        })
    }

    /// Narrows the last item to events with this correlation id.
    #[must_use]
    pub fn correlation(self, id: impl AsRef<str>) -> Query {
        let id = CorrelationId::new(id);
        self.narrow(|item| {
            item.correlation = Some(id?);
            Ok(())
        })
    }

    /// Finds the events that either query finds.
    #[must_use]
    pub fn or(self, other: Query) -> Query {
        Query(self.0.and_then(|mut query| {
            let other = other.0?;
            if query.items.is_empty() || other.items.is_empty() {
                return Ok(proto::Query::everything());
            }
            query.items.extend(other.items);
            Ok(query)
        }))
    }

    /// Returns true if the query finds this event of that stream; the error is a name that breaks a rule.
    ///
    /// ```
    /// use quorate_client::{Event, Query, StreamName};
    /// # fn main() -> Result<(), quorate_client::Invalid> {
    /// let payments = Query::category("order").types(["OrderPaid"]);
    /// let (order, paid) = (StreamName::new("acme/order-42")?, Event::new("OrderPaid", "{}")?);
    /// assert!(payments.matches(&order, &paid)?);
    /// # Ok(()) }
    /// ```
    pub fn matches(&self, stream: &StreamName, event: &Event) -> Result<bool, Invalid> {
        self.0.as_ref().map(|query| query.matches(stream, &event.event)).map_err(Clone::clone)
    }

    /// Returns the query in the form of the wire and the store, or the name in the query that breaks a rule.
    pub(crate) fn into_words(self) -> Result<proto::Query, Invalid> {
        self.0
    }

    fn narrow(self, add: impl FnOnce(&mut proto::QueryItem) -> Result<(), Invalid>) -> Query {
        Query(self.0.and_then(|mut query| {
            if query.items.is_empty() {
                query.items.push(proto::QueryItem::default());
            }
            query.items.last_mut().map_or(Ok(()), add)?;
            Ok(query)
        }))
    }

    fn scoped(scope: Result<Scope, Invalid>) -> Query {
        Query(scope.map(|scope| {
            let item = proto::QueryItem { scope: Some(scope), ..Default::default() };
            proto::Query { items: vec![item] }
        }))
    }
}

/// Writes the query in a form that stays the same, so that it can be compared with one that was written down.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = match &self.0 {
            Ok(query) => query,
            Err(invalid) => return write!(f, "({invalid})"),
        };
        if query.items.is_empty() {
            return f.write_str("everything");
        }
        for (index, item) in query.items.iter().enumerate() {
            let or = if index == 0 { "" } else { " or " };
            write!(f, "{or}{}", in_words(item))?;
        }
        Ok(())
    }
}

fn in_words(item: &proto::QueryItem) -> String {
    let scope = item.scope.as_ref().map(|scope| match scope {
        Scope::Stream(stream) => format!("stream {:?}", stream.as_str()),
        Scope::Category(category) => format!("category {:?}", category.as_str()),
        Scope::Path(path) => format!("path {:?}", path.as_str()),
    });
    let kinds: Vec<&str> = item.types.iter().map(EventType::as_str).collect();
    let kinds = (!kinds.is_empty()).then(|| format!("types {kinds:?}"));
    let tags: Vec<&str> = item.tags.iter().map(Tag::as_str).collect();
    let tags = (!tags.is_empty()).then(|| format!("tags {tags:?}"));
    let correlation = item.correlation.as_ref().map(|id| format!("correlation {:?}", id.as_str()));
    let demands = [scope, kinds, tags, correlation].into_iter().flatten().collect::<Vec<_>>();
    if demands.is_empty() { "everything".to_owned() } else { demands.join(" ") }
}

/// The source of a read: a stream, by its name, or a [`Query`].
///
/// ```
/// use quorate_client::{Query, Source, StreamName};
/// # fn main() -> Result<(), quorate_client::Invalid> {
/// let order = StreamName::new("order-42")?;
/// let sources: [Source; 3] = ["order-42".into(), order.into(), Query::category("order").into()];
/// # let _ = sources; Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Source(Result<proto::Source, Invalid>);

impl Source {
    pub(crate) fn into_read(self) -> Result<proto::Read, Invalid> {
        match self.0? {
            proto::Source::Query(query) => Ok(proto::Read::query(query)),
            proto::Source::Stream { stream, .. } => Ok(proto::Read::stream(stream)),
        }
    }

    fn stream(name: Result<StreamName, Invalid>) -> Source {
        Source(name.map(proto::Source::stream))
    }
}

impl From<Query> for Source {
    fn from(query: Query) -> Source {
        Source(query.0.map(proto::Source::Query))
    }
}

impl From<StreamName> for Source {
    fn from(stream: StreamName) -> Source {
        Source::stream(Ok(stream))
    }
}

impl From<&str> for Source {
    fn from(name: &str) -> Source {
        Source::stream(StreamName::new(name))
    }
}

impl From<&String> for Source {
    fn from(name: &String) -> Source {
        Source::from(name.as_str())
    }
}

impl From<String> for Source {
    fn from(name: String) -> Source {
        Source::from(name.as_str())
    }
}

pub(crate) fn types_of<T: AsRef<str>>(
    types: impl IntoIterator<Item = T>,
) -> Result<Vec<EventType>, Invalid> {
    types.into_iter().map(EventType::new).collect()
}

pub(crate) fn tags_of<T: AsRef<str>>(
    tags: impl IntoIterator<Item = T>,
) -> Result<Vec<Tag>, Invalid> {
    tags.into_iter().map(Tag::new).collect()
}

impl From<proto::Query> for Query {
    fn from(query: proto::Query) -> Query {
        Query(Ok(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(query: &Query, stream: &str, kind: &str) -> bool {
        let query = query.0.as_ref().expect("a query");
        let id = quorate_proto::EventId::from_bytes([1; 16]).expect("an id");
        let event = proto::Event {
            tags: ["owner:7", "red"].map(|tag| Tag::new(tag).expect("a tag")).into(),
            correlation_id: CorrelationId::new("cmd-91").ok(),
            ..proto::Event::new(id, EventType::new(kind).expect(kind), "")
        };
        query.matches(&StreamName::new(stream).expect(stream), &event)
    }

    #[test]
    fn types_narrow_the_last_item_and_or_adds_items() {
        let query = Query::category("order").types(["Paid"]).or(Query::path("acme"));
        for (stream, kind, found) in [
            ("order-1", "Paid", true),
            ("order-1", "Sent", false),
            ("acme/bill-1", "Sent", true),
            ("bill-1", "Paid", false),
        ] {
            assert_eq!(matches(&query, stream, kind), found, "{stream} {kind}");
        }
    }

    #[test]
    fn all_tags_and_the_correlation_id_are_demanded() {
        for (query, found) in [
            (Query::tag("red"), true),
            (Query::item().tags(["red", "owner:7"]), true),
            (Query::item().tags(["red", "owner:8"]), false),
            (Query::tag("red").correlation("cmd-91"), true),
            (Query::tag("red").correlation("cmd-92"), false),
            (Query::everything().correlation("cmd-91").types(["Paid"]), true),
            (Query::tag("blue").or(Query::item().correlation("cmd-91")), true),
        ] {
            assert_eq!(matches(&query, "order-1", "Paid"), found, "{query:?}");
        }
        assert!(Query::tag("").into_words().is_err());
    }

    /// Projections keep this text beside their bookmarks: another text would make all of them rebuild.
    #[test]
    fn a_query_is_written_in_words_that_stay() {
        let query = Query::category("order").types(["Paid", "Sent"]).or(Query::path("acme/eu"));
        let words = r#"category "order" types ["Paid", "Sent"] or path "acme/eu""#;
        assert_eq!(query.to_string(), words);
        let query = Query::stream("order-1").tags(["red"]).or(Query::item().correlation("cmd-91"));
        let words = r#"stream "order-1" tags ["red"] or correlation "cmd-91""#;
        assert_eq!(query.to_string(), words);
        for query in [Query::everything(), Query::item(), Query::tag("red").or(Query::everything())]
        {
            assert_eq!(query.to_string(), "everything");
        }
        assert!(Query::tag("").to_string().starts_with('('));
    }

    #[test]
    fn everything_or_something_is_everything() {
        let query = Query::category("order").or(Query::everything());
        assert!(matches(&query, "bill-1", "Sent"));
        assert!(!matches(&Query::everything().types(["Paid"]), "bill-1", "Sent"));
    }

    #[test]
    fn a_name_that_breaks_a_rule_is_reported_when_the_query_is_used() {
        let query = Query::category("a-b").types(["Paid"]).or(Query::everything());
        assert!(Source::from(query).into_read().is_err());
        assert!(Source::from("").into_read().is_err());
    }
}
