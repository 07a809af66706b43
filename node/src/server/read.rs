//! Reads: each waits for its point to be reached, then gives out pages as fast as the client takes them.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::{Consistency, Invalid, Outcome, Problem, Read, Source};
use quorate_raft::Replica;
use quorate_raft::host::Host;
use quorate_store::{Fault, Reader, Scan};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::problem;

/// The most pages that are looked at for one message: a read that finds nothing must return now and then,
/// to learn that its client has left, and to tell it that this node still looks.
const PAGES_PER_MESSAGE_MAX: usize = 16;

/// The time within which a node must learn where the log ends; a reader is not kept waiting longer.
const END_KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Waits until this node has applied as much as the reader demands.
pub(crate) async fn reach<H: Host>(
    replica: &Replica<H>,
    consistency: Consistency,
    deadline: Instant,
) -> Result<Reader, Problem> {
    if replica.identity().is_none() {
        return Err(problem::not_ready());
    }
    let reached = match consistency {
        Consistency::Local => Ok(()),
        Consistency::AtLeast(position) => replica.applied_position(position, deadline).await,
        Consistency::Linearizable => match replica.read_index(deadline).await {
            Ok(index) => replica.applied(index, deadline).await,
            Err(lost) => Err(lost),
        },
    };
    reached.map_err(problem::of_lost_read)?;
    replica.reader().ok_or_else(problem::not_ready)
}

/// Refuses a subscription that begins after the end of the log: events appended up to there would be passed over in
/// silence. A read that ends reports where the log ended, and need not be refused. A node that is behind asks for the
/// end of the log; if no node can give it, the subscription begins.
pub(crate) async fn refuse_the_future<H: Host>(
    replica: &Replica<H>,
    reader: &Reader,
    read: &Read,
    deadline: Instant,
) -> Result<(), Problem> {
    let after = read.bounds.after;
    let (source, end_of) = (read.source.clone(), reader.clone());
    let end = move || match &source {
        Source::Stream { stream, .. } => end_of.version(stream).map(|version| version.0),
        Source::Query(_) => Ok(end_of.point().position.0),
    };
    let of_found = |fault: Fault| problem::of_found(replica, &fault);
    if after == 0 || replica.host().run(end.clone()).await.map_err(of_found)? >= after {
        return Ok(());
    }
    if read.consistency != Consistency::Linearizable {
        let deadline = deadline.min(Instant::now() + END_KNOWN_WITHIN);
        if reach(replica, Consistency::Linearizable, deadline).await.is_err() {
            return Ok(());
        }
    }
    let end = replica.host().run(end).await.map_err(of_found)?;
    if end >= after {
        return Ok(());
    }
    let what = match &read.source {
        Source::Stream { stream, .. } => format!("`{stream}` ends at version"),
        Source::Query(_) => "the log ends at position".to_owned(),
    };
    Err(Invalid::from_the_future(after, format_args!("{what} {end}")).into())
}

/// The state of a read, which holds one page at most.
enum Stage {
    /// Nothing was read yet.
    Begin(Reader, Read),
    /// This page comes next, then the rest of the scan.
    Page(Page),
    /// Nothing is at hand; the scan goes on.
    Scanning(Scan),
    /// All events are given out.
    End,
    /// The last message is given out.
    Over,
}

struct Page {
    events: Vec<v1::RecordedEvent>,
    /// None when this is the last page.
    rest: Option<Scan>,
}

/// Returns the messages of the answer. A page is fetched when the transport asks for it: a client that does
/// not read on costs the scan and one message.
pub(crate) fn stream<H: Host>(
    replica: Replica<H>,
    reader: Reader,
    read: Read,
    stopping: CancellationToken,
) -> BoxStream<'static, Result<v1::ReadResponse, Status>> {
    let begin = Stage::Begin(reader, read);
    stream::unfold((replica, begin, stopping), |(replica, mut stage, stopping)| async move {
        loop {
            let step = stopping.run_until_cancelled(next(&replica, stage)).await;
            match step.unwrap_or_else(|| Err(problem::stopping(Outcome::NotAppended))) {
                Ok((Some(message), stage)) => {
                    let response = v1::ReadResponse { message: Some(message) };
                    return Some((Ok(response), (replica, stage, stopping)));
                }
                Ok((None, Stage::Over)) => return None,
                Ok((None, further)) => stage = further,
                Err(problem) => {
                    return Some((Err(problem.into()), (replica, Stage::Over, stopping)));
                }
            }
        }
    })
    .boxed()
}

async fn next<H: Host>(
    replica: &Replica<H>,
    stage: Stage,
) -> Result<(Option<Message>, Stage), Problem> {
    let host = replica.host();
    let stepped = match stage {
        Stage::Begin(reader, read) => host.run(move || begin(&reader, &read)).await,
        Stage::Scanning(scan) => host.run(move || Ok((None, Stage::Page(fetch(scan)?)))).await,
        Stage::Page(Page { events, rest: None }) if events.is_empty() => {
            return Ok((None, Stage::End));
        }
        Stage::Page(Page { events, rest }) => {
            let after = rest.map_or(Stage::End, Stage::Scanning);
            return Ok((Some(Message::Events(v1::EventBatch { events })), after));
        }
        Stage::End => return Ok((Some(Message::End(v1::Empty {})), Stage::Over)),
        Stage::Over => return Ok((None, Stage::Over)),
    };
    stepped.map_err(|fault| problem::of_found(replica, &fault))
}

/// Fixes the point, and reads the first page in the same step: most reads are short.
fn begin(reader: &Reader, read: &Read) -> Result<(Option<Message>, Stage), Fault> {
    let scan = reader.scan(read)?;
    let version = scan.version().map(u64::from);
    let snapshot = scan.snapshot().cloned().map(v1::Snapshot::from);
    let point = v1::ReadPoint {
        as_of: scan.as_of().0,
        version,
        snapshot,
        snapshot_schema_passed_over: scan.snapshot_schema_passed_over().unwrap_or_default(),
    };
    Ok((Some(Message::Point(point)), Stage::Page(fetch(scan)?)))
}

/// Collects about one message of events.
fn fetch(mut scan: Scan) -> Result<Page, Fault> {
    let mut events = Vec::new();
    let mut bytes = 0;
    for _ in 0..PAGES_PER_MESSAGE_MAX {
        let Some(page) = scan.next_page(READ_MESSAGE_BYTES - bytes)? else {
            return Ok(Page { events, rest: None });
        };
        for event in page {
            bytes += event.size() + event.stream.as_str().len();
            events.push(event.decode().into());
        }
        if bytes >= READ_MESSAGE_BYTES {
            break;
        }
    }
    Ok(Page { events, rest: Some(scan) })
}
