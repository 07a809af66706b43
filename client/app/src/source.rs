//! The source of a projection's events: a cluster, or a script in a test.

use std::future::Future;

use quorate_client::{
    Client, ErrorKind, Message, Outcome, Problem, Query, RecordedEvent, RunnerReport, Subscription,
};

/// Follows a query, and reports what a projection must know of the log. [`Client`] implements it; a test of an
/// application's own projection may use another source.
///
/// ```
/// use quorate_app::projection::{EventSource, EventSubscription};
/// use quorate_client::{Message, Problem, Query};
///
/// /// Counts the events of orders that are there now, in a cluster or in a script.
/// async fn count<S: EventSource>(source: S) -> Result<u64, Problem> {
///     let mut orders = source.follow(&Query::category("order"), 0);
///     let mut count = 0;
///     while let Some(Message::Event(_)) = orders.next().await? {
///         count += 1;
///     }
///     Ok(count)
/// }
/// # let _ = count::<quorate_client::Client>;
/// ```
pub trait EventSource: Send + Sync + 'static {
    /// The subscription of a query.
    type Subscription: EventSubscription;

    /// Follows a query from the events after a position.
    fn follow(&self, query: &Query, after: u64) -> Self::Subscription;

    /// Returns the cluster's id as text: a bookmark of one cluster is meaningless in another.
    fn cluster(&self) -> impl Future<Output = Result<String, Problem>> + Send;

    /// Returns the position of the newest event, or a slightly earlier one.
    fn head(&self) -> impl Future<Output = Result<u64, Problem>> + Send;

    /// Refuses (`Invalid`) a position that the log has not reached: a bookmark there belongs to a log that was lost.
    fn holds(&self, position: u64) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = position;
        std::future::ready(Ok(()))
    }

    /// Reports the projection's progress to the cluster, for `quorate progress`; a source that is no cluster may ignore
    /// the report. The projection does not wait for the answer, and goes on if the report fails.
    fn report(&self, report: RunnerReport) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = report;
        std::future::ready(Ok(()))
    }

    /// Returns one event, or `None` if it does not exist any more.
    fn event(
        &self,
        stream: &str,
        version: u64,
    ) -> impl Future<Output = Result<Option<RecordedEvent>, Problem>> + Send;
}

/// The messages of one query, in order; see [`Subscription`].
///
/// ```
/// # use quorate_client::{Event, Message, Query};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_app::projection::{EventSource, EventSubscription, Script};
/// let script = Script::new();
/// script.append("order-1", Event::new("OrderPlaced", "{}")?);
/// let mut orders = script.follow(&Query::category("order"), 0);
/// assert!(matches!(orders.next().await?, Some(Message::Event(event)) if event.position.0 == 1));
/// assert!(matches!(orders.next().await?, Some(Message::CaughtUp(_))));
/// # Ok(()) }
/// ```
pub trait EventSubscription: Send + 'static {
    /// Returns the next message. Cancelling the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Option<Message>, Problem>> + Send;
}

impl EventSubscription for Subscription {
    async fn next(&mut self) -> Result<Option<Message>, Problem> {
        self.try_next().await
    }
}

impl EventSource for Client {
    type Subscription = Subscription;

    fn follow(&self, query: &Query, after: u64) -> Subscription {
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
        Ok(self.read(Query::everything()).limit(0).local().stream().await?.as_of().0)
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
        Ok(found.try_next().await?.filter(|event| event.version.0 == version))
    }
}
