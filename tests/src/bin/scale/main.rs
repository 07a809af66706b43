//! Measures growth: the rate, the latency, the CPU time and the memory of appends while a store fills, and how long the
//! nodes take to serve again after they were killed.
//!
//! `QUORATE_BINARY=target/release/quorate cargo run --release -p quorate-tests --bin scale -- --events 10 --nodes 1`
#![allow(clippy::disallowed_methods, reason = "it measures time, outside of any simulation")]

mod load;
mod nodes;
mod plot;
mod report;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{Load, Shape};
use nodes::Cluster;
use quorate_client::Client;
use report::{Opening, Sample, Summary};

type Failure = Box<dyn Error + Send + Sync>;

const MILLION: u64 = 1_000_000;
const HELP: &str = "\
Appends to a cluster of its own, of processes of the binary that QUORATE_BINARY names, until it has so many events; writes
scale.csv (a line for each second), scale.md and scale.svg. Old and new streams are mixed alike from the beginning to the
end, so that the millionth append does the same as the first. At some sizes the nodes are killed and started again.

--events MILLIONS          the events to append (10)
--streams NUMBER           the streams that they go to (1000000)
--nodes NUMBER             the nodes (1)
--open-every MILLIONS      kill the nodes and open them after so many, and at the end (0: only at the end)
--events-per-append NUMBER (100)
--streams-per-append NUMBER (20)
--size BYTES               of an event's data, which is random (32)
--writers NUMBER           the appends at a time (16)
--out FOLDER               for the results, and for the data while it runs (quorate-scale in the system's temporary folder)
--port NUMBER              the first node's (7761)
";

#[derive(Debug)]
struct Settings {
    nodes: usize,
    port: u16,
    shape: Shape,
    /// The events after which the nodes are killed and started again.
    open_every: u64,
    out: PathBuf,
}

impl Settings {
    /// Returns `None` if help is asked for.
    fn from_arguments() -> Result<Option<Settings>, Failure> {
        let mut settings = Settings {
            nodes: 1,
            port: 7761,
            shape: Shape::default(),
            open_every: 0,
            out: std::env::temp_dir().join("quorate-scale"),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--help" {
                return Ok(None);
            }
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--nodes" => settings.nodes = value.parse()?,
                "--port" => settings.port = value.parse()?,
                "--events" => settings.shape.events = value.parse::<u64>()? * MILLION,
                "--open-every" => settings.open_every = value.parse::<u64>()? * MILLION,
                "--streams" => settings.shape.streams = value.parse()?,
                "--streams-per-append" => settings.shape.streams_per_append = value.parse()?,
                "--events-per-append" => settings.shape.events_per_append = value.parse()?,
                "--size" => settings.shape.size = value.parse()?,
                "--writers" => settings.shape.writers = value.parse()?,
                "--out" => settings.out = value.into(),
                _ => return Err(format!("unknown: {name}").into()),
            }
        }
        Ok(Some(settings))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Some(settings) = Settings::from_arguments()? else {
        print!("{HELP}");
        return Ok(());
    };
    fs::create_dir_all(&settings.out)?;
    let data = tempfile::tempdir_in(&settings.out)?;
    let mut cluster = Cluster::start(data.path(), settings.nodes, settings.port)?;
    let measured = measure(&settings, &mut cluster).await;
    cluster.kill();
    let summary = measured?;
    print!("{}", summary.markdown());
    write(&settings.out, &summary)
}

/// Appends in parts, and opens the cluster after each.
async fn measure(settings: &Settings, cluster: &mut Cluster) -> Result<Summary, Failure> {
    let mut client = cluster.connect().await?;
    let events = settings.shape.events;
    let load = Arc::new(Load::new(settings.shape.clone()));
    let mut samples = vec![Sample::first(cluster.usage(&client).await?)];
    let mut openings = Vec::new();
    let mut done = 0;
    while done < events {
        done = match settings.open_every {
            0 => events,
            every => (done + every).min(events),
        };
        fill(&load, done, &client, cluster, &mut samples).await?;
        // The ports of the nodes are free once the client has gone.
        drop(client);
        let opened;
        (client, opened) = cluster.open_again().await?;
        openings.push(Opening { events: done, opened });
        eprintln!("opened after {:.2} s", opened.after.as_secs_f64());
    }
    Ok(Summary { shape: settings.shape.clone(), nodes: settings.nodes, samples, openings })
}

/// Appends until there are `limit` events, and takes a sample each second; time counts on from the last one.
async fn fill(
    load: &Arc<Load>,
    limit: u64,
    client: &Client,
    cluster: &Cluster,
    samples: &mut Vec<Sample>,
) -> Result<(), Failure> {
    let before = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let begun_at = Instant::now();
    let mut writers = load.start(client, limit);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    loop {
        let (is_tick, has_ended) = tokio::select! {
            ended = writers.join_next() => (false, ended.transpose()?.transpose()?.is_none()),
            _ = tick.tick() => (true, false),
        };
        if is_tick || has_ended {
            let usage = cluster.usage(client).await?;
            let sample = Sample::new(before + begun_at.elapsed(), load.take(), usage);
            let (millions, at) = (sample.events / MILLION, sample.at.as_secs_f64());
            if samples.last().is_none_or(|last| last.events / MILLION < millions) {
                eprintln!("{millions} million events after {at:.0} s");
            }
            samples.push(sample);
        }
        if has_ended {
            return Ok(());
        }
    }
}

fn write(out: &Path, summary: &Summary) -> Result<(), Failure> {
    fs::write(out.join("scale.csv"), summary.csv())?;
    fs::write(out.join("scale.md"), summary.markdown())?;
    plot::draw(&out.join("scale.svg"), summary)
}
