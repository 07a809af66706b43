//! What an owner begins with: what the log knows of the group, all of earlier terms included.

use std::time::Duration;

use quorate_proto::{Failed, GroupName, Position, Problem, Strategy, StreamName};
use quorate_raft::Replica;
use quorate_raft::host::Host;
use quorate_store::{Fault, GroupState, Reader};
use tokio::time::Instant;

use super::super::problem;
use super::dispatcher::Known;
use super::{events, not_found};

/// A leader that does not reach its point by then lets its consumers try elsewhere.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// The group as of everything that was committed before.
pub(super) async fn state<H: Host>(
    replica: &Replica<H>,
    name: &GroupName,
) -> Result<(Reader, GroupState), Problem> {
    let deadline = Instant::now() + REACHED_WITHIN;
    let index = replica.read_index(deadline).await.map_err(problem::of_lost_read)?;
    replica.applied(index, deadline).await.map_err(problem::of_lost_read)?;
    let reader = replica.reader().ok_or_else(problem::not_ready)?;
    let state = reader.group(name).ok_or_else(|| not_found(name))?;
    Ok((reader, state))
}

/// What a dispatcher is made of.
pub(super) async fn known<H: Host>(
    replica: &Replica<H>,
    reader: &Reader,
    state: &GroupState,
) -> Result<Known, Problem> {
    let floor = state.floor;
    let above = |positions: &[Position]| {
        positions.iter().copied().filter(|position| *position > floor).collect()
    };
    let strategy = state.definition.settings.strategy;
    Ok(Known {
        incarnation: state.incarnation,
        floor,
        settled: above(&state.settled),
        failed: with_streams(replica, reader, strategy, state.failed.clone()).await?,
        parked_above: above(&state.parked),
        parked: state.parked.len(),
    })
}

/// What failed, with the streams that the strategy asks for. An event that was removed is in none.
pub(super) async fn with_streams<H: Host>(
    replica: &Replica<H>,
    reader: &Reader,
    strategy: Strategy,
    failed: Vec<Failed>,
) -> Result<Vec<(Failed, Option<StreamName>)>, Problem> {
    if strategy != Strategy::ByStream {
        return Ok(failed.into_iter().map(|failed| (failed, None)).collect());
    }
    let reader = reader.clone();
    let looked_up = replica.host().run(move || {
        let stream_of = |failed: Failed| {
            let event = events::at(&reader, failed.position)?;
            Ok::<_, Fault>((failed, event.map(|event| event.stream)))
        };
        failed.into_iter().map(stream_of).collect::<Result<Vec<_>, Fault>>()
    });
    looked_up.await.map_err(|fault| problem::of_found(replica, &fault))
}
