//! The results as Markdown.

use std::fmt::Write;

use crate::columns::{COLUMNS, Column};
use crate::peer::About;
use crate::results::{Results, Sample};

/// Writes everything: the figures, their ratios, the costs, and what each store promises.
pub(crate) fn write(results: &Results, stores: &[&About]) -> String {
    let mut text = String::new();
    let present: Vec<&About> =
        stores.iter().copied().filter(|store| results.version(store.name).is_some()).collect();
    if let Some(machine) = results.machine() {
        let (cores, memory) = (machine.cores, machine.memory_gib);
        let (processor, kernel) = (&machine.processor, &machine.kernel);
        line(&mut text, &format!("{cores} cores ({processor}), {memory} GiB, Linux {kernel}."));
    }
    line(
        &mut text,
        "Medians of the rounds. Servers and load share the machine. Latencies: p50 / p99.\n",
    );
    let measured = |column: &Column| {
        present.iter().any(|store| results.median(store.name, *column, value).is_some())
    };
    let columns: Vec<Column> = COLUMNS.into_iter().filter(measured).collect();
    let rates: Vec<Column> = columns.iter().copied().filter(|column| !column.is_a_cost()).collect();
    let costs: Vec<Column> = columns.iter().copied().filter(|column| column.is_a_cost()).collect();
    for columns in [rates, costs] {
        let heading = |column: &Column| format!("{} ({})", column.heading(), column.unit());
        table(&mut text, &present, &columns, heading, |store, column| cell(results, store, column));
    }
    ratios(&mut text, results, &present, &columns);
    let with_cpu: Vec<Column> = columns
        .iter()
        .copied()
        .filter(|column| {
            present.iter().any(|one| results.median(one.name, *column, server_cpu).is_some())
        })
        .collect();
    line(&mut text, "### CPU\n");
    line(
        &mut text,
        "Milliseconds of CPU of all servers together for 1,000 appends (or 1,000 events read); in parentheses, of the \
         program that makes the load.\n",
    );
    table(
        &mut text,
        &present,
        &with_cpu,
        |column| column.heading(),
        |store, column| {
            let servers = results.median(store.name, column, server_cpu)?;
            let load = results.median(store.name, column, |sample| sample.load_cpu_us)?;
            Some(format!("{} ({})", short(servers), short(load)))
        },
    );
    promises(&mut text, results, &present);
    text
}

fn value(sample: &Sample) -> Option<f64> {
    Some(sample.value)
}

fn server_cpu(sample: &Sample) -> Option<f64> {
    sample.server_cpu_us
}

/// Writes how many times as good Quorate is as each other store.
fn ratios(text: &mut String, results: &Results, present: &[&About], columns: &[Column]) {
    for own in present.iter().filter(|store| store.name.starts_with("quorate")) {
        line(text, &format!("### {} against the others\n", own.title));
        line(text, "Above 1: so many times the rate, or a fraction of the time or cost.\n");
        let others: Vec<&About> =
            present.iter().copied().filter(|other| other.name != own.name).collect();
        table(
            text,
            &others,
            columns,
            |column| column.heading(),
            |other, column| Some(format!("{:.2}", results.ratio(own.name, other.name, column)?)),
        );
    }
}

fn promises(text: &mut String, results: &Results, present: &[&About]) {
    line(text, "### Promises\n");
    line(text, "| | version | durable | replicated | version check | order |");
    line(text, "| --- | --- | --- | --- | --- | --- |");
    for store in present {
        let version = results.version(store.name).unwrap_or_default();
        let About { title, durable, replicated, checked, order, .. } = store;
        line(
            text,
            &format!("| {title} | {version} | {durable} | {replicated} | {checked} | {order} |"),
        );
    }
    line(text, "");
    for store in present {
        for (column, why) in store.lacks {
            line(text, &format!("- {}, {}: {why}.", store.title, column.heading()));
        }
    }
}

fn table(
    text: &mut String,
    stores: &[&About],
    columns: &[Column],
    heading: impl Fn(&Column) -> String,
    cell: impl Fn(&About, Column) -> Option<String>,
) {
    if columns.is_empty() || stores.is_empty() {
        return;
    }
    let headings: Vec<String> = columns.iter().map(heading).collect();
    line(text, &format!("| | {} |", headings.join(" | ")));
    line(text, &format!("| --- |{}", " --- |".repeat(columns.len())));
    for store in stores {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| cell(store, *column).unwrap_or_else(|| "–".to_owned()))
            .collect();
        line(text, &format!("| {} | {} |", store.title, cells.join(" | ")));
    }
    line(text, "");
}

fn cell(results: &Results, store: &About, column: Column) -> Option<String> {
    let mut cell = short(results.median(store.name, column, value)?);
    let p50 = results.median(store.name, column, |sample| sample.p50_ms);
    let p99 = results.median(store.name, column, |sample| sample.p99_ms);
    if let (Some(p50), Some(p99)) = (p50, p99) {
        let _written = write!(cell, " ({} / {} ms)", short(p50), short(p99));
    }
    match results.errors(store.name, column) {
        0 => {}
        errors => {
            let _written = write!(cell, " **{errors} errors**");
        }
    }
    Some(cell)
}

/// Returns a figure with three digits at least, and commas between thousands.
fn short(figure: f64) -> String {
    if figure < 10.0 {
        return format!("{figure:.2}");
    }
    if figure < 100.0 {
        return format!("{figure:.1}");
    }
    let digits = format!("{figure:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Line;

    static OURS: About = About {
        name: "quorate-3",
        title: "Ours",
        durable: "yes",
        replicated: "yes",
        checked: "yes",
        order: "one",
        lacks: &[],
    };
    static THEIRS: About = About {
        name: "other",
        title: "Theirs",
        lacks: &[(Column::CatchUp, "there is none")],
        ..OURS
    };

    #[test]
    fn figures_are_short() {
        let shown = [0.004, 7.256, 12.34, 740.4, 20_534.2, 1_234_567.0].map(short);
        assert_eq!(shown, ["0.00", "7.26", "12.3", "740", "20,534", "1,234,567"]);
    }

    #[test]
    fn the_tables_hold_what_was_measured_and_say_what_was_not() {
        let sample = |peer: &str, column: &str, value| {
            let (peer, column) = (peer.to_owned(), column.to_owned());
            let (p50_ms, p99_ms) = (Some(1.5), Some(20.25));
            let server_cpu_us = Some(12.0);
            let load_cpu_us = Some(3.0);
            Line::Sample(Sample {
                peer,
                column,
                value,
                p50_ms,
                p99_ms,
                server_cpu_us,
                load_cpu_us,
                ..Sample::default()
            })
        };
        let peer = |peer: &str| Line::Peer { peer: peer.to_owned(), version: "9".to_owned() };
        let results = Results::of(vec![
            peer("quorate-3"),
            peer("other"),
            sample("quorate-3", "16", 20_000.0),
            sample("other", "16", 10_000.0),
            sample("quorate-3", "catch-up", 5.0),
        ]);
        let text = write(&results, &[&OURS, &THEIRS]);
        for expected in [
            "| | 16 clients (appends/s) | catch-up (events/s) |",
            "| Ours | 20,000 (1.50 / 20.2 ms) | 5.00 (1.50 / 20.2 ms) |",
            "| Theirs | 10,000 (1.50 / 20.2 ms) | – |",
            "| Theirs | 2.00 | – |",
            "| Ours | 12.0 (3.00) | 12.0 (3.00) |",
            "| Theirs | 9 | yes | yes | yes | one |",
            "- Theirs, catch-up: there is none.",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
