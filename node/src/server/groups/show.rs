//! Groups as they are shown: the state in the log, and what only their owners know if it is available.

use std::iter;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::v1;
use quorate_proto::{GroupName, GroupSummary, Parked, Position, Problem};
use quorate_raft::host::Host;
use quorate_store::{Fault, GroupState, Reader};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::owner::Watched;
use super::{Groups, Leader, events, not_found};

/// The maximum number of groups that a node reports in its status.
const LAGS_MAX: usize = 1_000;
/// The number of groups that are looked up at once for a list.
const GROUPS_AT_ONCE: usize = 100;
/// The approximate number of bytes of a group in a list, without its query.
const GROUP_BYTES: usize = 512;
/// The time for which a node waits for the states of all its owners together; others are left out.
const WATCHED_WITHIN: Duration = Duration::from_millis(200);

impl From<Watched> for peer::WatchResponse {
    fn from(watched: Watched) -> peer::WatchResponse {
        let Watched { floor, in_flight, consumers } = watched;
        peer::WatchResponse { floor: floor.0, in_flight, consumers }
    }
}

impl<H: Host> Groups<H> {
    /// Returns one group. The leader is asked for the owner's state, which is left out without an answer.
    pub(super) async fn show(
        &self,
        reader: &Reader,
        name: &GroupName,
    ) -> Result<v1::Group, Problem> {
        let mut group = shown(
            reader.group_summary(name).ok_or_else(|| not_found(name))?,
            reader.point().position,
        );
        let watched = match self.find_leader(Instant::now()).await {
            Ok(Leader::Local(_)) => self.watched(name).await.map(peer::WatchResponse::from),
            Ok(Leader::Remote(leader, term)) => self.ask_leader(&leader, term, name).await,
            Err(_) => None,
        };
        if let Some(watched) = watched {
            add(&mut group, watched, reader.point().position);
        }
        Ok(group)
    }

    /// Returns the lags of the groups, as this node knows them.
    pub(crate) async fn lags(&self) -> Vec<v1::GroupLag> {
        let Some(reader) = self.appends.replica.reader() else { return Vec::new() };
        let last = reader.point().position;
        let until = Instant::now() + WATCHED_WITHIN;
        let mut lags = Vec::new();
        for summary in reader.groups_after(None, LAGS_MAX) {
            let name = summary.name.clone();
            let mut group = shown(summary, last);
            let watched = timeout_at(until, self.watched(&name)).await;
            if let Ok(Some(watched)) = watched {
                add(&mut group, watched.into(), last);
            }
            let v1::Group { name, floor, lag, in_flight, failed, parked, .. } = group;
            lags.push(v1::GroupLag { name, floor, lag, in_flight, failed, parked });
        }
        lags
    }
}

/// Returns all groups as the log knows them; at any time the stream holds one message of them.
pub(super) fn all(
    reader: Reader,
) -> impl Stream<Item = Result<v1::ListGroupsResponse, Status>> + Send {
    let last = reader.point().position;
    stream::iter(iter::successors(page(&reader, None), move |(_, name)| page(&reader, Some(name))))
        .map(move |(summaries, _)| {
            let groups = summaries.into_iter().map(|summary| shown(summary, last)).collect();
            Ok(v1::ListGroupsResponse { groups })
        })
}

/// Returns about one message of the groups after a name, and the name of the last one; none at the end.
fn page(reader: &Reader, after: Option<&GroupName>) -> Option<(Vec<GroupSummary>, GroupName)> {
    let mut bytes = 0;
    let mut has_room = |summary: &GroupSummary| {
        let had_room = bytes < READ_MESSAGE_BYTES;
        bytes += summary.definition.query.size() + GROUP_BYTES;
        had_room
    };
    let mut summaries = reader.groups_after(after, GROUPS_AT_ONCE);
    let length = summaries.iter().take_while(|summary| has_room(summary)).count();
    summaries.truncate(length);
    let last = summaries.last()?.name.clone();
    Some((summaries, last))
}

/// Adds the owner's state. Its floor is the newest: a floor without matching events is rarely logged.
fn add(group: &mut v1::Group, watched: peer::WatchResponse, last: Position) {
    let peer::WatchResponse { floor, in_flight, consumers } = watched;
    if floor > group.floor {
        group.floor = floor;
        group.lag = group.lag.min(last.0.saturating_sub(floor));
    }
    (group.in_flight, group.consumers) = (in_flight, consumers);
}

/// Returns a group as the log knows it when the log ends at `last`.
pub(super) fn shown(summary: GroupSummary, last: Position) -> v1::Group {
    let behind = last.0.saturating_sub(summary.floor.0);
    let lag = behind.saturating_sub(summary.settled);
    v1::Group { lag, ..summary.into() }
}

/// Returns which of these events are settled, and which are parked.
pub(super) fn settled(state: &GroupState, positions: Vec<Position>) -> v1::FindSettledResponse {
    let mut found = v1::FindSettledResponse::default();
    for position in positions {
        let has_failed = || state.failed.binary_search_by_key(&position, |it| it.position).is_ok();
        if state.parked.binary_search(&position).is_ok() {
            found.parked.push(position.0);
        } else if state.settled.binary_search(&position).is_ok()
            || (position <= state.floor && !has_failed())
        {
            found.settled.push(position.0);
        }
    }
    found
}

/// Returns parked events, with the events themselves where they are still there.
pub(super) fn parked(reader: &Reader, parked: Vec<Parked>) -> Result<Vec<v1::ParkedEvent>, Fault> {
    let with_event = |parked: Parked| {
        let event = events::at(reader, parked.position)?;
        let event = event.map(|event| event.decode().into());
        Ok(v1::ParkedEvent { event, ..parked.into() })
    };
    parked.into_iter().map(with_event).collect()
}
