//! Deciders: aggregates whose commands are decided on the state that their events make.
//!
//! A [`Decider`] is a pair of pure functions. A [`Repository`] does the rest: it loads the state, decides, appends the
//! events on condition that nothing happened meanwhile, and decides again if something did.
//!
//! ```no_run
//! use quorate_app::decider::{CommandError, Decider, Repository};
//! use quorate_app::evolution::JsonEvents;
//! use quorate_client::Client;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! enum OrderEvent {
//!     OrderPlaced { total: u64 },
//!     OrderPaid { amount: u64 },
//! }
//!
//! impl JsonEvents for OrderEvent {}
//!
//! enum OrderCommand {
//!     Place { total: u64 },
//!     Pay { amount: u64 },
//! }
//!
//! #[derive(Debug, thiserror::Error)]
//! enum Refusal {
//!     #[error("the order is placed already")]
//!     Placed,
//!     #[error("{0} is more than is due")]
//!     TooMuch(u64),
//! }
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Order {
//!     is_placed: bool,
//!     due: u64,
//! }
//!
//! impl Decider for Order {
//!     const CATEGORY: &'static str = "order";
//!     type State = Order;
//!     type Command = OrderCommand;
//!     type Event = OrderEvent;
//!     type Error = Refusal;
//!
//!     fn evolve(order: &mut Order, event: OrderEvent) {
//!         match event {
//!             OrderEvent::OrderPlaced { total } => *order = Order { is_placed: true, due: total },
//!             OrderEvent::OrderPaid { amount } => order.due -= amount,
//!         }
//!     }
//!
//!     fn decide(order: &Order, command: &OrderCommand) -> Result<Vec<OrderEvent>, Refusal> {
//!         Ok(vec![match *command {
//!             OrderCommand::Place { .. } if order.is_placed => return Err(Refusal::Placed),
//!             OrderCommand::Place { total } => OrderEvent::OrderPlaced { total },
//!             OrderCommand::Pay { amount } if amount > order.due => return Err(Refusal::TooMuch(amount)),
//!             OrderCommand::Pay { amount } => OrderEvent::OrderPaid { amount },
//!         }])
//!     }
//! }
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Repository::<Order>::new(client).snapshots(100, 1);
//! match orders.handle("42", &OrderCommand::Pay { amount: 50 }).command_id("cmd-91").created_by("ann").await {
//!     Ok(done) => println!("due now: {}; read it at position {}", done.state.due, done.position),
//!     Err(CommandError::Refused(why)) => println!("no: {why}"),
//!     Err(error) if error.is_transient() => println!("again later, with the same command id: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(()) }
//! ```
//!
//! **Conflicts.** A decision is appended at exactly the version that it rests on, and not if the stream was deleted
//! meanwhile. After a conflict the command is decided again on fresh state, ten times by default; then it ends as
//! [`CommandError::Conflict`]. The commands of one process on one aggregate take turns.
//!
//! **Repetitions.** See [`Handle`].
//!
//! **Tests.** [`given`] these events, when that command comes, then … : without a store.
//!
//! **The past.** [`Load::at_version`] and [`Load::until`] give the state of an earlier moment, [`Loaded::changes_to`] the
//! difference between two, and [`Repository::history`] who did what.

/// Implements `Debug` for types that are generic over a decider: it shows only their names.
macro_rules! opaque_debug_decider {
    ($name:ident $(<$lifetime:lifetime>)?) => {
        impl<D: Decider> std::fmt::Debug for $name<$($lifetime,)? D> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

mod aggregate;
mod attempt;
mod cache;
mod change;
pub(crate) mod commands;
mod decide;
mod error;
mod handle;
mod history;
mod load;
mod loading;
mod repository;
mod scenario;
mod snapshots;
pub(crate) mod time;

pub use crate::context::Context;
pub use attempt::Handled;
pub use change::Change;
pub use decide::Decider;
pub use error::{CommandError, CommandFailure, Forbidden, LoadError};
pub use handle::Handle;
pub use history::{History, HistoryEntry};
pub use load::{Load, Loaded};
pub use repository::Repository;
pub use scenario::{Scenario, given};
pub use snapshots::{SnapshotError, Snapshots};
