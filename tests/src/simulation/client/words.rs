//! The requests of a client, made with the client library.

use std::time::Duration;

use quorate_client::{AppendError, Client, Done, Query, ReadRequest, Transaction};
use quorate_proto::{
    self as proto, Append, Change, ChangeKind, Problem, Read, Scope, Snapshot, Source, Version,
    Write,
};

use crate::history::ReadAnswer;

/// Returns an append that is ready to be sent.
pub(super) fn transaction(client: &Client, append: &Append) -> Transaction {
    let mut transaction = client.transaction();
    for Write { stream, expectation, events } in append.writes.clone() {
        let events = events.into_iter().map(quorate_client::Event::from);
        transaction = transaction.write(stream.as_str(), expectation, events);
    }
    for one in &append.requirements {
        transaction = transaction.require(one.stream.as_str(), one.expectation);
    }
    for one in &append.conditions {
        transaction = transaction.unless(Query::from(one.query.clone()), one.after);
    }
    transaction
}

/// Sends a change.
pub(super) async fn send_change(client: &Client, change: &Change) -> Result<Done, AppendError> {
    let Change { scope, expectation, id, kind } = change;
    let expect = *expectation;
    let stream = client.stream(scope.as_str()).id(*id);
    match (scope, kind) {
        (_, ChangeKind::Delete) => stream.delete(expect).await,
        (_, ChangeKind::Tombstone) => stream.tombstone(expect).await,
        (Scope::Stream(_), ChangeKind::Settings(change)) => {
            stream.set_expecting(expect, *change).await
        }
        (Scope::Category(name), ChangeKind::Settings(change)) => {
            client.category(name.as_str()).id(*id).set(*change).await
        }
        (Scope::Path(name), ChangeKind::Settings(change)) => {
            client.path(name.as_str()).id(*id).set(*change).await
        }
    }
}

/// Puts a snapshot; returns the version of the one that is stored then.
pub(super) async fn put_snapshot(client: &Client, snapshot: &Snapshot) -> Result<Version, Problem> {
    let Snapshot { stream, version, schema, data } = snapshot;
    let put = quorate_client::Snapshot::new(*version, data.clone()).schema(*schema);
    client.stream(stream.as_str()).put_snapshot(put).await
}

/// Reads everything that a read requests.
pub(in super::super) async fn collect(client: &Client, read: &Read) -> Result<ReadAnswer, String> {
    let mut request = request(client, read);
    if let Some(limit) = read.limit {
        request = request.limit(limit);
    }
    if read.direction == proto::Direction::Backwards {
        request = request.backwards();
    }
    if read.with_snapshot {
        request = request.with_snapshot();
    }
    if read.with_system {
        request = request.with_system();
    }
    let events = request.collect().await.map_err(|problem| problem.to_string())?;
    let (snapshot, version) = match &read.source {
        Source::Stream { .. } => {
            (events.snapshot.map(|recorded| recorded.snapshot), Some(events.version))
        }
        Source::Query(_) => (None, None),
    };
    Ok(ReadAnswer { as_of: events.as_of, version, snapshot, events: events.events })
}

/// Returns a request for the same source, with the same consistency.
pub(in super::super) fn request(client: &Client, read: &Read) -> ReadRequest {
    let request = match &read.source {
        Source::Stream { stream, .. } => client.read(stream.as_str()),
        Source::Query(one) => client.read(Query::from(one.clone())),
    };
    request.consistency(read.consistency)
}

/// The number of times that a read is tried again while it finds damage.
const REPAIR_TRIES: u32 = 60;

/// Reads everything, as soon as damaged chunks are repaired.
pub(in super::super) async fn read_whole(
    client: &Client,
    read: &Read,
) -> Result<ReadAnswer, String> {
    let mut tries = 0;
    loop {
        match collect(client, read).await {
            Err(problem) if problem.contains("damaged") && tries < REPAIR_TRIES => tries += 1,
            answer => return answer,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
