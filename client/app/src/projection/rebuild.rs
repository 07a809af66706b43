//! The rebuild: a model made anew beside the live one, which then replaces it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Projection;
use super::error::ProjectionError;
use super::handler::Handler;
use super::run::{Ended, Run};
use super::store::{Side, Store, StoreError, Swap};
use crate::source::EventSource;
use crate::status::{Board, State};

/// The wait before the next attempt to swap when the live model is ahead.
const BEHIND_INTERVAL: Duration = Duration::from_millis(20);

/// Rebuilds until the new model has replaced the live one or the rebuild is stopped.
pub(super) async fn rebuild<S, H, E>(
    projection: Projection<S, H>,
    source: Arc<E>,
    resumes: bool,
    board: Arc<Board>,
    stop: watch::Receiver<bool>,
) -> Result<(), ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    board.rebuilds(true);
    let Some(run) = Run::begin(projection, source, board, stop).await? else {
        return Ok(());
    };
    match drive(&run, resumes).await? {
        Ended::Arrived | Ended::Stopped => Ok(()),
        Ended::Moved => {
            let projection = run.projection.name.clone();
            Err(ProjectionError::RunsElsewhere { projection, owner: "another rebuild".into() })
        }
    }
}

/// Runs one rebuild, which has arrived when the models are swapped.
pub(super) async fn drive<S, H, E>(
    run: &Run<S, H, E>,
    resumes: bool,
) -> Result<Ended, ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    run.board.rebuilds(true);
    drive_to_the_swap(run, resumes).await
}

async fn drive_to_the_swap<S, H, E>(
    run: &Run<S, H, E>,
    resumes: bool,
) -> Result<Ended, ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    let (live, beside) = (run.projection.slot(Side::Live), run.projection.slot(Side::Rebuild));
    let configured = run.projection.partitioning();
    let mut may_resume = resumes;
    let (held, record) = loop {
        let before = run.ask(|store| store.record(&live)).await?;
        let generation = before.map_or(1, |record| record.generation + 1);
        let is_there = run.ask(|store| store.record(&beside)).await?.is_some();
        let Some((held, record)) = run.claim(&beside, generation).await? else {
            return Ok(if run.is_stopped() { Ended::Stopped } else { Ended::Moved });
        };
        let is_same =
            record.definition == run.definition && record.partitioning == configured.to_string();
        if !is_there || (may_resume && is_same) {
            break (held, record);
        }
        // The rest of an interrupted rebuild is this process's own now, and may be removed.
        let name = run.projection.name.clone();
        run.ask(|store| store.discard_rebuild(&name)).await?;
        may_resume = false;
    };
    let generation = held.generation;
    let ended = tokio::select! {
        biased;
        swapped = swap_when_ready(run, generation) => return swapped.map(|()| Ended::Arrived),
        ended = run.drive(&held, &record, configured, None) => ended,
    };
    let is_at_its_end = matches!(ended, Ok(Ended::Stopped)) && !run.is_stopped();
    let is_swapped = match ended {
        // A worker may have seen the swap before this process got the answer that it is done.
        Ok(Ended::Moved) => is_swapped(run, generation).await?,
        _ => is_at_its_end && swap(run, generation).await?,
    };
    if is_swapped {
        return Ok(Ended::Arrived);
    }
    run.release(&held).await;
    ended
}

/// Waits until the rebuilt model is not behind the live one, and swaps them.
async fn swap_when_ready<S, H, E>(
    run: &Run<S, H, E>,
    generation: u64,
) -> Result<(), ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    let mut status = run.board.watch();
    loop {
        if status.wait_for(|status| status.state == State::Live).await.is_err() {
            return std::future::pending().await;
        }
        if swap(run, generation).await? {
            return Ok(());
        }
        tokio::time::sleep(BEHIND_INTERVAL).await;
    }
}

/// Swaps the models. Returns false if the live one is ahead, or the database cannot do it now.
async fn swap<S, H, E>(run: &Run<S, H, E>, generation: u64) -> Result<bool, ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    let Projection { store, name, .. } = &run.projection;
    match store.swap(name).await {
        Ok(swap) => Ok(swap == Swap::Done),
        // The swap may be done, and only its answer lost.
        Err(StoreError::Moved) => is_swapped(run, generation).await,
        Err(StoreError::Lost(error)) => {
            tracing::warn!(projection = %name, %error, "the models are not swapped yet");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns true if the model of this generation is the live one.
async fn is_swapped<S, H, E>(run: &Run<S, H, E>, generation: u64) -> Result<bool, ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    let live = run.projection.slot(Side::Live);
    let record = run.ask(|store| store.record(&live)).await?;
    Ok(record.is_some_and(|record| record.generation == generation))
}
