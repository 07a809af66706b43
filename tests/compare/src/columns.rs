//! The columns of the table: the work that is measured.

use std::fmt;
use std::str::FromStr;

/// A piece of work that is measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    /// So many clients append so many events at a time, each append checked.
    Append(Appends),
    /// The whole log is read from its beginning.
    Replay,
    /// A new subscription goes through the whole log.
    CatchUp,
    /// A stream of 1,000 events is read that was just written.
    Fresh,
    /// The servers are stopped and started again on what they hold.
    Open,
    /// A stream of 1,000 events is read that is scattered over the whole log, after the restart: for the first time.
    Cold,
    /// The same stream is read again and again.
    Warm,
    /// The bytes that all nodes together take on disk, for each event.
    Disk,
    /// The memory of all nodes together, after all appends and reads.
    Memory,
    /// The calls that flush to a disk, of all nodes together, for each append of so many clients.
    Flushes(usize),
}

/// The appends of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Appends {
    pub(crate) clients: usize,
    pub(crate) events: usize,
    pub(crate) payload: Payload,
}

/// The kind of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Payload {
    /// 256 bytes that do not compress well.
    Random,
    /// The real events of `bpic2012.ndjson.gz`.
    Json,
}

/// A column of appends with random payloads.
pub(crate) const fn random(clients: usize, events: usize) -> Column {
    Column::Append(Appends { clients, events, payload: Payload::Random })
}

/// A column of appends with real JSON.
pub(crate) const fn json(clients: usize, events: usize) -> Column {
    Column::Append(Appends { clients, events, payload: Payload::Json })
}

/// All columns, in the order in which they are measured and shown.
pub(crate) const COLUMNS: [Column; 20] = [
    random(1, 1),
    random(16, 1),
    random(64, 1),
    random(256, 1),
    random(1024, 1),
    random(16, 10),
    random(16, 100),
    json(64, 1),
    json(16, 10),
    Column::Fresh,
    Column::Replay,
    Column::CatchUp,
    Column::Disk,
    Column::Memory,
    Column::Open,
    Column::Cold,
    Column::Warm,
    Column::Flushes(1),
    Column::Flushes(16),
    Column::Flushes(256),
];

impl Column {
    /// Returns true if a smaller figure is the better one.
    pub(crate) fn is_a_cost(self) -> bool {
        !matches!(self, Column::Append(_) | Column::Replay | Column::CatchUp)
    }

    /// Returns the unit of its figure.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Column::Append(Appends { events: 1, .. }) => "appends/s",
            Column::Append(_) | Column::Replay | Column::CatchUp => "events/s",
            Column::Fresh | Column::Open | Column::Cold | Column::Warm => "ms",
            Column::Disk => "B/event",
            Column::Memory => "MiB",
            Column::Flushes(_) => "flushes/append",
        }
    }

    /// Returns the heading in the table.
    pub(crate) fn heading(self) -> String {
        match self {
            Column::Append(Appends { clients, events, payload }) => {
                let clients = people(clients);
                let events =
                    if events == 1 { String::new() } else { format!(" × {events} events") };
                let payload = if payload == Payload::Json { ", JSON" } else { "" };
                format!("{clients}{events}{payload}")
            }
            Column::Replay => "replay".into(),
            Column::CatchUp => "catch-up".into(),
            Column::Fresh => "stream, just written".into(),
            Column::Open => "restart".into(),
            Column::Cold => "stream, old, cold".into(),
            Column::Warm => "stream, old, warm".into(),
            Column::Disk => "disk".into(),
            Column::Memory => "memory".into(),
            Column::Flushes(clients) => format!("flushes, {}", people(clients)),
        }
    }
}

fn people(clients: usize) -> String {
    if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Append(Appends { clients, events, payload }) => {
                write!(f, "{clients}")?;
                if *events > 1 {
                    write!(f, "x{events}")?;
                }
                if *payload == Payload::Json { f.write_str("-json") } else { Ok(()) }
            }
            Column::Replay => f.write_str("replay"),
            Column::CatchUp => f.write_str("catch-up"),
            Column::Fresh => f.write_str("fresh"),
            Column::Open => f.write_str("open"),
            Column::Cold => f.write_str("cold"),
            Column::Warm => f.write_str("warm"),
            Column::Disk => f.write_str("disk"),
            Column::Memory => f.write_str("memory"),
            Column::Flushes(clients) => write!(f, "flushes-{clients}"),
        }
    }
}

impl FromStr for Column {
    type Err = String;

    fn from_str(name: &str) -> Result<Column, String> {
        let found = COLUMNS.into_iter().find(|column| column.to_string() == name);
        found.ok_or_else(|| {
            let names: Vec<String> = COLUMNS.iter().map(Column::to_string).collect();
            format!("there is no column `{name}`; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_found_by_its_name() {
        for column in COLUMNS {
            assert_eq!(column.to_string().parse(), Ok(column));
        }
        assert_eq!("16x10-json".parse(), Ok(json(16, 10)));
        assert!("17".parse::<Column>().is_err());
        assert_eq!(json(16, 10).heading(), "16 clients × 10 events, JSON");
        assert_eq!(random(1, 1).heading(), "1 client");
    }
}
