//! Runs a command for each event of a group: exit code 0 means that the event is handled.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_client::{Consumer, Delivery};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::command::{self, Ended, Plan};
use crate::cli::{Exit, ONE_SIGNAL_WITHIN, Stop};
use crate::output::remark;

/// Runs commands until the limit is reached, or a signal ends the consumer, or a command cannot be run.
pub(super) async fn run(mut consumer: Consumer, plan: Plan, mut stop: Stop) -> Result<(), Exit> {
    let stopping = CancellationToken::new();
    let mut running = FuturesUnordered::new();
    let mut left = plan.limit;
    let mut takes_more = true;
    let mut requested_at = None;
    let mut failed: Result<(), Exit> = Ok(());
    loop {
        let takes = takes_more && left > 0 && running.len() < plan.jobs;
        if !takes && running.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = stop.requested() => {
                let again = *requested_at.get_or_insert_with(Instant::now) + ONE_SIGNAL_WITHIN;
                if stopping.is_cancelled() && Instant::now() >= again {
                    failed = Err(Exit::failed("ended at once: what was under way is given back"));
                    break;
                }
                takes_more = false;
                stopping.cancel();
            }
            Some((delivery, ended)) = running.next(), if !running.is_empty() => {
                if let Err(exit) = settle(&consumer, &delivery, ended) {
                    takes_more = false;
                    failed = failed.and(Err(exit));
                }
            }
            next = consumer.try_next(), if takes => match next {
                Ok(Some(delivery)) => {
                    left -= 1;
                    running.push(command::handle(&plan, delivery, stopping.clone()));
                }
                Ok(None) => takes_more = false,
                Err(problem) => {
                    failed = failed.and(Err(problem.into()));
                    takes_more = false;
                }
            },
        }
    }
    // This kills the commands that still run.
    drop(running);
    // Events that are not settled are given back, which costs no attempt.
    let closed = consumer.close().await;
    failed?;
    Ok(closed?)
}

/// Reports the fate of an event; the error ends the consumer.
fn settle(consumer: &Consumer, delivery: &Delivery, ended: Ended) -> Result<(), Exit> {
    match ended {
        Ended::Handled => consumer.ack(delivery),
        Ended::Failed(reason) => {
            let Delivery { event, attempt, .. } = delivery;
            let position = event.position;
            remark(format_args!("event {position} failed, attempt {attempt}: {reason}"));
            consumer.fail(delivery, reason);
        }
        Ended::Stopped => {}
        Ended::NotRun(reason) => return Err(command::not_run(&reason)),
    }
    Ok(())
}
