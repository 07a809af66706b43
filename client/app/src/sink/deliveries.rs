//! What a sink is driven by: deliveries that are settled one by one.

use std::future::Future;

use quorate_client::{Problem, RecordedEvent};

use crate::sink::error::SinkError;

/// The events of a consumer group, as they are handed to one consumer.
pub(crate) trait Deliveries: Send {
    type Delivery: Send + Sync;

    /// The next one; waits while there is none. `None` = there will be none any more. Nothing is lost when
    /// the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Delivery>, Problem>> + Send;

    fn event(delivery: &Self::Delivery) -> &RecordedEvent;

    /// True if it was taken back, as far as is known here.
    fn has_lapsed(delivery: &Self::Delivery) -> bool;

    /// Says what became of it.
    fn settle(&mut self, delivery: &Self::Delivery, outcome: Result<(), SinkError>);

    /// Leaves the group, when it is durable what became of the deliveries.
    fn close(self) -> impl Future<Output = Result<(), Problem>> + Send;
}
