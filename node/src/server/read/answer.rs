//! The messages of the answer to a read: the next one is made when the transport asks for it.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::{Outcome, Problem};
use quorate_raft::host::Host;
use quorate_store::{Fault, Scan};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::form::{Encoded, Formed};
use super::page::{PAGE_BYTES, Page};
use super::subscription::{Step, Subscription};
use crate::server::problem;

/// The rest of an answer.
struct Rest<H: Host> {
    subscription: Subscription<H, Encoded>,
    stopping: CancellationToken,
    /// Messages that were made together, and go out one after the other.
    made: VecDeque<Bytes>,
}

/// Returns the messages of the answer. A client that does not read on costs the scan or its place, and two pages.
pub(crate) fn stream<H: Host>(
    subscription: Subscription<H, Encoded>,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::ReadResponse, Status>> {
    let rest = Rest { subscription, stopping, made: VecDeque::new() };
    stream::unfold(Some(rest), |rest| async move {
        let mut rest = rest?;
        Some(match rest.next().await {
            Ok(Message::End(end)) => (Ok(response(Message::End(end))), None),
            Ok(message) => (Ok(response(message)), Some(rest)),
            Err(problem) => (Err(problem.into()), None),
        })
    })
    .boxed()
}

impl<H: Host> Rest<H> {
    async fn next(&mut self) -> Result<Message, Problem> {
        if let Some(events) = self.made.pop_front() {
            return Ok(Message::Events(events));
        }
        let step = self.stopping.run_until_cancelled(self.subscription.next()).await;
        Ok(match step.unwrap_or_else(|| Err(stops()))? {
            Step::Point { cursor, point, snapshot, passed_over } => Message::Point(v1::ReadPoint {
                as_of: cursor.position.0,
                version: cursor.version.map(u64::from),
                snapshot: snapshot.map(v1::Snapshot::from),
                snapshot_schema_passed_over: passed_over.unwrap_or_default(),
                log_index: point.log_index.0,
                log_time: point.log_time.0,
            }),
            Step::Events(Encoded(messages)) => {
                self.made = messages;
                Message::Events(self.made.pop_front().unwrap_or_default())
            }
            Step::CaughtUp(cursor) => Message::CaughtUp(cursor.into()),
            Step::FellBehind(cursor) => Message::FellBehind(cursor.into()),
            Step::Progress(cursor) => Message::Progress(cursor.into()),
            Step::StillHere => Message::Events(Bytes::new()),
            Step::End => Message::End(v1::Empty {}),
        })
    }
}

fn response(message: Message) -> v1::ReadResponse {
    v1::ReadResponse { message: Some(message) }
}

fn stops() -> Problem {
    problem::stopping(Outcome::NotAppended)
}

/// Takes the next page of the scan, which is taken out at its end; returns the number of the page's events, and the page
/// as messages.
pub(crate) fn next_messages(
    scan: &mut Option<Box<Scan>>,
) -> Result<(u64, Vec<v1::ReadResponse>), Fault> {
    let Some(rest) = scan.take() else { return Ok((0, Vec::new())) };
    let Page { events, rest, .. } = Page::<Encoded>::fetch(rest, PAGE_BYTES)?;
    *scan = rest;
    let Some(Formed { events: Encoded(messages), count, .. }) = events else {
        return Ok((0, Vec::new()));
    };
    let messages = messages.into_iter().map(|events| response(Message::Events(events)));
    Ok((count, messages.collect()))
}
