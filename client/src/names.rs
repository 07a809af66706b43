//! Lists of streams, categories, paths and types, which go on at another node when one is lost.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use quorate_proto::wire::v1::{ListNamesRequest as WireRequest, ListNamesResponse};
use quorate_proto::{
    Category, Consistency, Invalid, ListEntry as WireEntry, ListRequest as Listing, ListTarget,
    Path, Position, Problem,
};
use tokio::time::Instant;

use crate::client::Client;
use crate::incoming::{GRACE, Incoming, Patience, REST_MAX, Round, silence_max};
use crate::nodes::problem;
use crate::trouble::{late, not_understood, unavailable};

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The name.
    pub name: String,
    /// For a stream: the number of its events that can be read. Otherwise: the number of recorded events, including
    /// those that were removed since; `None` when it is not known, for example in a store that an early build wrote.
    pub events: Option<u64>,
    /// For a stream: its versions and its state.
    pub stream: Option<ListedStream>,
}

/// The versions and the state of a stream in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedStream {
    /// The version of the stream's last event, even if that is removed: the expectation of the next append.
    pub version: u64,
    /// The first version that can be read; `version + 1` when none can.
    pub first_version: u64,
    /// True if a tombstone closed the name for good.
    pub closed: bool,
}

impl From<WireEntry> for ListEntry {
    fn from(named: WireEntry) -> ListEntry {
        let stream = named.stream.map(|stream| ListedStream {
            version: stream.version.0,
            first_version: stream.first_version.0,
            closed: stream.closed,
        });
        ListEntry { name: named.name, events: named.events, stream }
    }
}

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
    listing: Result<Listing, Invalid>,
}

impl ListRequest {
    pub(crate) fn new(client: Client, listed: ListTarget) -> ListRequest {
        ListRequest { client, listing: Ok(Listing::of(listed)) }
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
        self.with(|listing| listing.prefix = prefix.into())
    }

    /// Lists only names after this one, which need not exist.
    pub fn after(self, name: impl Into<String>) -> ListRequest {
        self.with(|listing| listing.after = name.into())
    }

    /// Lists at most this number of names.
    pub fn limit(self, names: u64) -> ListRequest {
        self.with(|listing| listing.limit = Some(names))
    }

    /// Lists the system's names, too, which begin with `$`.
    pub fn with_system(self) -> ListRequest {
        self.with(|listing| listing.with_system = true)
    }

    /// Lists streams, too, of which no event can be read any more: deleted, truncated, or too old.
    pub fn with_removed(self) -> ListRequest {
        self.with(|listing| listing.with_removed = true)
    }

    /// Sets how fresh the answer must be.
    pub fn consistency(self, consistency: Consistency) -> ListRequest {
        self.with(|listing| listing.consistency = consistency)
    }

    /// Lists the names that the answering node has.
    pub fn local(self) -> ListRequest {
        self.consistency(Consistency::Local)
    }

    /// Returns the whole list, in memory.
    pub async fn collect(self) -> Result<Vec<ListEntry>, Problem> {
        let mut list = self.list().await?;
        let mut names = Vec::new();
        while let Some(listed) = list.try_next().await? {
            names.push(listed);
        }
        Ok(names)
    }

    /// Begins to list: returns when a node has sent the first names.
    ///
    /// # Errors
    /// `Invalid` if the request is invalid; otherwise the error that no node could begin within the client's deadline.
    pub async fn list(self) -> Result<NameStream, Problem> {
        let listing = self.listing?;
        listing.check()?;
        let mut names = NameStream {
            client: self.client,
            listing,
            as_of: 0,
            incoming: None,
            patience: Patience::new(REST_MAX),
            ended: false,
            ready: VecDeque::new(),
        };
        names.find_node().await?;
        Ok(names)
    }

    fn within(mut self, listed: Result<ListTarget, Invalid>) -> ListRequest {
        self.listing = self.listing.and_then(|listing| {
            if listing.listed != ListTarget::Streams {
                return Err(Invalid::new("within", "is told twice, or of what is no stream"));
            }
            Ok(Listing { listed: listed?, ..listing })
        });
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Listing)) -> ListRequest {
        if let Ok(listing) = &mut self.listing {
            change(listing);
        }
        self
    }
}

/// Names as they come in, in the order of their bytes, each once. When a node is lost, another one goes on after the
/// last name.
///
/// A name that is created while the list is read may be in it or not. Each entry is as of when it was looked
/// up, which is never before the list began.
#[derive(Debug)]
pub struct NameStream {
    client: Client,
    /// The rest of the list that is still to be read.
    listing: Listing,
    as_of: u64,
    /// None while no node works on it.
    incoming: Option<Incoming<ListNamesResponse>>,
    patience: Patience,
    ended: bool,
    ready: VecDeque<ListEntry>,
}

impl NameStream {
    /// Returns the position as of which the newest names were looked up.
    pub fn as_of(&self) -> u64 {
        self.as_of
    }

    /// Returns the names as a stream of `futures`; it ends after an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<ListEntry, Problem>> {
        let next = |mut names: NameStream| async move {
            Ok(names.try_next().await?.map(|listed| (listed, names)))
        };
        stream::try_unfold(self, next).boxed()
    }

    /// Returns the next name; `None` at the end. Cancelling it loses nothing.
    pub async fn try_next(&mut self) -> Result<Option<ListEntry>, Problem> {
        while self.ready.is_empty() && !self.ended {
            let Some(incoming) = &mut self.incoming else {
                self.find_node().await?;
                continue;
            };
            let heard = match incoming.next(silence_max(&self.client)).await {
                Ok(response) => self.take(response),
                Err(problem) => Err(problem),
            };
            if let Err(lost) = heard {
                self.patience.lost(&self.client, self.incoming.take(), lost)?;
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Takes in a message, and notes the rest of the list after it.
    fn take(&mut self, response: ListNamesResponse) -> Result<(), Problem> {
        let ListNamesResponse { as_of, names, after, end } = response;
        let mut last = &self.listing.after;
        for listed in &names {
            if listed.name <= *last {
                return Err(not_understood("a name came twice, or out of order"));
            }
            last = &listed.name;
        }
        if after < *last {
            return Err(not_understood("the list goes back"));
        }
        self.patience.heard();
        if end || after > self.listing.after {
            self.patience.progressed();
        }
        if let Some(limit) = &mut self.listing.limit {
            *limit = limit.saturating_sub(names.len() as u64);
        }
        self.ready.extend(names.into_iter().map(|listed| WireEntry::from(listed).into()));
        self.listing.after = after;
        // The next node must see at least the same position.
        self.as_of = self.as_of.max(as_of);
        self.listing.consistency = Consistency::AtLeast(Position(self.as_of));
        if end {
            self.ended = true;
            self.incoming = None;
        }
        Ok(())
    }

    /// Finds a node that goes on with the rest of the list, within the deadline.
    async fn find_node(&mut self) -> Result<(), Problem> {
        let give_up_at = self.patience.since() + self.client.deadline;
        loop {
            self.patience.rest().await;
            let mut round = Round::default();
            for address in self.client.shared.nodes.for_reads() {
                if round.is_over(give_up_at) {
                    break;
                }
                match self.ask(address.clone(), give_up_at).await {
                    Ok(()) => return Ok(()),
                    Err(problem) => round.refused(&self.client, &address, problem)?,
                }
            }
            self.patience.refused(round, give_up_at)?;
        }
    }

    /// Asks one node, for a part of the remaining time, because another node may do better.
    async fn ask(&mut self, address: String, give_up_at: Instant) -> Result<(), Problem> {
        let left = give_up_at.saturating_duration_since(Instant::now());
        let time = left.min(self.client.deadline / 3);
        let mut request = WireRequest::from(self.listing.clone());
        request.time_left_ms = (time.as_millis() as u64).max(1);
        let mut events = self.client.shared.nodes.events(&address)?;
        let asking = async {
            let answer = events.list_names(request).await;
            let mut messages = answer.map_err(|status| problem(&address, &status))?.into_inner();
            let first = messages.message().await.map_err(|status| problem(&address, &status))?;
            Ok::<_, Problem>((messages, first))
        };
        let (messages, first) =
            tokio::time::timeout(time + GRACE, asking).await.map_err(|_| late(&address))??;
        let first = first.ok_or_else(|| unavailable(format!("{address} answered nothing")))?;
        self.incoming = Some(Incoming::new(address, messages));
        self.take(first).inspect_err(|_| self.incoming = None)
    }
}
