//! The report of a command that appends: what was appended, or why nothing was, or that it is not known.

use std::collections::BTreeMap;
use std::io::{self, Write};

use quorate_client::AppendError;
use quorate_proto::{ErrorKind, Problem};
use serde::Serialize;

use super::write_json;
use crate::cli::{Exit, Global};

/// The result of an append or a change, as a JSON line.
#[derive(Serialize)]
pub(crate) struct DoneLine<'a> {
    pub(crate) position: u64,
    pub(crate) versions: BTreeMap<&'a str, u64>,
}

/// Converts the end of an append to the command's end, with the ids to repeat if that is what there is to do.
pub(crate) fn append_error(error: &AppendError) -> Exit {
    let mut exit = Exit::from(error);
    if let AppendError::Unknown(append) = error {
        let ids: Vec<String> = append.ids().map(|id| id.to_string()).collect();
        let advice = match append.problem().kind {
            ErrorKind::Forgotten => "a repetition is told no more; read to find out. The ids are",
            _ => "repeat it with the same ids:",
        };
        exit.message = format!("{append}; {advice} {}", ids.join(" "));
    }
    exit
}

/// Ends a command that could not even begin to append; reports it in JSON too if requested.
pub(crate) fn append_not_begun(global: &Global, problem: Problem) -> Exit {
    let error = AppendError::Rejected(problem.clone());
    Exit::from(problem).reported(write_append_error(global, &error, None))
}

/// Ends a command whose append or change failed; reports it in JSON too if requested.
pub(crate) fn append_failed(global: &Global, error: &AppendError) -> Exit {
    append_error(error).reported(write_append_error(global, error, None))
}

/// Reports a failure on standard output too if JSON is requested; `line` is the failed line of the file.
pub(crate) fn write_append_error(
    global: &Global,
    error: &AppendError,
    line: Option<u64>,
) -> io::Result<()> {
    match global.json() {
        true => write_failure_json(&mut io::stdout(), error, line),
        false => Ok(()),
    }
}

/// The JSON line with which a command that appends reports a failure.
#[derive(Serialize)]
struct FailureLine {
    error: &'static str,
    outcome: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<FailedExpectation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<ViolatedCondition>,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
    /// The number of further failures and violations that the line does not contain.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
    /// The ids with which to repeat the append when the outcome is unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
    /// The line of the file that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

#[derive(Serialize)]
struct FailedExpectation {
    stream: String,
    expected: String,
    actual: u64,
}

#[derive(Serialize)]
struct ViolatedCondition {
    /// The number of the condition in the request; the first is 0.
    condition: usize,
    /// The position of the newest event that the condition forbids.
    position: u64,
}

/// Writes the failure of an append as one JSON line; `line` is the line of the file that it came from.
fn write_failure_json(
    output: &mut impl Write,
    error: &AppendError,
    line: Option<u64>,
) -> io::Result<()> {
    let Problem { kind, outcome, message, failures, violations, field, limit, left_out } =
        error.problem();
    let failed = failures.into_iter().map(|failure| FailedExpectation {
        stream: failure.stream.to_string(),
        expected: failure.expected.to_string(),
        actual: failure.actual.0,
    });
    let violated = violations.into_iter().map(|violation| ViolatedCondition {
        condition: violation.condition,
        position: violation.position.0,
    });
    let ids = match error {
        AppendError::Unknown(append) => append.ids().map(|id| id.to_string()).collect(),
        _ => Vec::new(),
    };
    let line = FailureLine {
        error: kind.as_str(),
        outcome: outcome.as_str(),
        message,
        failures: failed.collect(),
        violations: violated.collect(),
        field,
        limit,
        left_out,
        ids,
        line,
    };
    write_json(output, &line)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use quorate_proto::{Expectation, Failure, Position, StreamName, Version, Violation};

    use super::*;

    #[test]
    fn a_conflict_names_all_that_was_not_as_demanded() {
        let failure = Failure {
            stream: StreamName::new("order-42").expect("a name"),
            expected: Expectation::Exactly(Version(2)),
            actual: Version(3),
        };
        let violation = Violation { condition: 1, position: Position(9) };
        let error = AppendError::Rejected(Problem::conflict(vec![failure], vec![violation]));
        let mut line = Vec::new();
        write_failure_json(&mut line, &error, None).expect("memory");
        let line = String::from_utf8(line).expect("JSON is UTF-8");
        assert!(
            line.starts_with("{\"error\":\"conflict\",\"outcome\":\"not appended\","),
            "{line}"
        );
        let details = "\"failures\":[{\"stream\":\"order-42\",\"expected\":\"2\",\"actual\":3}],\
             \"violations\":[{\"condition\":1,\"position\":9}]}\n";
        assert!(line.ends_with(details), "{line}");
    }
}
