//! The source of a sink's events: deliveries that are settled one by one.

use std::future::Future;

use quorate_client::{Problem, RecordedEvent};

use crate::sink::error::SinkError;

/// The events of a consumer group, as they are handed to one consumer.
pub(crate) trait Deliveries: Send {
    type Delivery: Send + Sync;

    /// Returns the next delivery; waits while there is none. `None` means that there will be no more. Nothing
    /// is lost when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Delivery>, Problem>> + Send;

    fn event(delivery: &Self::Delivery) -> &RecordedEvent;

    /// Returns true if the delivery was taken back, as far as is known here.
    fn has_lapsed(delivery: &Self::Delivery) -> bool;

    /// Settles the delivery with its outcome.
    fn settle(&mut self, delivery: &Self::Delivery, outcome: Result<(), SinkError>);

    /// Leaves the group when the outcomes of the deliveries are durable.
    fn close(self) -> impl Future<Output = Result<(), Problem>> + Send;
}
