//! The results: lines of JSON, one for each figure, to which every run adds; and their medians and ratios.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::columns::Column;

/// The name of the file in the folder of the results.
const FILE: &str = "results.ndjson";

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// The machine on which a run began.
    Machine(Machine),
    /// A store that took part, and its version.
    Peer { peer: String, version: String },
    /// A figure.
    Sample(Sample),
}

/// The machine, as far as it matters for the figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

/// One figure of one store, of one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) peer: String,
    /// The round: seconds since 1970 at which its run began, and the number in the run.
    pub(crate) round: (u64, u32),
    pub(crate) column: String,
    /// The figure, in the column's unit.
    pub(crate) value: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) p99_ms: Option<f64>,
    /// The CPU time of all servers for each append, or each event that was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) server_cpu_us: Option<f64>,
    /// The CPU time of the program that makes the load, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) load_cpu_us: Option<f64>,
    #[serde(skip_serializing_if = "is_zero", default)]
    pub(crate) errors: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// All results of a folder.
#[derive(Debug, Default)]
pub(crate) struct Results {
    lines: Vec<Line>,
}

impl Results {
    /// Reads what the folder holds.
    pub(crate) fn read(folder: &Path) -> Result<Results> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let lines: Result<Vec<Line>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(Results { lines: lines.with_context(|| path.display().to_string())? })
    }

    #[cfg(test)]
    pub(crate) fn of(lines: Vec<Line>) -> Results {
        Results { lines }
    }

    /// Returns the machine of the newest run.
    pub(crate) fn machine(&self) -> Option<&Machine> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Machine(machine) => Some(machine),
            _ => None,
        })
    }

    /// Returns a store's newest version; none if it took no part.
    pub(crate) fn version(&self, name: &str) -> Option<&str> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Peer { peer, version } if peer == name => Some(version.as_str()),
            _ => None,
        })
    }

    /// Returns the median over the rounds of something that is known of a column.
    pub(crate) fn median(
        &self,
        peer: &str,
        column: Column,
        of: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<f64> {
        median(self.samples(peer, column).filter_map(of).collect())
    }

    /// Returns how many times as good the first store is as the second one: the median of the rounds that both have
    /// run, or else the ratio of the medians.
    pub(crate) fn ratio(&self, first: &str, second: &str, column: Column) -> Option<f64> {
        let better = |first: f64, second: f64| match column.is_a_cost() {
            true => ratio(second, first),
            false => ratio(first, second),
        };
        let both = self.samples(first, column).filter_map(|first| {
            let other = self.samples(second, column).find(|other| other.round == first.round)?;
            better(first.value, other.value)
        });
        let value = |peer| self.median(peer, column, |sample| Some(sample.value));
        median(both.collect()).or_else(|| better(value(first)?, value(second)?))
    }

    /// Returns the number of errors of a store in a column.
    pub(crate) fn errors(&self, peer: &str, column: Column) -> u64 {
        self.samples(peer, column).map(|sample| sample.errors).sum()
    }

    fn samples(&self, peer: &str, column: Column) -> impl Iterator<Item = &Sample> {
        let name = column.to_string();
        self.lines.iter().filter_map(move |line| match line {
            Line::Sample(sample) if sample.peer == peer && sample.column == name => Some(sample),
            _ => None,
        })
    }
}

/// Adds a line to the results of a folder.
pub(crate) fn add(folder: &Path, line: &Line) -> Result<()> {
    let path = folder.join(FILE);
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

/// Returns the middle one of some figures; of an even number, the mean of the two in the middle.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = figures.len() / 2;
    let lower = figures.len().checked_sub(1)? / 2;
    Some((figures[lower] + figures[upper]) / 2.0)
}

fn ratio(first: f64, second: f64) -> Option<f64> {
    (second > 0.0).then(|| first / second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(peer: &str, round: u32, column: &str, value: f64) -> Line {
        let (peer, column) = (peer.to_owned(), column.to_owned());
        Line::Sample(Sample { peer, round: (1, round), column, value, ..Sample::default() })
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }

    #[test]
    fn ratios_compare_rounds_and_say_how_much_better_the_first_is() {
        let results = Results::of(vec![
            sample("a", 1, "16", 100.0),
            sample("b", 1, "16", 50.0),
            sample("a", 2, "16", 10.0),
            sample("b", 2, "16", 10.0),
            sample("a", 3, "16", 90.0),
            sample("b", 3, "16", 30.0),
            sample("a", 1, "warm", 2.0),
            sample("b", 1, "warm", 3.0),
            sample("a", 1, "64", 9.0),
            sample("b", 2, "64", 3.0),
        ]);
        let column = |name: &str| name.parse::<Column>().expect("a column");
        assert_eq!(results.ratio("a", "b", column("16")), Some(2.0));
        assert_eq!(results.ratio("a", "b", column("warm")), Some(1.5));
        // The two have no round in common.
        assert_eq!(results.ratio("a", "b", column("64")), Some(3.0));
        assert_eq!(results.ratio("a", "b", column("256")), None);
        assert_eq!(results.median("a", column("16"), |sample| Some(sample.value)), Some(90.0));
    }

    #[test]
    fn runs_add_to_what_is_there() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(Results::read(folder.path()).is_err());
        let peer = Line::Peer { peer: "a".into(), version: "7".into() };
        let lines = [peer, sample("a", 1, "16", 5.0), sample("a", 2, "16", 7.0)];
        for line in &lines {
            add(folder.path(), line)?;
        }
        let results = Results::read(folder.path())?;
        assert_eq!(results.lines, lines);
        assert_eq!((results.version("a"), results.version("b")), (Some("7"), None));
        Ok(())
    }
}
