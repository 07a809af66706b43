//! Problems on the wire: a gRPC status by the book, and one typed detail.
//!
//! The detail travels as google.rpc.Status with one Any (`grpc-status-details-bin`), which gRPC libraries of
//! other languages can take apart.

use prost::Message;
use prost::bytes::Bytes;
use tonic::{Code, Status};

use super::v1;
use crate::{
    ErrorKind, Failure, Invalid, Outcome, Position, Problem, StreamName, Version, Violation,
};

const DETAIL_TYPE: &str = "type.googleapis.com/quorate.v1.Problem";

/// The most bytes that the message and the details of a status take as trailers. Libraries of several
/// languages accept 8 KiB of trailers, names and overhead included.
const TRAILER_BYTES_MAX: usize = 7 * 1024;
/// The most bytes of the message in these trailers, as it travels.
const MESSAGE_BYTES_MAX: usize = 2560;
/// The most bytes of a message before it is escaped: it stands in the details too.
const TEXT_BYTES_MAX: usize = 1536;
/// The end of a message that was cut off.
const CUT_OFF: &str = "...";

/// google.rpc.Status, with the fields that are needed.
#[derive(Clone, PartialEq, Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

impl From<Problem> for v1::Problem {
    fn from(problem: Problem) -> v1::Problem {
        let failure = |failure: Failure| v1::Failure {
            stream: failure.stream.as_str().to_owned(),
            expected: Some(failure.expected.into()),
            actual: failure.actual.0,
        };
        v1::Problem {
            kind: problem.kind.as_str().to_owned(),
            outcome: problem.outcome.as_str().to_owned(),
            message: problem.message,
            failures: problem.failures.into_iter().map(failure).collect(),
            violations: problem.violations.into_iter().map(v1::Violation::from).collect(),
            field: problem.field,
            limit: problem.limit,
            left_out: problem.left_out,
        }
    }
}

impl From<Violation> for v1::Violation {
    fn from(violation: Violation) -> v1::Violation {
        let condition = u32::try_from(violation.condition).expect("conditions are few");
        v1::Violation { condition, position: violation.position.0 }
    }
}

impl From<v1::Violation> for Violation {
    fn from(violation: v1::Violation) -> Violation {
        let position = Position(violation.position);
        Violation { condition: violation.condition as usize, position }
    }
}

impl TryFrom<v1::Problem> for Problem {
    type Error = Invalid;

    /// Refuses kinds and outcomes that this build does not know: nothing can be concluded from them.
    fn try_from(problem: v1::Problem) -> Result<Problem, Invalid> {
        let kind = ErrorKind::parse(&problem.kind)
            .ok_or_else(|| Invalid::new("kind", format!("`{}` is not known", problem.kind)))?;
        let outcome = [Outcome::NotAppended, Outcome::Unknown]
            .into_iter()
            .find(|outcome| outcome.as_str() == problem.outcome)
            .ok_or_else(|| {
                Invalid::new("outcome", format!("`{}` is not known", problem.outcome))
            })?;
        let failures = problem
            .failures
            .into_iter()
            .map(|failure| {
                Ok(Failure {
                    stream: StreamName::new(failure.stream)?,
                    expected: failure.expected.try_into()?,
                    actual: Version(failure.actual),
                })
            })
            .collect::<Result<_, Invalid>>()?;
        Ok(Problem {
            kind,
            outcome,
            message: problem.message,
            failures,
            violations: problem.violations.into_iter().map(Violation::from).collect(),
            field: problem.field,
            limit: problem.limit,
            left_out: problem.left_out,
        })
    }
}

impl From<Problem> for Status {
    /// Leaves the message out of the typed detail. google.rpc.Status repeats the message, because some
    /// libraries refuse one whose message is not that of the status.
    fn from(mut problem: Problem) -> Status {
        let code = code_of(problem.kind);
        let message = shortened(&std::mem::take(&mut problem.message));
        let room = TRAILER_BYTES_MAX - as_trailer(&message);
        let mut detail = v1::Problem::from(problem);
        loop {
            let details = details(code, &message, &detail);
            if details.len().div_ceil(3) * 4 <= room || !leave_out_one(&mut detail) {
                return Status::with_details(code, message, details);
            }
        }
    }
}

fn details(code: Code, message: &str, problem: &v1::Problem) -> Bytes {
    let detail = Detail { type_url: DETAIL_TYPE.to_owned(), value: problem.encode_to_vec().into() };
    let message = message.to_owned();
    RichStatus { code: code as i32, message, details: vec![detail] }.encode_to_vec().into()
}

/// Leaves the last failure out, or else the last violation; false if there is neither.
fn leave_out_one(problem: &mut v1::Problem) -> bool {
    let is_left_out = problem.failures.pop().is_some() || problem.violations.pop().is_some();
    problem.left_out += u64::from(is_left_out);
    is_left_out
}

/// Returns the message, cut off if there would be no room for the details beside it.
fn shortened(message: &str) -> String {
    let mut text = String::new();
    let mut sent = as_trailer(CUT_OFF);
    for character in message.chars() {
        sent += as_trailer(character.encode_utf8(&mut [0; 4]));
        if sent > MESSAGE_BYTES_MAX || text.len() + character.len_utf8() > TEXT_BYTES_MAX {
            text.push_str(CUT_OFF);
            break;
        }
        text.push(character);
    }
    text
}

/// Returns the bytes of a text as `grpc-message`. All but letters and digits may be escaped, which takes three.
fn as_trailer(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

/// Returns the problem of a status, if it has a typed detail that this build understands. Its failures may be
/// only the first of many.
pub fn problem_of(status: &Status) -> Option<Problem> {
    let rich = RichStatus::decode(status.details()).ok()?;
    let detail = rich.details.into_iter().find(|detail| detail.type_url == DETAIL_TYPE)?;
    let problem = Problem::try_from(v1::Problem::decode(detail.value).ok()?).ok()?;
    Some(Problem { message: status.message().to_owned(), ..problem })
}

fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Conflict | ErrorKind::Removed => Code::Aborted,
        ErrorKind::IdReused | ErrorKind::StreamClosed => Code::FailedPrecondition,
        ErrorKind::Forgotten => Code::Unknown,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::TooLarge => Code::OutOfRange,
        ErrorKind::Unavailable | ErrorKind::NotReady => Code::Unavailable,
        ErrorKind::Deadline => Code::DeadlineExceeded,
        ErrorKind::Overloaded | ErrorKind::NoSpace => Code::ResourceExhausted,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Damaged => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expectation;

    #[test]
    fn a_problem_survives_its_way_through_a_status() {
        let failure = Failure {
            stream: StreamName::new("order-42").expect("a name"),
            expected: Expectation::Exactly(Version(2)),
            actual: Version(3),
        };
        let violation = Violation { condition: 1, position: Position(9) };
        let problem = Problem::conflict(vec![failure], vec![violation]);
        assert_eq!(
            problem.message,
            "conflict: `order-42` is at version 3, expected 2; the event at position 9 violates condition 2; \
             nothing was appended"
        );
        let status = Status::from(problem.clone());
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(problem_of(&status), Some(problem));
    }

    /// Returns the bytes that a status takes as trailers, as HTTP/2 counts them.
    fn trailers(status: &Status) -> usize {
        let response = status.clone().into_http::<()>();
        response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    #[test]
    fn whatever_fails_its_trailers_stay_below_8_kib_and_carry_the_typed_detail() {
        for (first, letter, count) in
            [("", "x", 252), ("x", "ж", 125), ("", "😀", 63), ("", "\"", 252), ("", "x", 1)]
        {
            let failure = |number: usize| Failure {
                stream: StreamName::new(format!("{first}{}{number:03}", letter.repeat(count)))
                    .expect("a name"),
                expected: Expectation::Exactly(Version(u64::MAX)),
                actual: Version(u64::MAX),
            };
            let violation = |condition| Violation {
                condition,
                position: Position(u64::MAX - condition as u64),
            };
            let failures: Vec<_> = (0..100).map(failure).collect();
            let violations: Vec<_> = (0..16).map(violation).collect();
            let problem = Problem::conflict(failures, violations);
            let status = Status::from(problem.clone());
            assert!(trailers(&status) < 8192, "{letter}: {}", trailers(&status));
            let received = problem_of(&status).expect("a typed detail");
            assert!(received.failures.len() >= 5, "{letter}: {}", received.failures.len());
            assert!(problem.failures.starts_with(&received.failures));
            let all =
                received.failures.len() + received.violations.len() + received.left_out as usize;
            assert_eq!(all, 116, "{letter}");
            assert!(received.message.starts_with("conflict: `"), "{}", received.message);
            // A node that passes the problem on adds nothing and leaves nothing out.
            assert_eq!(problem_of(&Status::from(received.clone())), Some(received));
        }
    }

    #[test]
    fn a_message_without_end_is_cut_off() {
        let endless = Problem::new(ErrorKind::Invalid, Outcome::NotAppended, "\n".repeat(1 << 20));
        let status = Status::from(endless);
        assert!(trailers(&status) < 8192, "{}", trailers(&status));
        assert!(status.message().ends_with("\n..."));
        assert!(problem_of(&status).is_some());
    }

    #[test]
    fn the_proto_file_shows_which_status_goes_with_which_kind() {
        let file = include_str!("../../quorate/v1/events.proto");
        let table = file.lines().filter_map(|line| line.strip_prefix("//   "));
        let rows: Vec<_> = table.map(|row| row.split_whitespace().take(2).collect()).collect();
        for kind in ErrorKind::ALL {
            let code = format!("{:?}", code_of(kind));
            let shown = rows.iter().find(|row: &&Vec<&str>| row.first() == Some(&kind.as_str()));
            let shown = shown.and_then(|row| row.get(1)).map(|code| code.replace('_', ""));
            assert_eq!(shown, Some(code.to_uppercase()), "{kind:?}");
        }
        assert_eq!(rows.len(), ErrorKind::ALL.len() + 1, "a row too many, or too few");
    }

    #[test]
    fn the_proto_file_states_the_limits_that_hold() {
        use crate::limits::*;
        let file = include_str!("../../quorate/v1/events.proto");
        let (head, _) = file.split_once("syntax = ").expect("a head");
        let text = head.replace("\n// ", " ");
        for stated in [
            format!("1 to {NAME_BYTES_MAX} bytes of UTF-8"),
            format!("at most {NAME_PARTS_MAX} parts"),
            format!("{EVENT_PAYLOAD_BYTES_MAX} of data and metadata together"),
            format!("{TAGS_MAX} tags of at most {TAG_BYTES_MAX}"),
            format!("{IDENTIFIER_BYTES_MAX} for each of content type"),
            format!("{APPEND_BYTES_MAX} with names and envelopes"),
            format!("{APPEND_EVENTS_MAX} events"),
            format!("{APPEND_STREAMS_MAX} streams"),
            format!("{CONDITIONS_MAX} conditions"),
            format!(
                "{QUERY_ITEMS_MAX} items, each of {QUERY_TYPES_MAX} types and {QUERY_TAGS_MAX}"
            ),
            format!("A snapshot: {SNAPSHOT_BYTES_MAX}"),
            format!("messages of up to {CLIENT_MESSAGE_BYTES_MAX}"),
            format!("about {READ_MESSAGE_BYTES} of events"),
            format!("the newest {RETRY_WINDOW} positions"),
        ] {
            assert!(text.contains(&stated), "the file does not state {stated:?}");
        }
    }

    #[test]
    fn a_status_without_our_detail_is_no_problem() {
        assert_eq!(problem_of(&Status::aborted("conflict")), None);
        let garbage = Status::with_details(Code::Aborted, "x", Bytes::from_static(b"\xff\xff"));
        assert_eq!(problem_of(&garbage), None);
    }
}
