//! Where a projection gets its events from: a cluster, or a script in a test.

use std::future::Future;

use quorate_client::{
    Client, ErrorKind, Feed, Message, Outcome, Problem, Query, RecordedEvent, RunnerReport,
};

/// Follows a query, and tells what a projection must know of the log. A [`Client`] is one; a test of an application's
/// own projection may bring another.
pub trait EventSource: Send + Sync + 'static {
    /// What follows.
    type Feed: EventFeed;

    /// Follows a query from after a position on.
    fn follow(&self, query: &Query, after: u64) -> Self::Feed;

    /// The cluster's id, in words: a bookmark of one cluster says nothing in another.
    fn cluster(&self) -> impl Future<Output = Result<String, Problem>> + Send;

    /// The position of the newest event, or a little less.
    fn head(&self) -> impl Future<Output = Result<u64, Problem>> + Send;

    /// Refuses (`Invalid`) a position that the log has not reached: a bookmark there is one of a log that was lost.
    fn holds(&self, position: u64) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = position;
        std::future::ready(Ok(()))
    }

    /// Tells the cluster how far the projection is, for whoever runs `quorate progress`; a source that is no cluster
    /// keeps it to itself. The projection does not wait for it, and goes on if it fails.
    fn report(&self, report: RunnerReport) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = report;
        std::future::ready(Ok(()))
    }

    /// One event, if it is still there.
    fn event(
        &self,
        stream: &str,
        version: u64,
    ) -> impl Future<Output = Result<Option<RecordedEvent>, Problem>> + Send;
}

/// The messages of one query, in order; see [`Feed`].
pub trait EventFeed: Send + 'static {
    /// The next message. Cancelling it loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Option<Message>, Problem>> + Send;
}

impl EventFeed for Feed {
    async fn next(&mut self) -> Result<Option<Message>, Problem> {
        self.try_next().await
    }
}

impl EventSource for Client {
    type Feed = Feed;

    fn follow(&self, query: &Query, after: u64) -> Feed {
        self.read(query.clone()).after(after).follow()
    }

    async fn cluster(&self) -> Result<String, Problem> {
        let none = || {
            let message = "the node belongs to no cluster yet";
            Problem::new(ErrorKind::NotReady, Outcome::NotAppended, message)
        };
        Ok(self.status().await?.cluster.ok_or_else(none)?.to_string())
    }

    async fn head(&self) -> Result<u64, Problem> {
        Ok(self.read(Query::everything()).limit(0).local().stream().await?.as_of())
    }

    async fn holds(&self, position: u64) -> Result<(), Problem> {
        let nothing = self.read(Query::everything()).after(position).limit(0);
        nothing.stream().await.map(|_| ())
    }

    async fn report(&self, report: RunnerReport) -> Result<(), Problem> {
        self.report_runner(report).await
    }

    async fn event(&self, stream: &str, version: u64) -> Result<Option<RecordedEvent>, Problem> {
        let after = version.saturating_sub(1);
        let mut found = self.read(stream).after(after).limit(1).stream().await?;
        Ok(found.try_next().await?.filter(|event| event.version == version))
    }
}
