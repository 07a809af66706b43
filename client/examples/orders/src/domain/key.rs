//! The key of an order: the tenant, and the order's id within it.

use std::fmt;

use quorate_app::decider::Decider;
use quorate_client::StreamName;

use super::order::Order;
use super::payment::Payment;

/// The key of an order. Its `Display` form, `acme/42`, is also the instance of its payment process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderKey {
    /// The tenant: the path in which all of its streams lie.
    pub tenant: String,
    /// The order's id within the tenant.
    pub id: String,
}

impl OrderKey {
    /// Returns the key of the order that a stream is about: `acme/42` for `acme/order-42` and `acme/payment-42`.
    pub fn of(stream: &StreamName) -> Option<OrderKey> {
        let (tenant, name) = stream.as_str().rsplit_once('/')?;
        let (category, id) = name.split_once('-')?;
        let is_ours = category == Order::CATEGORY || category == Payment::CATEGORY;
        is_ours.then(|| OrderKey { tenant: tenant.to_owned(), id: id.to_owned() })
    }

    /// Reads a key from its `Display` form.
    pub fn parse(text: &str) -> Option<OrderKey> {
        let (tenant, id) = text.rsplit_once('/')?;
        Some(OrderKey { tenant: tenant.to_owned(), id: id.to_owned() })
    }

    /// Returns the name of the order's stream.
    pub fn order_stream(&self) -> String {
        format!("{}/{}-{}", self.tenant, Order::CATEGORY, self.id)
    }

    /// Returns the name of the stream of the order's payment.
    pub fn payment_stream(&self) -> String {
        format!("{}/{}-{}", self.tenant, Payment::CATEGORY, self.id)
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}
