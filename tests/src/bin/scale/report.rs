//! The samples of a run, and the tables that are made of them.

use std::fmt::Write;
use std::time::Duration;

use crate::load::{Progress, Shape};
use crate::nodes::{Opened, Usage};

/// The number of stretches, about, into which a run is divided; their ends are what tables and plots show.
const STRETCHES: u64 = 20;
/// The events of the first stretch, with which others are compared, and the fewest of any.
const FIRST: u64 = 1_000_000;
const FEWEST: u64 = 100_000;

/// The state at one moment, and the latencies since the moment before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The time since the beginning.
    pub(crate) at: Duration,
    pub(crate) events: u64,
    latencies: Vec<u64>,
    usage: Usage,
}

/// A part of a run, in units for people.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stretch {
    /// Millions of events at its end.
    pub(crate) millions: f64,
    pub(crate) events_per_second: f64,
    pub(crate) cpu_us_per_event: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// At its end, in MiB, of the node that has most.
    pub(crate) resident_mib: f64,
    /// At its end, of all nodes.
    pub(crate) disk_bytes_per_event: f64,
}

/// A whole run.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) shape: Shape,
    pub(crate) nodes: usize,
    pub(crate) samples: Vec<Sample>,
    pub(crate) openings: Vec<Opening>,
}

/// A start of the killed nodes with so many events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) events: u64,
    pub(crate) opened: Opened,
}

impl Opening {
    /// The number of events, in millions.
    pub(crate) fn millions(&self) -> f64 {
        self.events as f64 / 1e6
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.opened.after.as_secs_f64()
    }
}

impl Sample {
    pub(crate) fn first(usage: Usage) -> Sample {
        Sample { usage, ..Sample::default() }
    }

    pub(crate) fn new(at: Duration, progress: Progress, usage: Usage) -> Sample {
        let Progress { events, latencies } = progress;
        Sample { at, events, latencies, usage }
    }
}

impl Stretch {
    /// Returns what lies between the first and the last of these samples.
    fn of(samples: &[Sample]) -> Option<Stretch> {
        let (first, last) = (samples.first()?, samples.last()?);
        let events = (last.events - first.events) as f64;
        let mut latencies: Vec<u64> =
            samples.iter().skip(1).flat_map(|sample| sample.latencies.iter().copied()).collect();
        latencies.sort_unstable();
        let quantile = |of: f64| {
            let at = (latencies.len() as f64 * of) as usize;
            latencies
                .get(at.min(latencies.len().saturating_sub(1)))
                .map_or(0.0, |us| *us as f64 / 1e3)
        };
        Some(Stretch {
            millions: last.events as f64 / 1e6,
            events_per_second: events / (last.at - first.at).as_secs_f64(),
            cpu_us_per_event: (last.usage.cpu - first.usage.cpu).as_secs_f64() * 1e6 / events,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            resident_mib: last.usage.resident_bytes as f64 / f64::from(1 << 20),
            disk_bytes_per_event: last.usage.disk_bytes as f64 / last.events as f64,
        })
    }
}

impl Summary {
    /// Returns stretches: the first million events, and then parts of the same number of events, about.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        let usual = (self.shape.events / STRETCHES).max(FEWEST);
        let first = if self.shape.events < 2 * FIRST { usual } else { FIRST };
        let mut stretches = Vec::new();
        let mut begin = 0;
        for (at, sample) in self.samples.iter().enumerate() {
            let is_last = at + 1 == self.samples.len();
            let events = sample.events - self.samples.get(begin).map_or(0, |first| first.events);
            let step = if begin == 0 { first } else { usual.max(first) };
            if events >= step || (is_last && events >= step / 2) {
                stretches.extend(self.samples.get(begin..=at).and_then(Stretch::of));
                begin = at;
            }
        }
        stretches
    }

    pub(crate) fn csv(&self) -> String {
        let mut text = String::from(
            "million_events,events_per_second,cpu_us_per_event,p50_ms,p99_ms,resident_mib,disk_bytes_per_event\n",
        );
        for pair in self.samples.windows(2) {
            let Some(Stretch {
                millions,
                events_per_second,
                cpu_us_per_event,
                p50_ms,
                p99_ms,
                resident_mib,
                disk_bytes_per_event,
            }) = Stretch::of(pair)
            else {
                continue;
            };
            let _ = writeln!(
                text,
                "{millions:.3},{events_per_second:.0},{cpu_us_per_event:.2},{p50_ms:.2},{p99_ms:.2},{resident_mib:.1},{disk_bytes_per_event:.1}"
            );
        }
        text
    }

    pub(crate) fn markdown(&self) -> String {
        let Shape { events, streams, streams_per_append, events_per_append, size, writers } =
            self.shape;
        let mut text = format!(
            "{events} events of {size} bytes over {streams} streams, {} node(s); {writers} writers, {events_per_append} \
             events to {streams_per_append} streams in an append\n\n\
             | million events | events/s | CPU per event | p50 | p99 | resident | disk per event |\n\
             | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            self.nodes
        );
        for stretch in self.stretches() {
            let Stretch { millions, events_per_second, cpu_us_per_event, p50_ms, p99_ms, .. } =
                stretch;
            let Stretch { resident_mib, disk_bytes_per_event, .. } = stretch;
            let _ = writeln!(
                text,
                "| {millions:.1} | {events_per_second:.0} | {cpu_us_per_event:.2} µs | {p50_ms:.1} ms | {p99_ms:.1} ms | \
                 {resident_mib:.0} MiB | {disk_bytes_per_event:.0} B |"
            );
        }
        if let [first, .., last] = self.stretches()[..] {
            let _ = writeln!(
                text,
                "\nThe last row beside the first: {:.2} times the rate, {:.2} the CPU time, {:.2} and {:.2} the latencies.",
                last.events_per_second / first.events_per_second,
                last.cpu_us_per_event / first.cpu_us_per_event,
                last.p50_ms / first.p50_ms,
                last.p99_ms / first.p99_ms,
            );
        }
        text.push_str(
            "\nAll nodes were killed by SIGKILL and started again; a linearizable read was answered after:\n\n\
             | million events | time | resident then |\n| ---: | ---: | ---: |\n",
        );
        for opening in &self.openings {
            let resident_mib = opening.opened.resident_bytes as f64 / f64::from(1 << 20);
            let (millions, seconds) = (opening.millions(), opening.seconds());
            let _ = writeln!(text, "| {millions:.1} | {seconds:.2} s | {resident_mib:.0} MiB |");
        }
        text
    }
}
