//! The output of commands: JSON lines for machines, which are a contract, and plain lines for people.

mod append;
mod causation;
mod event;
mod follow;
mod print;
mod reader;
pub(crate) mod screen;
mod snapshot;
mod watch;

use std::fmt::Display;
use std::io::{self, Write};

use indicatif::HumanCount;
use serde::Serialize;

pub(crate) use append::{
    DoneLine, append_error, append_failed, append_not_begun, write_append_error,
};
pub(crate) use causation::print_tree;
pub(crate) use event::{shown, write_event};
pub(crate) use follow::{Printing, print_subscription};
pub(crate) use print::{BUFFER_BYTES, buffered, next_or_flush, print_events};
pub(crate) use reader::Reader;
pub(crate) use screen::{progress_bar, write_line};
pub(crate) use snapshot::{write_passed_over, write_snapshot, write_snapshot_before_events};
pub(crate) use watch::Watch;

/// Returns a count with its noun, for a person: `1 event`, `2 events`.
pub(crate) fn count_of(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", HumanCount(count)),
    }
}

/// Writes a remark for a person beside the output. The work goes on when nobody can read it.
pub(crate) fn remark(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a value as one compact JSON line.
pub(crate) fn write_json(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let shown = [0, 1, 2000].map(|count| count_of(count, "event"));
        assert_eq!(shown, ["0 events", "1 event", "2,000 events"]);
    }
}
