//! Measures Quorate and other stores side by side: the same work, in turn, on this machine.

mod columns;
mod payloads;
mod peer;
mod peers;
mod plot;
mod results;
mod run;
mod servers;
#[cfg(test)]
mod smoke;
mod table;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::columns::{COLUMNS, Column};
use crate::peers::{CANDIDATES, Programs};
use crate::results::Results;
use crate::run::{Options, run};

/// Measure Quorate and other stores side by side.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, add the figures to those in the folder, and write its table and plot.
    Run(RunArguments),
    /// Write the table and the plot of the figures in a folder.
    Table {
        /// The folder with the results.
        #[arg(long)]
        out: PathBuf,
    },
    /// List the stores and columns.
    List,
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// The folder for results.ndjson, table.md and plot.svg; what is there is added to.
    #[arg(long)]
    out: PathBuf,
    /// The stores, by commas [default: all that are installed].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The columns, by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    columns: Vec<Column>,
    /// The number of turns of each store.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The length of each column of appends.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The first port of the servers; some after it and a hundred higher are used too.
    #[arg(long, default_value_t = 18_701)]
    port: u16,
    /// The folder below which the stores keep their data, on the disk that is measured [default: the system's for
    /// temporary files].
    #[arg(long)]
    data: Option<PathBuf>,
    /// The file with real events.
    #[arg(long, default_value = "../shared/data/bpic2012.ndjson.gz")]
    json: PathBuf,
    /// The program of Quorate, a release build [default: as the shell finds it].
    #[arg(long, env = "QUORATE_PROGRAM")]
    quorate: Option<PathBuf>,
    /// The program of UmaDB [default: as the shell finds it].
    #[arg(long, env = "UMADB_PROGRAM")]
    umadb: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => {
            let options = options(arguments)?;
            run(&options).await?;
            show(&options.out)
        }
        Command::Table { out } => show(&out),
        Command::List => {
            let names: Vec<&str> = CANDIDATES.iter().map(|(about, _)| about.name).collect();
            let columns: Vec<String> = COLUMNS.iter().map(Column::to_string).collect();
            println!("stores: {}\ncolumns: {}", names.join(","), columns.join(","));
            Ok(())
        }
    }
}

fn options(arguments: RunArguments) -> Result<Options> {
    let RunArguments { out, only, columns, rounds, seconds, port, data, json, quorate, umadb } =
        arguments;
    let time = Duration::try_from_secs_f64(seconds)?;
    if time.is_zero() {
        bail!("--seconds must be above 0");
    }
    let columns = if columns.is_empty() { COLUMNS.to_vec() } else { columns };
    let data = data.unwrap_or_else(std::env::temp_dir);
    let programs = Programs { quorate, umadb };
    Ok(Options { out, only, columns, rounds, time, port, data, json, programs })
}

/// Writes the table and the plot of a folder's results, and prints the table.
fn show(folder: &Path) -> Result<()> {
    let results = Results::read(folder)?;
    let stores = CANDIDATES.map(|(about, _)| about);
    let text = table::write(&results, &stores);
    fs::write(folder.join("table.md"), &text)?;
    plot::draw(&results, &stores, &folder.join("plot.svg"))?;
    println!("{text}");
    Ok(())
}
