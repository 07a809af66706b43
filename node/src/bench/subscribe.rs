//! Subscriptions: the time that they need to catch up, and the time until they receive what is appended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_client::{Client, Event, Expect, Message, Query};
use quorate_proto::Problem;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout_at};

use super::{Load, Measured};

/// The stream of the events with which live subscriptions are measured.
const PROBES: &str = "probe";
/// The type of an event that is measured, and the type of the last event.
const PROBE: &str = "Probe";
const LAST: &str = "LastProbe";

/// Lets all clients read the whole log until they have caught up. A latency is the time that one client took.
pub(crate) async fn catch_up_load(clients: &[Client], load: &Load) -> Measured {
    let began_at = Instant::now();
    let end = began_at + load.time;
    let mut running = JoinSet::new();
    for client in of_all(clients, load) {
        running.spawn(async move {
            let mut measured = Measured::new();
            let mut subscription = client.read(Query::everything()).follow();
            let mut events = 0;
            let outcome = loop {
                match timeout_at(end, subscription.try_next()).await {
                    Ok(Ok(Some(Message::Event(_)))) => events += 1,
                    Ok(Ok(Some(Message::CaughtUp(_)) | None)) | Err(_) => break Ok(events),
                    Ok(Ok(Some(_))) => {}
                    Ok(Err(problem)) => break Err(problem.to_string()),
                }
            };
            measured.note(began_at, outcome);
            measured
        });
    }
    let mut whole = Measured::new();
    while let Some(Ok(measured)) = running.join_next().await {
        whole.add(measured);
    }
    whole.time = began_at.elapsed();
    whole
}

/// Appends a fixed number of events per second, one after the other, while all clients follow them. A latency is the
/// time from the sending of one append to the arrival of its event at one client.
pub(crate) async fn live_load(
    clients: &[Client],
    load: &Load,
    rate: u64,
) -> Result<Measured, Problem> {
    let Some(client) = clients.first() else { return Ok(Measured::new()) };
    let head = client.read(Query::everything()).limit(0).collect().await?.as_of;
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (ready, mut all_ready) = mpsc::channel(1024);
    let mut running = JoinSet::new();
    for client in of_all(clients, load) {
        running.spawn(follow(client, head.0, sent.clone(), ready.clone()));
    }
    drop(ready);
    for _ in 0..load.clients {
        let _caught_up = all_ready.recv().await;
    }
    let began_at = Instant::now();
    let mut ticks = interval_at(began_at, Duration::from_secs(1) / rate.max(1) as u32);
    while began_at.elapsed() < load.time {
        ticks.tick().await;
        let number = {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.push(Instant::now());
            sent.len() - 1
        };
        probe(client, PROBE, number).await?;
    }
    let time = began_at.elapsed();
    probe(client, LAST, 0).await?;
    let mut whole = Measured::new();
    while let Some(Ok(measured)) = running.join_next().await {
        whole.add(measured);
    }
    whole.time = time;
    Ok(whole)
}

/// Returns a client for each subscription; the subscriptions share the connections of `clients`.
fn of_all(clients: &[Client], load: &Load) -> impl Iterator<Item = Client> {
    let count = usize::try_from(load.clients).unwrap_or(usize::MAX);
    clients.iter().cycle().take(count).cloned()
}

async fn probe(client: &Client, kind: &str, number: usize) -> Result<(), Problem> {
    let event = Event::new(kind, number.to_string())?;
    let appended = client.append(PROBES, Expect::Any, [event]).await;
    appended.map(|_| ()).map_err(|error| error.problem())
}

async fn follow(
    client: Client,
    head: u64,
    sent: Arc<Mutex<Vec<Instant>>>,
    ready: mpsc::Sender<()>,
) -> Measured {
    let mut measured = Measured::new();
    let mut subscription = client.read(Query::category(PROBES)).after(head).follow();
    let mut is_ready = false;
    loop {
        match subscription.try_next().await {
            Ok(Some(Message::Event(event))) if event.kind.as_str() == PROBE => {
                let number =
                    std::str::from_utf8(&event.data).ok().and_then(|text| text.parse().ok());
                let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                let sent_at = number.and_then(|number: usize| sent.get(number).copied());
                drop(sent);
                if let Some(sent_at) = sent_at {
                    measured.note(sent_at, Ok(1));
                }
            }
            Ok(Some(Message::Event(_)) | None) => return measured,
            Ok(Some(Message::CaughtUp(_))) if !std::mem::replace(&mut is_ready, true) => {
                let _ = ready.send(()).await;
            }
            Ok(Some(_)) => {}
            Err(problem) => {
                measured.note(Instant::now(), Err(problem.to_string()));
                return measured;
            }
        }
    }
}
