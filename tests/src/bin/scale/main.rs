//! Measures growth: the rate, the latency, the CPU time and the memory of appends while a store fills, and how long the
//! nodes take to serve again after they were killed.
//!
//! `QUORATE_BINARY=target/release/quorate cargo run -p quorate-tests --bin scale -- --events 10 --nodes 1 --out FOLDER`
//!
//! It starts a cluster of its own, of processes of the binary that is named, appends so many
//! million events of 32 bytes, and writes `scale.csv` (a line for each second), `scale.md` and `scale.svg`. Old and new
//! streams are mixed alike from the beginning to the end, so that the millionth append does the same as the first.
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
use nodes::{Cluster, Usage};
use report::{Sample, Summary};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
struct Settings {
    nodes: usize,
    port: u16,
    shape: Shape,
    out: PathBuf,
}

impl Settings {
    fn from_arguments() -> Result<Settings, Failure> {
        let mut settings = Settings {
            nodes: 1,
            port: 7761,
            shape: Shape::default(),
            out: std::env::temp_dir().join("quorate-scale"),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--nodes" => settings.nodes = value.parse()?,
                "--port" => settings.port = value.parse()?,
                "--events" => settings.shape.events = value.parse::<u64>()? * 1_000_000,
                "--streams" => settings.shape.streams = value.parse()?,
                "--streams-per-append" => settings.shape.streams_per_append = value.parse()?,
                "--events-per-append" => settings.shape.events_per_append = value.parse()?,
                "--size" => settings.shape.size = value.parse()?,
                "--writers" => settings.shape.writers = value.parse()?,
                "--out" => settings.out = value.into(),
                _ => return Err(format!("unknown: {name}").into()),
            }
        }
        Ok(settings)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let settings = Settings::from_arguments()?;
    fs::create_dir_all(&settings.out)?;
    let data = tempfile::tempdir_in(&settings.out)?;
    let mut cluster = Cluster::start(data.path(), settings.nodes, settings.port)?;
    let measured = measure(&settings, &mut cluster).await;
    cluster.kill();
    let summary = measured?;
    print!("{}", summary.markdown());
    write(&settings.out, &summary)
}

async fn measure(settings: &Settings, cluster: &mut Cluster) -> Result<Summary, Failure> {
    let client = cluster.connect().await?;
    let load = Arc::new(Load::new(settings.shape.clone()));
    let begun_at = Instant::now();
    let mut writers = load.start(&client);
    let mut samples = vec![Sample::first(cluster.usage(&client).await?)];
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    loop {
        let ended = tokio::select! {
            ended = writers.join_next() => ended.transpose()?.transpose()?.is_none(),
            _ = tick.tick() => false,
        };
        if ended
            || begun_at.elapsed() - samples.last().map_or(Duration::ZERO, |sample| sample.at)
                >= Duration::from_secs(1)
        {
            let usage = cluster.usage(&client).await?;
            let sample = Sample::new(begun_at.elapsed(), load.take(), usage);
            if sample.events / 1_000_000 > samples.last().map_or(0, |last| last.events / 1_000_000)
            {
                eprintln!(
                    "{} million events after {:.0} s",
                    sample.events / 1_000_000,
                    sample.at.as_secs_f64()
                );
            }
            samples.push(sample);
        }
        if ended {
            break;
        }
    }
    cluster.kill();
    let opened = cluster.start_again().await?;
    Ok(Summary { shape: settings.shape.clone(), nodes: settings.nodes, samples, opened })
}

fn write(out: &Path, summary: &Summary) -> Result<(), Failure> {
    fs::write(out.join("scale.csv"), summary.csv())?;
    fs::write(out.join("scale.md"), summary.markdown())?;
    plot::draw(&out.join("scale.svg"), summary)
}

/// The difference of two CPU times of the same nodes; a node that was started again counts from zero.
fn cpu_between(before: &Usage, after: &Usage) -> Duration {
    after.cpu.checked_sub(before.cpu).unwrap_or(after.cpu)
}
