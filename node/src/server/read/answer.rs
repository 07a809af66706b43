//! The messages of the answer to a read: the next one is made when the transport asks for it.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::{Outcome, Problem};
use quorate_raft::host::Host;
use quorate_store::{Fault, Scan};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::page::Page;
use super::subscription::{Step, Subscription};
use crate::server::problem;

/// Returns the messages of the answer. A client that does not read on costs the scan or its place, and one message.
pub(crate) fn stream<H: Host>(
    subscription: Subscription<H>,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::ReadResponse, Status>> {
    stream::unfold(Some((subscription, stopping)), |state| async move {
        let (mut subscription, stopping) = state?;
        let step = stopping.run_until_cancelled(subscription.next()).await;
        match step.unwrap_or_else(|| Err(stops())) {
            Ok(Step::End) => {
                let end = Message::End(v1::Empty {});
                Some((Ok(v1::ReadResponse { message: Some(end) }), None))
            }
            Ok(step) => {
                let response = v1::ReadResponse { message: Some(wire_step(step)) };
                Some((Ok(response), Some((subscription, stopping))))
            }
            Err(problem) => Some((Err(problem.into()), None)),
        }
    })
    .boxed()
}

fn stops() -> Problem {
    problem::stopping(Outcome::NotAppended)
}

fn wire_step(step: Step) -> Message {
    match step {
        Step::Point { cursor, snapshot, passed_over } => Message::Point(v1::ReadPoint {
            as_of: cursor.position.0,
            version: cursor.version.map(u64::from),
            snapshot: snapshot.map(v1::Snapshot::from),
            snapshot_schema_passed_over: passed_over.unwrap_or_default(),
        }),
        Step::Events(events) => {
            let events = events.iter().map(|event| event.decode().into()).collect();
            Message::Events(v1::EventBatch { events })
        }
        Step::CaughtUp(cursor) => Message::CaughtUp(cursor.into()),
        Step::FellBehind(cursor) => Message::FellBehind(cursor.into()),
        Step::Progress(cursor) => Message::Progress(cursor.into()),
        Step::StillHere => Message::Events(v1::EventBatch::default()),
        Step::End => Message::End(v1::Empty {}),
    }
}

/// Returns the number of events of a scan's next page, the page as a message, and the rest of the scan.
pub(crate) fn next_message(
    scan: Box<Scan>,
) -> Result<(usize, v1::ReadResponse, Option<Box<Scan>>), Fault> {
    let Page { events, rest, .. } = Page::fetch(scan)?;
    let count = events.len();
    let message = Some(wire_step(Step::Events(events)));
    Ok((count, v1::ReadResponse { message }, rest))
}
