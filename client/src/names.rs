//! Lists of streams, categories, paths and types, which go on at another node when one is lost.

use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::stream::BoxStream;
use quorate_proto::wire::v1::{ListNamesRequest as WireRequest, ListNamesResponse};
use quorate_proto::{
    Category, Consistency, Invalid, ListEntry, ListRequest as ProtoListRequest, ListTarget, Path,
    Position, Problem,
};

use crate::client::Client;
use crate::resume::{Answer, Answering, EventsNode, Received, Resumed};
use crate::trouble::not_understood;

/// A request for a list. By default the list is ordered by name, linearizable, and whole, but without the
/// system's names and without streams of which no event can be read any more.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let mut orders = client.streams().of_category("order").list().await?;
/// while let Some(order) = orders.try_next().await? {
///     println!("{} {:?}", order.name, order.events);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is listed before `collect` or `list`"]
pub struct ListRequest {
    client: Client,
    request: Result<ProtoListRequest, Invalid>,
}

impl ListRequest {
    pub(crate) fn new(client: Client, listed: ListTarget) -> ListRequest {
        ListRequest { client, request: Ok(ProtoListRequest::of(listed)) }
    }

    /// Lists only the streams of a category, in any path. They are searched among all streams.
    pub fn of_category(self, name: impl AsRef<str>) -> ListRequest {
        self.within(Category::new(name).map(ListTarget::StreamsOf))
    }

    /// Lists only the streams in a path.
    pub fn in_path(self, name: impl AsRef<str>) -> ListRequest {
        self.within(Path::new(name).map(ListTarget::StreamsIn))
    }

    /// Lists only names with this prefix.
    pub fn prefix(self, prefix: impl Into<String>) -> ListRequest {
        self.with(|request| request.prefix = prefix.into())
    }

    /// Lists only names after this one, which need not exist.
    pub fn after(self, name: impl Into<String>) -> ListRequest {
        self.with(|request| request.after = name.into())
    }

    /// Lists at most this number of names.
    pub fn limit(self, names: u64) -> ListRequest {
        self.with(|request| request.limit = Some(names))
    }

    /// Lists the system's names, too, which begin with `$`.
    pub fn with_system(self) -> ListRequest {
        self.with(|request| request.with_system = true)
    }

    /// Lists streams, too, of which no event can be read any more: deleted, truncated, or too old.
    pub fn with_removed(self) -> ListRequest {
        self.with(|request| request.with_removed = true)
    }

    /// Sets how fresh the answer must be.
    pub fn consistency(self, consistency: Consistency) -> ListRequest {
        self.with(|request| request.consistency = consistency)
    }

    /// Lists the names that the answering node has.
    pub fn local(self) -> ListRequest {
        self.consistency(Consistency::Local)
    }

    /// Returns the whole list, in memory.
    pub async fn collect(self) -> Result<Vec<ListEntry>, Problem> {
        self.list().await?.0.collect().await
    }

    /// Begins to list: returns when a node has sent the first names.
    ///
    /// # Errors
    /// `Invalid` if the request is invalid; otherwise the error that no node could begin within the client's deadline.
    pub async fn list(self) -> Result<NameStream, Problem> {
        let request = self.request?;
        request.check()?;
        let mut names =
            Resumed::within_deadline(self.client, ListAnswer { request, as_of: Position::ZERO });
        names.find_node().await?;
        Ok(NameStream(names))
    }

    fn within(mut self, listed: Result<ListTarget, Invalid>) -> ListRequest {
        self.request = self.request.and_then(|request| {
            if request.listed != ListTarget::Streams {
                return Err(Invalid::new(
                    "within",
                    "is set twice, or for a list that is not of streams",
                ));
            }
            Ok(ProtoListRequest { listed: listed?, ..request })
        });
        self
    }

    fn with(mut self, change: impl FnOnce(&mut ProtoListRequest)) -> ListRequest {
        if let Ok(request) = &mut self.request {
            change(request);
        }
        self
    }
}

impl Client {
    /// Lists streams, by name, with the number of events and the versions of each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let tenant = client.streams().in_path("acme").limit(100).collect().await?;
    /// # let _ = tenant; Ok(()) }
    /// ```
    pub fn streams(&self) -> ListRequest {
        ListRequest::new(self.clone(), ListTarget::Streams)
    }

    /// Lists the categories of streams, by name, with the number of events recorded in each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// for category in client.categories().collect().await? {
    ///     println!("{} {:?}", category.name, category.events);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn categories(&self) -> ListRequest {
        ListRequest::new(self.clone(), ListTarget::Categories)
    }

    /// Lists the paths that streams lie in, by name, with the number of events recorded in each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let below = client.paths().prefix("acme/").collect().await?;
    /// # let _ = below; Ok(()) }
    /// ```
    pub fn paths(&self) -> ListRequest {
        ListRequest::new(self.clone(), ListTarget::Paths)
    }

    /// Lists the types of events, by name, with the number of events recorded of each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let types = client.types().collect().await?;
    /// # let _ = types; Ok(()) }
    /// ```
    pub fn types(&self) -> ListRequest {
        ListRequest::new(self.clone(), ListTarget::Types)
    }
}

/// Names as they come in, in the order of their bytes, each once. When a node is lost, another one goes on after the
/// last name.
///
/// A name that is created while the list is read may be in it or not. Each entry is as of when it was looked
/// up, which is never before the list began.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let mut tenants = client.paths().list().await?;
/// while let Some(tenant) = tenants.try_next().await? {
///     println!("{}", tenant.name);
/// }
/// println!("as of position {}", tenants.as_of());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NameStream(Resumed<ListAnswer>);

impl NameStream {
    /// Returns the position as of which the newest names were looked up.
    pub fn as_of(&self) -> Position {
        self.0.answer.as_of
    }

    /// Returns the names as a stream of `futures`; it ends after an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<ListEntry, Problem>> {
        self.0.into_stream()
    }

    /// Returns the next name; `None` at the end. Cancelling it loses nothing.
    pub async fn try_next(&mut self) -> Result<Option<ListEntry>, Problem> {
        self.0.try_next().await
    }
}

/// A list as far as it has come.
///
/// Invariant: the rest is requested after the last name, and as of no earlier position.
#[derive(Debug)]
struct ListAnswer {
    request: ProtoListRequest,
    as_of: Position,
}

impl Answer for ListAnswer {
    type Message = ListNamesResponse;
    type Item = ListEntry;

    fn request(&self, mut node: EventsNode, time_left_ms: u64) -> Answering<ListNamesResponse> {
        let request = WireRequest { time_left_ms, ..self.request.clone().into() };
        async move { node.list_names(request).await }.boxed()
    }

    fn take(
        &mut self,
        response: ListNamesResponse,
        ready: &mut VecDeque<ListEntry>,
    ) -> Result<Received, Problem> {
        let ListNamesResponse { as_of, names, after, end } = response;
        let mut last = &self.request.after;
        for listed in &names {
            if listed.name <= *last {
                return Err(not_understood("a name came twice, or out of order"));
            }
            last = &listed.name;
        }
        if after < *last {
            return Err(not_understood("the list goes back"));
        }
        let received = match (end, after > self.request.after) {
            (true, _) => Received::End,
            (false, true) => Received::Progress,
            (false, false) => Received::Work,
        };
        if let Some(limit) = &mut self.request.limit {
            *limit = limit.saturating_sub(names.len() as u64);
        }
        ready.extend(names.into_iter().map(ListEntry::from));
        self.request.after = after;
        self.as_of = self.as_of.max(Position(as_of));
        self.request.consistency = Consistency::AtLeast(self.as_of);
        Ok(received)
    }
}
