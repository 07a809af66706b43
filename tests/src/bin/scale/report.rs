//! The samples of a run, and the tables that are made of them.

use std::fmt::Write;
use std::time::Duration;

use crate::cpu_between;
use crate::load::{Progress, Shape};
use crate::nodes::Usage;

/// The most stretches into which a run is divided; their ends are what tables and plots show.
const STRETCHES_MAX: usize = 20;

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
    /// The time from the start of the killed nodes to the first answer.
    pub(crate) opened: Duration,
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
            cpu_us_per_event: cpu_between(&first.usage, &last.usage).as_secs_f64() * 1e6 / events,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            resident_mib: last.usage.resident_bytes as f64 / f64::from(1 << 20),
            disk_bytes_per_event: last.usage.disk_bytes as f64 / last.events as f64,
        })
    }
}

impl Summary {
    /// Returns stretches of about the same number of events.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        let step = self.shape.events.div_ceil(STRETCHES_MAX as u64).max(500_000);
        let mut stretches = Vec::new();
        let mut begin = 0;
        for (at, sample) in self.samples.iter().enumerate() {
            let is_last = at + 1 == self.samples.len();
            let events = sample.events - self.samples.get(begin).map_or(0, |first| first.events);
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
        let _ = writeln!(
            text,
            "\nAfter `kill -9` of all nodes, a linearizable read was answered {:.2} s after their start.",
            self.opened.as_secs_f64()
        );
        text
    }
}
