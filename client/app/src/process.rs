//! Process managers: they react to events by appending others, each reaction exactly once.
//!
//! ```no_run
//! use std::time::Duration;
//! use quorate_app::process::{Cause, HandlerError, ProcessManager, ProcessRunner, Reaction, Trigger};
//! use quorate_client::{Client, Event, Expect, Query, RecordedEvent};
//!
//! /// Cancels an order that is not paid within half an hour.
//! struct PaymentDeadline;
//!
//! impl ProcessManager for PaymentDeadline {
//!     type State = ();
//!
//!     fn name(&self) -> &str {
//!         "paymentDeadline"
//!     }
//!
//!     fn query(&self) -> Query {
//!         Query::category("order").types(["OrderPlaced", "OrderPaid"])
//!     }
//!
//!     fn instance(&self, event: &RecordedEvent) -> Option<String> {
//!         event.stream.as_str().strip_prefix("order-").map(str::to_owned)
//!     }
//!
//!     fn react(&self, _: &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
//!         Ok(match &trigger.cause {
//!             Cause::Event(event) if event.kind.as_str() == "OrderPlaced" => {
//!                 Reaction::new().schedule_after("payment", Duration::from_secs(30 * 60))
//!             }
//!             Cause::Event(_) => Reaction::new().complete(),
//!             Cause::Due(_) => {
//!                 let order = format!("order-{}", trigger.instance);
//!                 let cancelled = Event::json("OrderCancelled", "not paid in time")?;
//!                 Reaction::new().append(order, Expect::Exists, [cancelled]).complete()
//!             }
//!         })
//!     }
//! }
//!
//! # async fn example(client: Client) -> Result<(), quorate_app::process::ProcessError> {
//! ProcessRunner::new(client, PaymentDeadline).run().await
//! # }
//! ```
//!
//! # The records of a manager
//!
//! Each *instance* of a manager has a stream, `NAME-INSTANCE`. A reaction is one transaction: the events it
//! appends, and a record in the instance's stream, written at exactly the version that the reaction was
//! decided on. The record holds what the next decision needs: the state, which source events are handled, and
//! which due times are outstanding. So a crash at any point leaves either the whole reaction or nothing of
//! it; an event that is seen again is known by the record; and of two processes that run the same manager one
//! wins, while the other reads the record and finds that there is nothing left to do. Only the newest record
//! of an instance is ever read: where nobody else writes into these streams,
//! `client.category(NAME).set(Settings::new().max_count(1))` lets the store drop the others.
//!
//! The manager's position in the log is recorded in `NAME$bookmark`. It is written rarely, and an idle manager writes
//! nothing; it only spares a restart the events before it.
//!
//! While it runs it reports its progress to the cluster, every five seconds and when its state changes:
//! `quorate progress` shows it, and the error that it ended with. [`ProcessRunner::run_until`] waits half a second at
//! most, at its end, until the cluster knows that it ended.
//!
//! # Several instances at once
//!
//! A runner handles several instances at once, each in a [lane](ProcessRunner::lanes): the triggers of one instance one
//! after another, in the order of the log. An instance that meets conflicts and tries again keeps no other one waiting.
//! The bookmark never passes a trigger that is not settled.
//!
//! # Due times
//!
//! A due time fires once, at that time or later, by the clock of whoever runs the manager
//! ([`Clock`](crate::Clock)): one that is ahead fires early by as much, one that is set back fires late.
//! Before anything fires, everything is handled that was acknowledged before: a payment that made it into the
//! log before its deadline is always seen before the deadline is. Outstanding due times are kept in memory
//! while the manager runs, so many that they fit there.

//! # Parked triggers
//!
//! A runner that is set to [`OnFailure::Park`] goes on where its reaction to a trigger fails. The transaction that
//! records so also appends a `TriggerParked` to the stream `NAME$parked`. The triggers that are parked are listed and
//! taken up by whoever has a client, or by the command line (`quorate process parked`, `replay` and `drop`):
//!
//! ```no_run
//! # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
//! use quorate_client::Selection;
//! let deadlines = client.process_manager("paymentDeadline");
//! for parked in deadlines.parked().await? {
//!     println!("{}: {}: {}", parked.position, parked.cause, parked.reason);
//! }
//! deadlines.replay(Selection::All).await?;
//! # Ok(()) }
//! ```
//!
//! A request to replay is an event in that stream, which the manager follows. The handler is called again, with the
//! state that the instance has *now*: later triggers were handled meanwhile. For an event, the trigger's time is still
//! the event's own; for a due time it is that of the request. The reaction, its record and the answer to the request
//! are one transaction, under ids that follow from the parked trigger, and on condition that it was neither replayed
//! nor dropped: so it takes place once, whatever crashes, however many runners there are and however often it is
//! requested.
//!
//! A replay that fails stops no runner, whatever it is set to: the trigger stays parked with the new reason. So does a
//! trigger whose event was removed from the log, and one whose instance has completed or whose stream is closed: the
//! instance reacts to nothing any more, and the trigger can only be dropped. A due time that is replayed leaves one
//! alone that was scheduled since under the same name.
//!
//! Nothing removes old events from `NAME$parked`. Where a setting of the stream does
//! (`client.stream("NAME$parked").set(Settings::new().max_age(…))`), what it removes is not parked any more.
//! The form of the events is described in [`quorate_client::parking`].

mod bookmark;
mod cluster;
mod decide;
mod due;
mod error;
mod instance_queues;
mod instances;
mod job;
mod log;
mod manager;
mod reaction;
mod record;
mod replay;
mod replayer;
mod runner;
mod running;
mod scenario;
mod settings;
mod settler;

pub use error::ProcessError;
pub use manager::{Cause, Due, HandlerError, ProcessManager, Trigger};
pub use reaction::Reaction;
pub use runner::ProcessRunner;
pub use scenario::Scenario;
pub use settings::OnFailure;

#[cfg(test)]
mod tests;
