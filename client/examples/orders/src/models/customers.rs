//! The customers, with the numbers of their orders and what they have spent.

use quorate_app::evolution::EventSet;
use quorate_app::projection::{Handler, HandlerError};
use quorate_app::sqlx;
use quorate_client::RecordedEvent;
use serde::{Deserialize, Serialize};

use super::sql::{Columns, Database, SqlModel, signed};
use crate::domain::{OrderEvent, OrderKey};

/// The name of the projection, and of its table.
pub(super) const NAME: &str = "customers";

/// A customer, by the orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerPage {
    pub customer: String,
    pub orders: u64,
    pub completed: u64,
    pub cancelled: u64,
    /// The price of all completed orders, in cents.
    pub spent: u64,
}

/// The projection of customers.
pub(super) struct Customers;

impl<M: SqlModel> Handler<M> for Customers {
    async fn set_up(&self, model: &mut M) -> Result<(), HandlerError> {
        let create = format!(
            "CREATE TABLE {} (tenant TEXT NOT NULL, customer TEXT NOT NULL, orders BIGINT NOT NULL, \
             completed BIGINT NOT NULL, cancelled BIGINT NOT NULL, spent BIGINT NOT NULL, \
             PRIMARY KEY (tenant, customer))",
            model.table(NAME)
        );
        Ok(model.run(&create, &[]).await?)
    }

    async fn apply(&self, model: &mut M, event: &RecordedEvent) -> Result<(), HandlerError> {
        let Some(key) = OrderKey::of(&event.stream) else { return Ok(()) };
        let (customer, [orders, completed, cancelled, spent]) = match OrderEvent::decode(event)? {
            Some(OrderEvent::OrderCreated { customer }) => (customer, [1, 0, 0, 0]),
            Some(OrderEvent::OrderCompleted { customer, total }) => {
                (customer, [0, 1, 0, signed(total)?])
            }
            Some(OrderEvent::OrderCancelled { customer, .. }) => (customer, [0, 0, 1, 0]),
            _ => return Ok(()),
        };
        let add = format!(
            "INSERT INTO {} AS known VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, customer) \
             DO UPDATE SET orders = known.orders + excluded.orders, \
             completed = known.completed + excluded.completed, \
             cancelled = known.cancelled + excluded.cancelled, spent = known.spent + excluded.spent",
            model.table(NAME)
        );
        let (tenant, customer) = ((&key.tenant).into(), (&customer).into());
        let [orders, completed] = [orders.into(), completed.into()];
        let values = [tenant, customer, orders, completed, cancelled.into(), spent.into()];
        Ok(model.run(&add, &values).await?)
    }
}

/// Returns a customer of a tenant.
pub(super) async fn find(
    database: &Database,
    tenant: &str,
    customer: &str,
) -> Result<Option<CustomerPage>, sqlx::Error> {
    let select = format!(
        "SELECT customer, orders, completed, cancelled, spent FROM {} \
         WHERE tenant = $1 AND customer = $2",
        database.table(NAME, NAME)
    );
    let found = database.fetch(&select, &[tenant.into(), customer.into()], page_of).await?;
    Ok(found.into_iter().next())
}

fn page_of(row: &dyn Columns) -> Result<CustomerPage, sqlx::Error> {
    Ok(CustomerPage {
        customer: row.text("customer")?,
        orders: row.count("orders")?,
        completed: row.count("completed")?,
        cancelled: row.count("cancelled")?,
        spent: row.count("spent")?,
    })
}
