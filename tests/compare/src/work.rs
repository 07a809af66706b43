//! The work itself: the same for every store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::payloads::{Dice, Payloads};
use crate::peer::{Mark, Store};

/// The number of streams that each client writes to, in turn.
const STREAMS: usize = 100;
/// The number of events of the streams that are read.
pub(crate) const STREAM_EVENTS: u64 = 1000;
/// The number of events that are appended at once to a stream that is written quickly; etcd takes 128 at most.
const BATCH: u64 = 100;
/// Latencies above an hour count as one.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// The number of errors after which a client gives up.
const ERRORS_MAX: u64 = 10;
/// The number of times that a stream is read, and the time after which it is not read again.
const READS: (usize, Duration) = (200, Duration::from_millis(700));

/// The appends of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// A name that no other load on the same store has.
    pub(crate) name: String,
    pub(crate) clients: usize,
    /// The number of events of one append.
    pub(crate) events: usize,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) time: Duration,
}

/// The results of a measurement.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The latencies of the requests that succeeded, in microseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) events: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) time: Duration,
}

impl Measured {
    fn new() -> Measured {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("they are allowed");
        Measured { latencies, events: 0, errors: 0, first_error: None, time: Duration::ZERO }
    }

    fn note(&mut self, began_at: Instant, events: Result<u64>) {
        match events {
            Ok(events) => {
                self.events += events;
                self.latencies.saturating_record(began_at.elapsed().as_micros() as u64);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(format!("{error:#}"));
            }
        }
    }

    fn add(&mut self, other: &Measured) {
        self.latencies.add(&other.latencies).expect("histograms of one kind can be added");
        self.events += other.events;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error.clone());
    }
}

/// A stream that grows by one event now and then, so that it is scattered over the whole log.
#[derive(Debug)]
pub(crate) struct Scattered {
    pub(crate) stream: String,
    pub(crate) events: u64,
    mark: Mark,
    /// The time between two events.
    pause: Duration,
    last_at: Instant,
}

impl Scattered {
    /// Spreads the stream over so much time.
    pub(crate) fn over(time: Duration) -> Scattered {
        let pause = time / u32::try_from(STREAM_EVENTS).unwrap_or(u32::MAX);
        let stream = "scattered-1".to_owned();
        Scattered { stream, events: 0, mark: 0, pause, last_at: Instant::now() }
    }

    fn is_due(&self) -> bool {
        self.events < STREAM_EVENTS && self.last_at.elapsed() >= self.pause
    }

    async fn grow(
        &mut self,
        store: &dyn Store,
        payloads: &Payloads,
        dice: &mut Dice,
    ) -> Result<u64> {
        self.last_at = Instant::now();
        self.mark = store.append(0, &self.stream, self.mark, payloads.take(dice, 1)).await?;
        self.events += 1;
        Ok(1)
    }

    /// Appends what is missing at the end.
    pub(crate) async fn complete(&mut self, store: &dyn Store, payloads: &Payloads) -> Result<u64> {
        let missing = STREAM_EVENTS - self.events;
        let mut dice = Dice::new(u64::MAX);
        while self.events < STREAM_EVENTS {
            let count = BATCH.min(STREAM_EVENTS - self.events);
            let events = payloads.take(&mut dice, count as usize);
            self.mark = store.append(0, &self.stream, self.mark, events).await?;
            self.events += count;
        }
        Ok(missing)
    }
}

/// Appends until the time is up: each client waits for its answer before it goes on.
pub(crate) async fn append(
    store: &Arc<dyn Store>,
    load: &Load,
    scattered: &Arc<Mutex<Scattered>>,
) -> Measured {
    let began_at = Instant::now();
    let end = began_at + load.time;
    let mut running = JoinSet::new();
    for client in 0..load.clients {
        let scattered = (client == 0).then(|| Arc::clone(scattered));
        running.spawn(run_client(Arc::clone(store), load.clone(), client, end, scattered));
    }
    let mut whole = Measured::new();
    while let Some(measured) = running.join_next().await {
        match measured {
            Ok(measured) => whole.add(&measured),
            Err(error) => whole.note(began_at, Err(error.into())),
        }
    }
    whole.time = began_at.elapsed();
    whole
}

async fn run_client(
    store: Arc<dyn Store>,
    load: Load,
    client: usize,
    end: Instant,
    scattered: Option<Arc<Mutex<Scattered>>>,
) -> Measured {
    let mut measured = Measured::new();
    let mut dice = Dice::new(client as u64);
    let mut marks = [0; STREAMS];
    let names: Vec<String> =
        (0..STREAMS).map(|stream| format!("{}_{client}-{stream}", load.name)).collect();
    for at in (0..STREAMS).cycle() {
        let began_at = Instant::now();
        if began_at >= end || measured.errors >= ERRORS_MAX {
            break;
        }
        if let Some(scattered) = &scattered {
            let mut scattered = scattered.lock().await;
            if scattered.is_due() {
                let grown = scattered.grow(&*store, &load.payloads, &mut dice).await;
                measured.note(began_at, grown);
                continue;
            }
        }
        let events = load.payloads.take(&mut dice, load.events);
        let appended = store.append(client, &names[at], marks[at], events).await;
        let appended = appended.map(|mark| {
            marks[at] = mark;
            load.events as u64
        });
        measured.note(began_at, appended);
    }
    measured
}

/// Writes a stream of 1,000 events.
pub(crate) async fn write_stream(
    store: &dyn Store,
    stream: &str,
    payloads: &Payloads,
) -> Result<()> {
    let mut dice = Dice::new(7);
    let mut mark = 0;
    for _ in 0..STREAM_EVENTS / BATCH {
        let events = payloads.take(&mut dice, BATCH as usize);
        mark = store.append(0, stream, mark, events).await?;
    }
    Ok(())
}

/// Reads a stream once and returns how long that took.
pub(crate) async fn read_once(store: &dyn Store, stream: &str) -> Result<Duration> {
    let began_at = Instant::now();
    let tally = store.read_stream(stream).await?;
    let time = began_at.elapsed();
    ensure!(tally.events == STREAM_EVENTS, "{} of {STREAM_EVENTS} events came", tally.events);
    Ok(time)
}

/// Reads a stream again and again.
pub(crate) async fn read_often(store: &dyn Store, stream: &str) -> Result<Measured> {
    let began_at = Instant::now();
    let mut measured = Measured::new();
    for _ in 0..READS.0 {
        let time = read_once(store, stream).await?;
        measured.latencies.saturating_record(time.as_micros() as u64);
        measured.events += STREAM_EVENTS;
        if began_at.elapsed() > READS.1 {
            break;
        }
    }
    measured.time = began_at.elapsed();
    Ok(measured)
}
