//! The reception of commands: as a tower service with layers, over HTTP, and from a consumer group.
//!
//! A [`Repository`](crate::decider::Repository) is a [`tower::Service`] that takes an [`Envelope`] with a command; so are
//! [`Decisions`](crate::decision::Decisions). Layers go around it: [`Traced`], [`Observed`] and [`Authorized`] are here,
//! and those of tower (limits, timeouts, load shedding) fit as well.
//!
//! ```no_run
//! use quorate_app::decider::{Decider, Repository};
//! use quorate_app::reception::{Authorized, Envelope, Observed, Traced};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command) -> Result<(), Box<dyn std::error::Error>>
//! # where D::Command: Send + 'static {
//! let orders = ServiceBuilder::new()
//!     .layer(Traced::new("orders"))
//!     .layer(Observed::new(|seen| println!("{} took {:?}", seen.outcome, seen.took)))
//!     .layer(Authorized::new(|envelope: &Envelope<D::Command>| match envelope.context.created_by.is_empty() {
//!         true => Err("nobody asks for it".into()),
//!         false => Ok(()),
//!     }))
//!     .service(orders);
//! let envelope = Envelope::new("42", pay).command_id("cmd-91");
//! let done = orders.oneshot(envelope).await?;
//! # let _ = done; Ok(()) }
//! ```
//!
//! **HTTP** (feature `http`). `http::commands(orders)` is an axum router that takes `POST /ID` with a command as JSON; the
//! `Idempotency-Key` is its command id. Answers and errors are axum responses.
//!
//! **Queues.** [`Inbox`] takes commands from a consumer group: an event is a command, its id the command id, so that a
//! repeated delivery is carried out once.

mod envelope;
#[cfg(feature = "http")]
pub mod http;
mod inbox;
mod layers;
mod service;

pub use envelope::Envelope;
pub use inbox::{Inbox, OnRefusal};
pub use layers::{Authorize, Authorized, Observe, Observed, Seen, Trace, Traced};
pub use service::Answering;

#[cfg(test)]
mod tests;
