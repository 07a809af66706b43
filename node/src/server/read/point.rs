//! The point of a read: how much a node must have applied before it answers.

use std::time::Duration;

use quorate_proto::{Consistency, Invalid, Problem, Read, Source};
use quorate_raft::Replica;
use quorate_raft::host::Host;
use quorate_store::{Fault, Reader};
use tokio::time::Instant;

use super::beginning::Beginning;
use super::form::Form;
use super::live::Live;
use super::page::EARLY_PAGE_BYTES;
use crate::server::problem;

/// The time within which a node must learn where the log ends; a subscription is not kept waiting longer.
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

/// Does the same for a read, and begins it meanwhile. A linearizable read must show every entry up to the index that the
/// leader names. What is read before that is known shows them if this node had applied them when the read came; then
/// the beginning is returned too, and otherwise it is lost.
pub(crate) async fn reach_reading<H: Host, F: Form>(
    live: &Live<H>,
    read: &Read,
    deadline: Instant,
) -> Result<(Reader, Option<Beginning<F>>), Problem> {
    let replica = &live.replica;
    // The rest of another node's answer is as of a point that this node may not have reached yet.
    let waits = read.consistency != Consistency::Linearizable || read.continues.is_some();
    if waits || !live.early.may_begin() {
        return Ok((reach(replica, read.consistency, deadline).await?, None));
    }
    let (Some(early), Some(permit)) = (replica.reader(), live.may_read_ahead()) else {
        return Ok((reach(replica, read.consistency, deadline).await?, None));
    };
    let shown = early.point().log_id;
    let asked = read.clone();
    let begun = replica.host().run(move || Beginning::read(&early, &asked, EARLY_PAGE_BYTES));
    let index = replica.read_index(deadline).await.map_err(problem::of_lost_read)?;
    if shown.is_some_and(|shown| shown.index >= index) {
        let reader = replica.reader().ok_or_else(problem::not_ready)?;
        // A fault is found again by whoever begins anew.
        let begun = begun.await.ok();
        drop(permit);
        return Ok((reader, begun));
    }
    live.early.was_too_early();
    replica.applied(index, deadline).await.map_err(problem::of_lost_read)?;
    Ok((replica.reader().ok_or_else(problem::not_ready)?, None))
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
