//! The rules of orders and payments: pure functions, without a clock, a store or a network.

mod event;
mod key;
mod order;
mod payment;
#[cfg(test)]
mod tests;

pub use event::{Item, OrderEvent, PaymentEvent};
pub use key::OrderKey;
pub use order::{Order, OrderCommand, Refusal, Status};
pub use payment::{Payment, PaymentCommand, PaymentRefusal};
