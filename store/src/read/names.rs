//! Lists of names: the catalog's table, the dictionaries that are not in it, and the tails, merged in order.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;
use std::vec::IntoIter;

use quorate_proto::{
    ListEntry, ListRequest, ListTarget, ListedStream, Position, Scope, StreamName, Version,
};

use super::Reader;
use crate::fault::Fault;
use crate::format::Key;
use crate::format::catalog::KeyState;
use crate::retention::Floors;
use crate::view::{Published, View};

/// The number of names on one page.
const NAMES_PER_PAGE: usize = 2_000;
/// The number of looks that one page may cost; looking at one name is one look.
const LOOKS_PER_PAGE: usize = 20_000;
/// The number of looks that finding the first readable version of a stream counts as.
const LOOKS_PER_FLOOR: usize = 8;
/// The number of names of one tail that a page takes in at most.
const NAMES_PER_TAIL: usize = 2 * NAMES_PER_PAGE;

/// A page of a list, as of one position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePage {
    /// The position as of which the names are listed.
    pub as_of: Position,
    /// The names, in the order of their bytes.
    pub names: Vec<ListEntry>,
    /// The name after which the next page begins. `None`: this is the last page.
    pub after: Option<String>,
}

impl Reader {
    /// Returns the next page of a list: at most 2,000 names after the `after` of `request`, as of now; the
    /// caller sees to `consistency`. The request should have passed [`ListRequest::check`].
    ///
    /// A page costs about what it holds, however many names there are. A page may be empty before the end, if
    /// the bounded work of one call found no name (those of a category are searched among all streams): go on
    /// after [`NamePage::after`]. A name added between two pages is on the later one or on none.
    ///
    /// Reads from disk; error: [`Fault::Damaged`] also for a chunk whose names are in its dictionary alone.
    pub fn names(&self, request: &ListRequest) -> Result<NamePage, Fault> {
        page(&self.shared.get(), request)
    }
}

/// Returns the next page of a list as of the published point.
fn page(published: &Published, request: &ListRequest) -> Result<NamePage, Fault> {
    let Published { view, point } = published;
    let limit = request.limit.and_then(|limit| usize::try_from(limit).ok());
    let mut page = Page {
        view,
        as_of: point.position,
        filter: NameFilter::of(request),
        limit: limit.unwrap_or(NAMES_PER_PAGE).min(NAMES_PER_PAGE),
        has_records: view.has_records(),
        floors: Floors::at(*point),
        looks: 0,
        last: request.after.clone(),
        names: Vec::new(),
    };
    let mut start = page.filter.start(&request.after);
    let is_over = loop {
        match page.collect(start.as_ref().map(String::as_str))? {
            End::Full => break page.limit == 0,
            End::Over => break true,
            End::System => start = Bound::Included(AFTER_SYSTEM.to_owned()),
        }
    };
    let Page { as_of, last, names, .. } = page;
    Ok(NamePage { as_of, names, after: (!is_over).then_some(last) })
}

/// A name after all names of the system; all names in between are the system's.
const AFTER_SYSTEM: &str = "%";

/// The reason why no more names are collected.
enum End {
    /// The page is full, or has cost enough.
    Full,
    /// There are no more names.
    Over,
    /// The names of the system begin, and none of them is wanted.
    System,
}

/// A page that is being filled.
struct Page<'a> {
    view: &'a View,
    as_of: Position,
    filter: NameFilter,
    limit: usize,
    /// True if some events may be hidden.
    has_records: bool,
    floors: Floors,
    /// The number of looks so far.
    looks: usize,
    /// The last name that was looked at.
    last: String,
    names: Vec<ListEntry>,
}

impl Page<'_> {
    /// Collects names from a start on, until the page is full or the names end.
    fn collect(&mut self, start: Bound<&str>) -> Result<End, Fault> {
        let (tails, horizon) = self.in_tails(start);
        let first = start.map(|name| encoded(self.filter.kind, name));
        let stored = self.view.index().keys_from(first.as_ref().map(Vec::as_slice))?;
        let mut keys = Keys { view: self.view, stored: stored.peekable(), tails };
        while let Some((key, state)) = keys.next()? {
            let name = key.name();
            let is_full = self.names.len() >= self.limit || self.looks >= LOOKS_PER_PAGE;
            if is_full || horizon.as_ref().is_some_and(|horizon| key > *horizon) {
                return Ok(End::Full);
            }
            if key.kind() != self.filter.kind || !self.filter.may_go_on(name) {
                return Ok(End::Over);
            }
            if name.starts_with('$') && !self.filter.with_system {
                return Ok(End::System);
            }
            self.looks += 1;
            name.clone_into(&mut self.last);
            let named = match &key {
                Key::Stream(stream) => self.stream(stream, state)?,
                _ => self.other(&key, state),
            };
            self.names.extend(named);
        }
        // Beyond the horizon a tail may have more names.
        Ok(if horizon.is_some() { End::Full } else { End::Over })
    }

    /// Returns the keys of the tails from a start on, and the last key up to which they are complete, if any.
    fn in_tails(&self, start: Bound<&str>) -> (Peekable<IntoIter<Key>>, Option<Key>) {
        let mut all: Vec<Key> = Vec::new();
        let mut horizon: Option<Key> = None;
        for tail in self.view.tails() {
            let keys = tail.keys_from(self.filter.kind, start, NAMES_PER_TAIL);
            if let Some(last) = keys.last().filter(|_| keys.len() == NAMES_PER_TAIL)
                && horizon.as_ref().is_none_or(|horizon| last < horizon)
            {
                horizon = Some(last.clone());
            }
            all.extend(keys);
        }
        all.sort();
        all.dedup();
        (all.into_iter().peekable(), horizon)
    }

    /// Returns the entry of a stream on the list, if it belongs there.
    fn stream(
        &mut self,
        stream: &StreamName,
        state: Option<KeyState>,
    ) -> Result<Option<ListEntry>, Fault> {
        if self.filter.within.as_ref().is_some_and(|within| !within.holds(stream)) {
            return Ok(None);
        }
        let in_memory = self.view.version_in_memory(stream.as_str(), self.as_of);
        let version = in_memory.or(state.map(|state| state.version)).unwrap_or_default();
        // The first event of the stream came after the point.
        if version == Version::ZERO {
            return Ok(None);
        }
        let (mut first_version, mut closed) = (Version(1), false);
        if self.has_records && !stream.is_system() {
            self.looks += LOOKS_PER_FLOOR;
            first_version = self.floors.floor(self.view, stream)?;
            let record = self.view.record(&Scope::Stream(stream.clone()), self.as_of)?;
            closed = record.is_some_and(|record| record.closed);
        }
        let events = version.next().0.saturating_sub(first_version.0);
        if events == 0 && !self.filter.with_removed {
            return Ok(None);
        }
        Ok(Some(ListEntry {
            name: stream.to_string(),
            events: Some(events),
            stream: Some(ListedStream { version, first_version, closed }),
        }))
    }

    /// Returns the entry of a category, a path or a type, if an event had it by the point.
    fn other(&self, key: &Key, state: Option<KeyState>) -> Option<ListEntry> {
        let in_tails: u64 = self.view.tails().map(|tail| tail.count(key, self.as_of)).sum();
        let events = match state.map(|state| state.version.0) {
            None if in_tails == 0 => return None,
            None => Some(in_tails),
            Some(0) => None,
            Some(total) => Some(total.saturating_add(in_tails)),
        };
        Some(ListEntry { name: key.name().to_owned(), events, stream: None })
    }
}

/// Encodes a name of a kind as dictionaries and the catalog do; the name need not be valid.
fn encoded(kind: u8, name: &str) -> Vec<u8> {
    [&[kind], name.as_bytes()].concat()
}

/// The keys of chunks and tails, merged; each with its state in the chunks, if any holds it.
struct Keys<'a, S: Iterator> {
    view: &'a View,
    stored: Peekable<S>,
    tails: Peekable<IntoIter<Key>>,
}

impl<S: Iterator<Item = Result<(Vec<u8>, KeyState), Fault>>> Keys<'_, S> {
    fn next(&mut self) -> Result<Option<(Key, Option<KeyState>)>, Fault> {
        let order = match (self.stored.peek(), self.tails.peek()) {
            (None, None) => return Ok(None),
            (Some(Ok((stored, _))), Some(in_tail)) => {
                let kinds = stored.first().cmp(&Some(&in_tail.kind()));
                kinds.then_with(|| {
                    stored.get(1..).unwrap_or_default().cmp(in_tail.name().as_bytes())
                })
            }
            // A fault comes first, too.
            (Some(_), _) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        let in_tail = if order.is_lt() { None } else { self.tails.next() };
        let stored = if order.is_gt() { None } else { self.stored.next().transpose()? };
        let state = stored.as_ref().map(|(_, state)| *state);
        let key = match (in_tail, stored) {
            (Some(key), _) => key,
            (None, Some((key, _))) => Key::decode(&key).map_err(|malformed| {
                self.view.catalog.damaged(&format!("the name of a key {malformed}"))
            })?,
            (None, None) => return Ok(None),
        };
        Ok(Some((key, state)))
    }
}

/// The conditions under which a name belongs on a list.
struct NameFilter {
    kind: u8,
    /// All names begin with each of these.
    prefixes: Vec<String>,
    /// The scope that all streams lie in.
    within: Option<Scope>,
    with_system: bool,
    with_removed: bool,
}

impl NameFilter {
    fn of(request: &ListRequest) -> NameFilter {
        let mut prefixes = vec![request.prefix.clone()];
        let (kind, within) = match &request.listed {
            ListTarget::Streams => (Key::STREAM_KIND, None),
            ListTarget::StreamsOf(category) => {
                (Key::STREAM_KIND, Some(Scope::Category(category.clone())))
            }
            ListTarget::StreamsIn(path) => {
                prefixes.push(format!("{path}/"));
                (Key::STREAM_KIND, Some(Scope::Path(path.clone())))
            }
            ListTarget::Categories => (Key::CATEGORY_KIND, None),
            ListTarget::Paths => (Key::PATH_KIND, None),
            ListTarget::Types => (Key::TYPE_KIND, None),
        };
        let with_system = request.with_system || request.prefix.starts_with('$');
        NameFilter { kind, prefixes, within, with_system, with_removed: request.with_removed }
    }

    /// Returns true if a name has all prefixes. If a name after the start has not, no later name has.
    fn may_go_on(&self, name: &str) -> bool {
        self.prefixes.iter().all(|prefix| name.starts_with(prefix))
    }

    /// Returns the start of the names that come after `after`.
    fn start(&self, after: &str) -> Bound<String> {
        let first = self.prefixes.iter().max().map_or("", String::as_str);
        if first > after {
            Bound::Included(first.to_owned())
        } else {
            Bound::Excluded(after.to_owned())
        }
    }
}
