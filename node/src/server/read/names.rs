//! Lists of names: a page is searched when the client takes it.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use quorate_proto::wire::v1;
use quorate_proto::{ListRequest, Outcome, Problem};
use quorate_raft::Replica;
use quorate_raft::host::Host;
use quorate_store::{Fault, Reader};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::server::problem;

/// The maximum number of pages that are searched for one message: a search that finds nothing must return now and
/// then, to notice that its client has left.
const PAGES_PER_MESSAGE_MAX: usize = 4;

/// Returns the messages of the answer, the last one marked as the end. A client that stops reading costs one message.
pub(crate) fn stream<H: Host>(
    replica: Replica<H>,
    reader: Reader,
    request: ListRequest,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::ListNamesResponse, Status>> {
    let begin = Some((reader, request));
    stream::unfold((replica, begin, stopping), |(replica, rest, stopping)| async move {
        let (reader, request) = rest?;
        let step = stopping.run_until_cancelled(next(&replica, reader, request)).await;
        Some(match step.unwrap_or_else(|| Err(problem::stopping(Outcome::NotAppended))) {
            Ok((message, rest)) => (Ok(message), (replica, rest, stopping)),
            Err(problem) => (Err(problem.into()), (replica, None, stopping)),
        })
    })
    .boxed()
}

/// Returns the next message, and the rest of the list.
async fn next<H: Host>(
    replica: &Replica<H>,
    reader: Reader,
    mut request: ListRequest,
) -> Result<(v1::ListNamesResponse, Option<(Reader, ListRequest)>), Problem> {
    let fetched = replica.host().run(move || {
        let message = fetch(&reader, &mut request)?;
        let rest = (!message.end).then_some((reader, request));
        Ok((message, rest))
    });
    fetched.await.map_err(|fault| problem::of_found(replica, &fault))
}

/// Makes a message of names, and advances `request` past them.
fn fetch(reader: &Reader, request: &mut ListRequest) -> Result<v1::ListNamesResponse, Fault> {
    let mut message = v1::ListNamesResponse::default();
    for _ in 0..PAGES_PER_MESSAGE_MAX {
        let page = reader.names(request)?;
        message.as_of = page.as_of.0;
        let found = page.names.len() as u64;
        request.limit = request.limit.map(|limit| limit.saturating_sub(found));
        message.end = page.after.is_none() || request.limit == Some(0);
        let last = page.names.last().map(|last| last.name.clone());
        if let Some(after) = page.after.or(last) {
            request.after = after;
        }
        message.names.extend(page.names.into_iter().map(v1::ListedName::from));
        if message.end || !message.names.is_empty() {
            break;
        }
    }
    message.after.clone_from(&request.after);
    Ok(message)
}
