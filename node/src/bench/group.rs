//! Consumer groups: the speed at which consumers go through the log.

use std::time::Duration;

use quorate_client::{Client, Problem, Query, Strategy};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Load, Measured};

/// The maximum number of unsettled events that one consumer holds.
const WINDOW: u32 = 256;
/// The time after which a consumer that receives nothing is done.
const IDLE: Duration = Duration::from_millis(500);

/// Creates a group of `load.clients` consumers, which go through the whole log and acknowledge each event at once,
/// and removes the group at the end. A latency is the time between two events of one consumer.
pub(crate) async fn group_load(
    client: &Client,
    load: &Load,
    strategy: Strategy,
) -> Result<Measured, Problem> {
    // The group is removed at the end; one that a killed process with this number left is used again.
    let name = format!("bench-{}", std::process::id());
    let group = client.group(&name);
    group.create(Query::everything()).strategy(strategy).window(65_536).send().await?;
    let began_at = Instant::now();
    let end = began_at + load.time;
    let mut running = JoinSet::new();
    for _ in 0..load.clients {
        let mut consumer = group.consume().window(WINDOW).start();
        running.spawn(async move {
            let (mut measured, mut last) = (Measured::new(), Instant::now());
            while Instant::now() < end {
                match timeout(IDLE, consumer.try_next()).await {
                    Ok(Ok(Some(delivery))) => {
                        consumer.ack(&delivery);
                        measured.note(last, Ok(1));
                        last = Instant::now();
                    }
                    Ok(Err(problem)) => {
                        measured.note(last, Err(problem.to_string()));
                        break;
                    }
                    Ok(Ok(None)) => break,
                    // Before its first event a consumer waits for the group to begin.
                    Err(_) if measured.events == 0 => {}
                    Err(_) => break,
                }
            }
            let closed = consumer.close().await;
            (measured, last, closed)
        });
    }
    let (mut whole, mut last) = (Measured::new(), began_at);
    while let Some(Ok((measured, ended_at, closed))) = running.join_next().await {
        whole.add(measured);
        last = last.max(ended_at);
        closed?;
    }
    whole.time = last - began_at;
    group.delete().await?;
    Ok(whole)
}
