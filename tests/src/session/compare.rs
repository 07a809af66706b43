//! Compares output with the output that a document shows, except for parts that differ from run to run.

use std::sync::OnceLock;

use regex::Regex;

/// Patterns of parts that differ from run to run, and the words that replace them. They are applied in this
/// order, so that a pattern does not see what an earlier one has replaced.
const VARYING: &[(&str, &str)] = &[
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r"\b[0-9a-f]{32}-[0-9a-f]{32}\b", "TOKEN"),
    (r"\b127\.0\.0\.1:\d+\b", "ADDRESS"),
    (r"\bpid \d+\b", "pid PID"),
    (r"\b\d+(\.\d+)? (B|KiB|MiB|GiB)\b", "SIZE"),
    (r"\b\d+(\.\d+)? ?(µs|ms|s|min)\b", "DURATION"),
    (r"\b[\d,.]+ (events|appends)/s\b", "RATE"),
    (r"\b[\d,.]+ (events )?a second\b", "RATE"),
    (r"\b(leader|follower|candidate|waiting)\b", "ROLE"),
    // The term, the position and the lag, in a line of the status.
    (r"ADDRESS ROLE [\d ]+SIZE", "ADDRESS ROLE NUMBERS SIZE"),
    // The log, the lag and the version, in a line of its second table; a node that has just started is not ready.
    (r"^\d[\d ]+ \d+\.\d \d+\.\d+\.\d+ (healthy|unready)$", "DETAILS"),
];

/// Returns the line without white space that only aligns, and with its varying parts replaced.
fn essence(line: &str) -> String {
    static PATTERNS: OnceLock<Vec<(Regex, &'static str)>> = OnceLock::new();
    let patterns = PATTERNS.get_or_init(|| {
        let compile = |(pattern, word): &(&str, &'static str)| {
            (Regex::new(pattern).expect("a regular expression"), *word)
        };
        VARYING.iter().map(compile).collect()
    });
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    patterns
        .iter()
        .fold(line, |line, (pattern, word)| pattern.replace_all(&line, *word).into_owned())
}

/// Returns true if the output is what the document shows. A line `…` there stands for any number of lines,
/// and `…` at the end of a line for the rest of it.
pub(super) fn matches(expected: &[String], output: &str) -> bool {
    let expected: Vec<String> = expected.iter().map(|line| essence(line)).collect();
    let output: Vec<String> =
        output.lines().filter(|line| !line.trim().is_empty()).map(essence).collect();
    lines_match(&expected, &output)
}

fn lines_match(expected: &[String], output: &[String]) -> bool {
    match (expected.split_first(), output.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first == "…" => {
            (0..=output.len()).any(|skipped| lines_match(rest, &output[skipped..]))
        }
        (Some(_), None) => false,
        (Some((first, rest)), Some((line, others))) => {
            let same = match first.strip_suffix('…') {
                Some(start) => line.starts_with(start),
                None => line == first,
            };
            same && lines_match(rest, others)
        }
    }
}

/// Returns the process ids in a text, in order.
pub(super) fn processes(text: &str) -> Vec<String> {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let pattern =
        PATTERN.get_or_init(|| Regex::new(r"\bpid (\d+)\b").expect("a regular expression"));
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(expected: &str, output: &str) -> bool {
        matches(&expected.lines().map(str::to_owned).collect::<Vec<_>>(), output)
    }

    #[test]
    fn times_processes_addresses_and_sizes_may_differ_and_nothing_else() {
        assert!(matched(
            "  1  order-42  1  T  2026-11-21T06:00:32.718612Z  {}",
            "1  order-42  1  T  2027-01-01T00:00:00Z  {}\n"
        ));
        assert!(matched(
            "node 1  127.0.0.1:7701  pid 3235  leader",
            "node 1  127.0.0.1:18701  pid 7  follower"
        ));
        assert!(matched(
            " 2  127.0.0.1:7702  leader  2  3  0  69.0 MiB",
            " 2  127.0.0.1:12702  follower  3  3  0  9.1 MiB"
        ));
        assert!(matched(" 1  7  7  0  0  0.0  0.1.0  healthy", "1 12 12 3 2 0.5 0.2.0 unready"));
        assert!(!matched("`order-42` is at version 1", "`order-42` is at version 2"));
        assert!(!matched("one", "one\ntwo"));
        assert!(!matched("one\ntwo", "one"));
    }

    #[test]
    fn an_ellipsis_stands_for_any_lines_or_for_the_rest_of_one() {
        assert!(matched("one\n…\nfour", "one\ntwo\nthree\nfour"));
        assert!(matched("one\n…", "one"));
        assert!(matched("a total of …", "a total of 50"));
        assert!(!matched("one\n…\nfour", "one\ntwo"));
    }

    #[test]
    fn the_processes_of_a_text_are_found_in_order() {
        assert_eq!(processes("node 1 pid 12 leader\nnode 2 pid 7"), ["12", "7"]);
    }
}
