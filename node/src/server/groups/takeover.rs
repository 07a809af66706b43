//! The state with which an owner begins: the group as the log has it, with all entries of earlier terms.

use std::time::Duration;

use quorate_proto::{Failed, GroupName, Position, Problem, Strategy, StreamName};
use quorate_raft::Replica;
use quorate_raft::host::Host;
use quorate_store::{Fault, GroupState, Reader};
use tokio::time::Instant;

use super::super::problem;
use super::dispatcher::Known;
use super::{events, not_found};

/// The time within which a leader must reach its point; otherwise its consumers try elsewhere.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// Returns the group's state after everything that was committed before the call.
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

/// Returns the state for a new dispatcher.
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

/// Returns failed events with their streams, if the strategy needs them. A removed event has no stream.
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
