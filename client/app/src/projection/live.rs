//! The life of a projection: it works on its live model, and rebuilds it first if its definition has changed.

use std::sync::Arc;

use tokio::sync::watch;

use super::error::ProjectionError;
use super::handler::Handler;
use super::run::{Ended, Run};
use super::store::{Side, Store};
use super::{Projection, rebuild};
use crate::source::EventSource;
use crate::status::{Board, State};

/// Runs a projection until it is stopped or cannot go on.
pub(super) async fn run<S, H, E>(
    projection: Projection<S, H>,
    source: Arc<E>,
    board: Arc<Board>,
    stop: watch::Receiver<bool>,
) -> Result<(), ProjectionError>
where
    S: Store,
    H: Handler<S::Model>,
    E: EventSource,
{
    let Some(run) = Run::begin(projection, source, board, stop).await? else {
        return Ok(());
    };
    let slot = run.projection.slot(Side::Live);
    loop {
        let stored = run.ask(|store| store.record(&slot)).await?;
        let changed = stored.filter(|record| record.definition != run.definition);
        if let Some(record) = changed {
            if !run.projection.settings.rebuild_when_changed {
                return Err(run.changed(record));
            }
            let ended = rebuild::drive(&run, true).await?;
            run.board.rebuilds(false);
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::Moved | Ended::Arrived => continue,
            }
        }
        let Some((held, record)) = run.claim(&slot, 1).await? else { return Ok(()) };
        if record.definition != run.definition {
            run.release(&held).await;
            continue;
        }
        match run.work(&held, record).await? {
            Ended::Stopped => return Ok(()),
            Ended::Moved | Ended::Arrived => run.board.enter(State::Starting),
        }
    }
}
