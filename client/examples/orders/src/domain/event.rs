//! The events of orders and payments, as they are written in the log.
//!
//! An event says all that its readers need (a completed order also says whose it is), so that a read model needs no
//! other events to understand it.

use quorate_app::evolution::{JsonEvents, Upcast};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Some pieces of an article, at one price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The number of the article.
    pub sku: String,
    /// The number of pieces.
    pub quantity: u32,
    /// The price of one piece, in cents.
    pub unit_price: u64,
}

impl Item {
    /// Returns the price of all pieces, in cents.
    pub fn price(&self) -> u64 {
        u64::from(self.quantity) * self.unit_price
    }
}

/// The events of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderEvent {
    OrderCreated { customer: String },
    ItemAdded(Item),
    ItemRemoved(Item),
    OrderSubmitted { customer: String, total: u64 },
    OrderCompleted { customer: String, total: u64 },
    OrderCancelled { customer: String, reason: String },
}

impl JsonEvents for OrderEvent {
    /// In the first schema an item was one piece: `{"sku":"tea","price":350}`.
    const UPCASTS: &'static [Upcast] = &[Upcast::data(
        "ItemAdded",
        1,
        |old| json!({ "sku": old["sku"], "quantity": 1, "unit_price": old["price"] }),
    )];
}

/// The events of a payment, which is that of the order of the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentEvent {
    PaymentRequested { customer: String, amount: u64 },
    PaymentReceived { amount: u64, reference: String },
    PaymentWithdrawn { reason: String },
    PaymentRefunded { amount: u64, reason: String },
}

impl JsonEvents for PaymentEvent {}
