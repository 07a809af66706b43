//! Appends to many streams, each checked against the version before it.

use std::sync::Arc;

use bytes::Bytes;
use quorate_client::{Client, Event, Expect};
use tokio::time::Instant;

use super::{Dice, Load, Measured, run_clients};

/// The number of streams that each client writes to, in turn.
const STREAMS: usize = 100;
/// The size of the random text that the data of events is cut from.
const POOL_BYTES: usize = 4 * 1024 * 1024;
const EVENT_TYPE: &str = "Measured";

/// Returns how many bytes an event with `data` bytes of data adds to the size of an append.
pub(crate) fn event_bytes(data: u64) -> u64 {
    let event = Event::new(EVENT_TYPE, "").and_then(quorate_proto::Event::try_from);
    data + event.map_or(0, |event| event.size()) as u64
}

/// Appends until the time is up.
pub(crate) async fn append_load(
    client: &Client,
    load: &Load,
    events_per_append: u64,
    size: usize,
) -> Measured {
    // The streams of this run are its own: an event's id is as good a name as any.
    let run = Event::new(EVENT_TYPE, "").and_then(quorate_proto::Event::try_from);
    let run = run.map(|event| event.id.uuid().simple().to_string()).unwrap_or_default();
    let pool = Arc::new(random_text());
    run_clients(load, |number, end| {
        let prefix = format!("bench/{run}/client{number}");
        let dice = Dice::new(number);
        let writer = Writer { client: client.clone(), prefix, dice, pool: Arc::clone(&pool), size };
        writer.run(events_per_append, end)
    })
    .await
}

struct Writer {
    client: Client,
    prefix: String,
    dice: Dice,
    pool: Arc<Vec<u8>>,
    size: usize,
}

impl Writer {
    async fn run(mut self, events_per_append: u64, end: Instant) -> Measured {
        let mut measured = Measured::new();
        let mut versions = [0_u64; STREAMS];
        while Instant::now() < end {
            for (number, version) in versions.iter_mut().enumerate() {
                if Instant::now() >= end {
                    break;
                }
                let stream = format!("{}-{number}", self.prefix);
                let events: Vec<Event> =
                    (0..events_per_append).filter_map(|_| self.event()).collect();
                let began_at = Instant::now();
                let appended = self.client.append(&stream, Expect::version(*version), events).await;
                if let Ok(done) = &appended {
                    *version = done.version.0;
                }
                let outcome =
                    appended.map(|_| events_per_append).map_err(|error| error.to_string());
                measured.note(began_at, outcome);
            }
        }
        measured
    }

    /// Returns an event with random text of the configured size, which includes the quotes.
    fn event(&mut self) -> Option<Event> {
        let length = self.size.saturating_sub(2);
        let start = self.dice.below(self.pool.len() - length);
        let text = self.pool.get(start..start + length)?;
        let data: Vec<u8> = [b"\"", text, b"\""].concat();
        Event::new(EVENT_TYPE, Bytes::from(data)).ok()
    }
}

/// Returns Base64 digits: as random as text gets, and JSON without escapes.
fn random_text() -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut dice = Dice::new(0);
    let mut text = Vec::with_capacity(POOL_BYTES);
    while text.len() < POOL_BYTES {
        let number = dice.next();
        let digits = (0..10).filter_map(|at| DIGITS.get((number >> (at * 6)) as usize & 63));
        text.extend(digits);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_data_is_json_of_the_size_asked_for_and_never_the_same() {
        let client = Client::builder().endpoints(["127.0.0.1:1"]).build().expect("a client");
        let pool = Arc::new(random_text());
        for size in [2, 256, 1024 * 1024] {
            let (dice, pool) = (Dice::new(1), Arc::clone(&pool));
            let mut writer =
                Writer { client: client.clone(), prefix: String::new(), dice, pool, size };
            let mut next = || writer.event().expect("an event").data().to_vec();
            let (first, second) = (next(), next());
            assert_eq!((first.len(), second.len()), (size, size));
            assert!(size == 2 || first != second);
            assert!(serde_json::from_slice::<String>(&first).is_ok());
        }
    }
}
