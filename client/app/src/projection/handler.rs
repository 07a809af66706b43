//! The application's part of a projection: what it does with each event.

use std::future::Future;

use quorate_client::RecordedEvent;

use super::store::BoxError;

/// The error with which a handler could not apply an event: any error, passed on with `?`.
pub type HandlerError = BoxError;

/// Makes a read model of events. `M` is the model within a transaction: [`SqliteModel`](super::SqliteModel),
/// [`PostgresModel`](super::PostgresModel), [`RedisModel`](super::RedisModel) or [`MemoryModel`](super::MemoryModel).
///
/// Effects outside of the model (a mail, a call to another service) have no place here: an event whose transaction
/// failed is applied again. Use a consumer group or a process manager for them.
///
/// ```
/// use quorate_app::projection::{Handler, HandlerError, MemoryModel, Scenario};
/// use quorate_client::{Event, Query, RecordedEvent};
///
/// /// Sums what was paid.
/// struct Revenue;
///
/// impl Handler<MemoryModel<u64>> for Revenue {
///     async fn apply(&self, sum: &mut MemoryModel<u64>, event: &RecordedEvent) -> Result<(), HandlerError> {
///         if event.kind.as_str() == "OrderPaid" {
///             **sum += event.json::<u64>()?;
///         }
///         Ok(())
///     }
/// }
///
/// Scenario::of(Query::category("order"), Revenue)
///     .given_written("order-1", [Event::json("OrderPlaced", &50)?, Event::json("OrderPaid", &50)?])
///     .then_model(&50);
/// # Ok::<(), quorate_client::EventError>(())
/// ```
pub trait Handler<M>: Send + Sync + 'static {
    /// Makes the empty model, for example its tables. It runs in the transaction that writes the first bookmark, so
    /// exactly once for the live model and for each rebuild.
    fn set_up(&self, model: &mut M) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let _ = model;
        async { Ok(()) }
    }

    /// Applies one event. The events of one stream (or of one key) come in order, each of them once for every committed
    /// transaction.
    fn apply(
        &self,
        model: &mut M,
        event: &RecordedEvent,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}
