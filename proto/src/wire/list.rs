//! Lists of names on the wire.

use super::v1;
use super::v1::list_names_request::Kind;
use crate::{Invalid, ListEntry, ListRequest, ListTarget, ListedStream, Scope, Version};

impl From<ListRequest> for v1::ListNamesRequest {
    /// Leaves out the time left.
    fn from(list: ListRequest) -> v1::ListNamesRequest {
        let (kind, within) = match list.listed {
            ListTarget::Streams => (Kind::Streams, None),
            ListTarget::StreamsOf(category) => (Kind::Streams, Some(Scope::Category(category))),
            ListTarget::StreamsIn(path) => (Kind::Streams, Some(Scope::Path(path))),
            ListTarget::Categories => (Kind::Categories, None),
            ListTarget::Paths => (Kind::Paths, None),
            ListTarget::Types => (Kind::Types, None),
        };
        v1::ListNamesRequest {
            kind: kind.into(),
            within: within.map(v1::Scope::from),
            prefix: list.prefix,
            after: list.after,
            limit: list.limit,
            consistency: Some(list.consistency.into()),
            time_left_ms: 0,
            with_system: list.with_system,
            with_removed: list.with_removed,
        }
    }
}

impl TryFrom<v1::ListNamesRequest> for ListRequest {
    type Error = Invalid;

    /// The result passed [`ListRequest::check`].
    fn try_from(request: v1::ListNamesRequest) -> Result<ListRequest, Invalid> {
        let kind = Kind::try_from(request.kind);
        let kind = kind.map_err(|_| Invalid::new("kind", "is not known"))?;
        let within = match request.within {
            Some(within) => Some(Scope::try_from(Some(within))?),
            None => None,
        };
        let listed = match (kind, within) {
            (Kind::Streams, None) => ListTarget::Streams,
            (Kind::Streams, Some(Scope::Category(category))) => ListTarget::StreamsOf(category),
            (Kind::Streams, Some(Scope::Path(path))) => ListTarget::StreamsIn(path),
            (Kind::Categories, None) => ListTarget::Categories,
            (Kind::Paths, None) => ListTarget::Paths,
            (Kind::Types, None) => ListTarget::Types,
            (Kind::Streams, Some(Scope::Stream(_))) => {
                return Err(Invalid::new("within", "is a stream: it holds no other"));
            }
            (Kind::Categories | Kind::Paths | Kind::Types, Some(_)) => {
                return Err(Invalid::new("within", "is set, but only streams lie in anything"));
            }
        };
        let list = ListRequest {
            listed,
            prefix: request.prefix,
            after: request.after,
            limit: request.limit,
            consistency: request.consistency.into(),
            with_system: request.with_system,
            with_removed: request.with_removed,
        };
        list.check()?;
        Ok(list)
    }
}

impl From<ListEntry> for v1::ListedName {
    fn from(named: ListEntry) -> v1::ListedName {
        let ListEntry { name, events, stream } = named;
        let (version, first_version, closed) = match stream {
            Some(ListedStream { version, first_version, closed }) => {
                (version.0, first_version.0, closed)
            }
            None => (0, 0, false),
        };
        v1::ListedName { name, events, version, first_version, closed }
    }
}

impl From<v1::ListedName> for ListEntry {
    fn from(listed: v1::ListedName) -> ListEntry {
        let v1::ListedName { name, events, version, first_version, closed } = listed;
        let stream = (version > 0).then_some(ListedStream {
            version: Version(version),
            first_version: Version(first_version),
            closed,
        });
        ListEntry { name, events, stream }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Category, Consistency, Path, Position};

    #[test]
    fn a_list_survives_its_way_over_the_wire() {
        let category = Category::new("order").expect("a name");
        let path = Path::new("acme/eu").expect("a name");
        let more = ListRequest {
            prefix: "order-1".into(),
            after: "order-17".into(),
            limit: Some(3),
            consistency: Consistency::AtLeast(Position(5)),
            with_system: true,
            with_removed: true,
            ..ListRequest::of(ListTarget::Streams)
        };
        let others = [
            ListTarget::StreamsOf(category),
            ListTarget::StreamsIn(path),
            ListTarget::Categories,
            ListTarget::Paths,
            ListTarget::Types,
        ];
        for list in others.map(ListRequest::of).into_iter().chain([more]) {
            let request = v1::ListNamesRequest::from(list.clone());
            assert_eq!(ListRequest::try_from(request), Ok(list));
        }
        let stream = ListedStream { version: Version(7), first_version: Version(3), closed: true };
        for (events, stream) in [(Some(5), Some(stream)), (None, None), (Some(0), None)] {
            let named = ListEntry { name: "order-42".into(), events, stream };
            assert_eq!(ListEntry::from(v1::ListedName::from(named.clone())), named);
        }
    }

    #[test]
    fn what_cannot_be_listed_is_refused() {
        let scope =
            |name: &str| Some(v1::Scope::from(Scope::Path(Path::new(name).expect("a name"))));
        let long = "x".repeat(256);
        for (request, field) in [
            (v1::ListNamesRequest { kind: 9, ..Default::default() }, "kind"),
            (
                v1::ListNamesRequest { kind: 1, within: scope("acme"), ..Default::default() },
                "within",
            ),
            (
                v1::ListNamesRequest { within: Some(v1::Scope::default()), ..Default::default() },
                "scope",
            ),
            (v1::ListNamesRequest { prefix: long.clone(), ..Default::default() }, "prefix"),
            (v1::ListNamesRequest { after: long, ..Default::default() }, "after"),
        ] {
            assert_eq!(ListRequest::try_from(request).expect_err(field).field, field);
        }
    }
}
