//! Reads of whole streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_client::{Client, Query};
use quorate_proto::{Consistency, ErrorKind, Outcome, Problem, StreamName};
use tokio::time::Instant;

use super::{Dice, Load, Measured, run_clients};

/// Streams are picked from the events at both ends of the log, this many at each end.
const SAMPLE_EVENTS: u64 = 10_000;

/// Reads until the time is up.
pub(crate) async fn read_load(
    client: &Client,
    load: &Load,
    consistency: Consistency,
) -> Result<Measured, Problem> {
    let sample = || client.read(Query::everything()).limit(SAMPLE_EVENTS);
    let oldest = sample().collect().await?.events;
    let newest = sample().backwards().collect().await?.events;
    let streams: BTreeSet<StreamName> =
        oldest.into_iter().chain(newest).map(|event| event.stream).collect();
    if streams.is_empty() {
        let message = "there is nothing to read: append or import something first";
        return Err(Problem::new(ErrorKind::Invalid, Outcome::NotAppended, message));
    }
    let streams: Arc<Vec<StreamName>> = Arc::new(streams.into_iter().collect());
    let measured = run_clients(load, |number, end| {
        let (client, streams) = (client.clone(), Arc::clone(&streams));
        async move {
            let mut dice = Dice::new(number);
            let mut measured = Measured::new();
            while Instant::now() < end {
                let Some(stream) = streams.get(dice.below(streams.len())) else { break };
                let began_at = Instant::now();
                let read = client.read(stream.clone()).consistency(consistency).collect().await;
                let events = read.map(|read| read.events.len() as u64);
                measured.note(began_at, events.map_err(|problem| problem.to_string()));
            }
            measured
        }
    });
    Ok(measured.await)
}
