//! An order: what it is made of, and what may be done with it.

use std::collections::BTreeMap;
use std::fmt;

use quorate_app::decider::Decider;
use serde::{Deserialize, Serialize};

use super::event::{Item, OrderEvent};

/// The largest number of pieces of one article.
const QUANTITY_MAX: u32 = 10_000;
/// The highest price of one piece, in cents.
const UNIT_PRICE_MAX: u64 = 100_000_000;
/// The largest number of articles.
const LINES_MAX: usize = 100;

/// The state of an order, on which its commands are decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub status: Status,
    pub customer: String,
    /// The items by their articles.
    pub lines: BTreeMap<String, Item>,
}

/// The stage of an order's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody has created it.
    #[default]
    Missing,
    Open,
    Submitted,
    Completed,
    Cancelled,
}

/// The commands to an order. It is completed by its payment, and so by no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    Create { customer: String },
    AddItem(Item),
    RemoveItem { sku: String },
    Submit,
    Cancel { reason: String },
}

/// The reason why a command to an order is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such order")]
    Missing,
    #[error("the order exists already")]
    Exists,
    #[error("the order is {0}")]
    Stage(Status),
    #[error("the order has no items")]
    Empty,
    #[error("the order has no `{0}`")]
    NoSuchItem(String),
    #[error("the order has `{sku}` already, for {unit_price}")]
    OtherPrice { sku: String, unit_price: u64 },
    #[error("{0}")]
    Invalid(&'static str),
}

impl Order {
    /// Returns the price of all items, in cents.
    pub fn total(&self) -> u64 {
        self.lines.values().map(Item::price).sum()
    }

    fn add(&self, item: &Item) -> Result<Vec<OrderEvent>, Refusal> {
        let known = self.lines.get(&item.sku);
        let before = known.map_or(0, |known| known.quantity);
        if item.sku.is_empty() {
            return Err(Refusal::Invalid("an item needs an article"));
        }
        if item.quantity == 0 || item.quantity > QUANTITY_MAX - before {
            return Err(Refusal::Invalid("an order has 1 to 10,000 pieces of an article"));
        }
        if item.unit_price == 0 || item.unit_price > UNIT_PRICE_MAX {
            return Err(Refusal::Invalid("a piece costs from 1 cent to a million"));
        }
        match known {
            Some(known) if known.unit_price != item.unit_price => {
                Err(Refusal::OtherPrice { sku: known.sku.clone(), unit_price: known.unit_price })
            }
            None if self.lines.len() == LINES_MAX => {
                Err(Refusal::Invalid("an order has at most 100 articles"))
            }
            _ => Ok(vec![OrderEvent::ItemAdded(item.clone())]),
        }
    }

    fn remove(&self, sku: &str) -> Result<Vec<OrderEvent>, Refusal> {
        match self.lines.get(sku) {
            Some(item) => Ok(vec![OrderEvent::ItemRemoved(item.clone())]),
            None => Err(Refusal::NoSuchItem(sku.to_owned())),
        }
    }

    fn submit(&self) -> Result<Vec<OrderEvent>, Refusal> {
        if self.lines.is_empty() {
            return Err(Refusal::Empty);
        }
        let (customer, total) = (self.customer.clone(), self.total());
        Ok(vec![OrderEvent::OrderSubmitted { customer, total }])
    }
}

impl Decider for Order {
    const CATEGORY: &'static str = "order";
    type State = Order;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = Refusal;

    fn evolve(order: &mut Order, event: OrderEvent) {
        match event {
            OrderEvent::OrderCreated { customer } => {
                *order = Order { status: Status::Open, customer, ..Order::default() };
            }
            OrderEvent::ItemAdded(item) => {
                let line = order.lines.entry(item.sku.clone());
                let line = line.or_insert(Item { quantity: 0, ..item.clone() });
                line.quantity += item.quantity;
            }
            OrderEvent::ItemRemoved(item) => {
                order.lines.remove(&item.sku);
            }
            OrderEvent::OrderSubmitted { .. } => order.status = Status::Submitted,
            OrderEvent::OrderCompleted { .. } => order.status = Status::Completed,
            OrderEvent::OrderCancelled { .. } => order.status = Status::Cancelled,
        }
    }

    fn decide(order: &Order, command: &OrderCommand) -> Result<Vec<OrderEvent>, Refusal> {
        match (order.status, command) {
            (Status::Missing, OrderCommand::Create { customer }) if customer.is_empty() => {
                Err(Refusal::Invalid("an order needs a customer"))
            }
            (Status::Missing, OrderCommand::Create { customer }) => {
                Ok(vec![OrderEvent::OrderCreated { customer: customer.clone() }])
            }
            (Status::Missing, _) => Err(Refusal::Missing),
            (_, OrderCommand::Create { .. }) => Err(Refusal::Exists),
            (Status::Open, OrderCommand::AddItem(item)) => order.add(item),
            (Status::Open, OrderCommand::RemoveItem { sku }) => order.remove(sku),
            (Status::Open, OrderCommand::Submit) => order.submit(),
            (Status::Open | Status::Submitted, OrderCommand::Cancel { reason }) => {
                let (customer, reason) = (order.customer.clone(), reason.clone());
                Ok(vec![OrderEvent::OrderCancelled { customer, reason }])
            }
            (status, _) => Err(Refusal::Stage(status)),
        }
    }
}

impl Status {
    /// Returns the name, as in JSON and in the read models.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Missing => "missing",
            Status::Open => "open",
            Status::Submitted => "submitted",
            Status::Completed => "completed",
            Status::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
