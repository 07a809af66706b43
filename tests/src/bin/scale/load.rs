//! The load: writers that append batches to streams, of which new ones come in evenly from the beginning to the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quorate_client::{Client, Event, Expect};
use quorate_tests::random::Random;
use tokio::task::JoinSet;

use crate::Failure;

/// The load: how much is appended, altogether and at once.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) events: u64,
    pub(crate) streams: u64,
    pub(crate) streams_per_append: u64,
    pub(crate) events_per_append: u64,
    pub(crate) size: usize,
    pub(crate) writers: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            events: 10_000_000,
            streams: 1_000_000,
            streams_per_append: 20,
            events_per_append: 100,
            size: 32,
            writers: 16,
        }
    }
}

/// The progress since the last look.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The events since the beginning.
    pub(crate) events: u64,
    /// The latencies of the appends since the last look, in microseconds.
    pub(crate) latencies: Vec<u64>,
}

/// The load of all writers.
#[derive(Debug)]
pub(crate) struct Load {
    shape: Shape,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// The events that writers may take on before the next pause.
    limit: u64,
    /// The events that writers have taken on, and the streams that have an event among them.
    taken: u64,
    founded: u64,
    progress: Progress,
}

impl Load {
    pub(crate) fn new(shape: Shape) -> Load {
        let (random, progress) = (Random::new(1), Progress::default());
        let state = State { random, limit: 0, taken: 0, founded: 0, progress };
        Load { shape, state: Mutex::new(state) }
    }

    /// Starts writers, which append until there are `limit` events.
    pub(crate) fn start(
        self: &Arc<Load>,
        client: &Client,
        limit: u64,
    ) -> JoinSet<Result<(), Failure>> {
        self.lock().limit = limit.min(self.shape.events);
        let mut writers = JoinSet::new();
        for _ in 0..self.shape.writers {
            writers.spawn(Arc::clone(self).write(client.clone()));
        }
        writers
    }

    /// Returns the progress since the last call.
    pub(crate) fn take(&self) -> Progress {
        let mut state = self.lock();
        let events = state.progress.events;
        std::mem::replace(&mut state.progress, Progress { events, latencies: Vec::new() })
    }

    async fn write(self: Arc<Load>, client: Client) -> Result<(), Failure> {
        while let Some((streams, mut random)) = self.next() {
            let each = self.shape.events_per_append / streams.len() as u64;
            let mut append = client.transaction();
            for stream in streams {
                let events = (0..each).map(|_| self.event(&mut random));
                let events = events.collect::<Result<Vec<_>, _>>()?;
                append = append.write(format!("account-{stream}"), Expect::Any, events);
            }
            let began_at = Instant::now();
            append.commit().await?;
            let progress = &mut self.lock().progress;
            progress.events += self.shape.events_per_append;
            progress.latencies.push(began_at.elapsed().as_micros() as u64);
        }
        Ok(())
    }

    /// Returns the streams of the next append, and the numbers for its events; `None` if enough events were taken on.
    fn next(&self) -> Option<(BTreeSet<u64>, Random)> {
        let mut state = self.lock();
        if state.taken >= state.limit {
            return None;
        }
        state.taken += self.shape.events_per_append;
        let due = u128::from(self.shape.streams) * u128::from(state.taken);
        let due = (due / u128::from(self.shape.events)) as u64;
        let mut streams = BTreeSet::new();
        while (streams.len() as u64) < self.shape.streams_per_append {
            if state.founded < due.max(self.shape.streams_per_append) {
                streams.insert(state.founded);
                state.founded += 1;
            } else {
                let founded = state.founded;
                streams.insert(state.random.below(founded));
            }
        }
        let seed = state.random.next();
        Some((streams, Random::new(seed)))
    }

    fn event(&self, random: &mut Random) -> Result<Event, Failure> {
        let data: Vec<u8> =
            (0..self.shape.size.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
        Ok(Event::new("Moved", data.get(..self.shape.size).unwrap_or(&data).to_vec())?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
