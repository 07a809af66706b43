//! The orders as customers see them, with their items and the state of their payment.

use quorate_app::evolution::EventSet;
use quorate_app::projection::{Handler, HandlerError};
use quorate_app::sqlx;
use quorate_client::RecordedEvent;
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::sql::{Columns, Database, SqlModel, Value, signed};
use crate::domain::{Item, OrderEvent, OrderKey, PaymentEvent, Status};

/// The name of the projection.
pub(super) const NAME: &str = "orders";
/// The largest number of rows in one answer.
const ROWS_MAX: i64 = 100;

/// An order in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    pub id: String,
    pub customer: String,
    pub status: String,
    /// The state of the payment: empty, `requested`, `received`, `withdrawn` or `refunded`.
    pub payment: String,
    /// The price of all items, in cents.
    pub total: u64,
    /// The position of the last event that changed it.
    pub position: u64,
}

/// An order with its items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPage {
    #[serde(flatten)]
    pub order: OrderRow,
    pub items: Vec<Item>,
}

/// The orders that a list shows; an empty text lets all through.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    pub customer: String,
    pub status: String,
}

/// The projection of orders.
pub(super) struct Orders {
    pub(super) cache: Option<Cache>,
}

/// The change that an event makes to the row of its order; an empty text leaves a column as it is.
#[derive(Default)]
struct Change {
    status: &'static str,
    payment: &'static str,
    added: i64,
}

impl Change {
    fn status(status: Status) -> Change {
        Change { status: status.as_str(), ..Change::default() }
    }

    fn payment(payment: &'static str) -> Change {
        Change { payment, ..Change::default() }
    }

    fn added(added: i64) -> Change {
        Change { added, ..Change::default() }
    }
}

impl<M: SqlModel> Handler<M> for Orders {
    async fn set_up(&self, model: &mut M) -> Result<(), HandlerError> {
        let (orders, items) = (model.table("orders"), model.table("order_items"));
        let by_customer = model.index("orders_by_customer");
        for statement in [
            format!(
                "CREATE TABLE {orders} (tenant TEXT NOT NULL, id TEXT NOT NULL, customer TEXT NOT NULL, \
                 status TEXT NOT NULL, payment TEXT NOT NULL, total BIGINT NOT NULL, \
                 position BIGINT NOT NULL, PRIMARY KEY (tenant, id))"
            ),
            format!("CREATE INDEX {by_customer} ON {orders} (tenant, customer)"),
            format!(
                "CREATE TABLE {items} (tenant TEXT NOT NULL, id TEXT NOT NULL, sku TEXT NOT NULL, \
                 quantity BIGINT NOT NULL, unit_price BIGINT NOT NULL, PRIMARY KEY (tenant, id, sku))"
            ),
        ] {
            model.run(&statement, &[]).await?;
        }
        Ok(())
    }

    async fn apply(&self, model: &mut M, event: &RecordedEvent) -> Result<(), HandlerError> {
        let Some(key) = OrderKey::of(&event.stream) else { return Ok(()) };
        let change = match OrderEvent::decode(event)? {
            Some(order) => change_by_order(model, &key, order).await?,
            None => match PaymentEvent::decode(event)? {
                Some(payment) => change_by_payment(&payment),
                None => return Ok(()),
            },
        };
        let position = event.position.0;
        let update = format!(
            "UPDATE {} SET status = CASE WHEN $3 = '' THEN status ELSE $3 END, \
             payment = CASE WHEN $4 = '' THEN payment ELSE $4 END, total = total + $5, position = $6 \
             WHERE tenant = $1 AND id = $2",
            model.table("orders")
        );
        let Change { status, payment, added } = change;
        let (tenant, id) = (Value::from(&key.tenant), Value::from(&key.id));
        let changed = [status.into(), payment.into(), added.into(), signed(position)?.into()];
        let [status, payment, added, at] = changed;
        model.run(&update, &[tenant, id, status, payment, added, at]).await?;
        if let Some(cache) = &self.cache {
            // Before the commit: if it does not come about, the cache has lost a page, and nothing else.
            cache.outdate(&key, position).await;
        }
        Ok(())
    }
}

/// Applies an event of the order to its items, and returns the change to its row.
async fn change_by_order<M: SqlModel>(
    model: &mut M,
    key: &OrderKey,
    event: OrderEvent,
) -> Result<Change, HandlerError> {
    let (tenant, id) = (Value::from(&key.tenant), Value::from(&key.id));
    Ok(match event {
        OrderEvent::OrderCreated { customer } => {
            let insert =
                format!("INSERT INTO {} VALUES ($1, $2, $3, '', '', 0, 0)", model.table("orders"));
            model.run(&insert, &[tenant, id, Value::from(&customer)]).await?;
            Change::status(Status::Open)
        }
        OrderEvent::ItemAdded(item) => {
            let upsert = format!(
                "INSERT INTO {} AS known VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, id, sku) \
                 DO UPDATE SET quantity = known.quantity + excluded.quantity",
                model.table("order_items")
            );
            let (quantity, price) = (i64::from(item.quantity), signed(item.unit_price)?);
            let values = [tenant, id, Value::from(&item.sku), quantity.into(), price.into()];
            model.run(&upsert, &values).await?;
            Change::added(signed(item.price())?)
        }
        OrderEvent::ItemRemoved(item) => {
            let delete = format!(
                "DELETE FROM {} WHERE tenant = $1 AND id = $2 AND sku = $3",
                model.table("order_items")
            );
            model.run(&delete, &[tenant, id, Value::from(&item.sku)]).await?;
            Change::added(-signed(item.price())?)
        }
        OrderEvent::OrderSubmitted { .. } => Change::status(Status::Submitted),
        OrderEvent::OrderCompleted { .. } => Change::status(Status::Completed),
        OrderEvent::OrderCancelled { .. } => Change::status(Status::Cancelled),
    })
}

fn change_by_payment(event: &PaymentEvent) -> Change {
    Change::payment(match event {
        PaymentEvent::PaymentRequested { .. } => "requested",
        PaymentEvent::PaymentReceived { .. } => "received",
        PaymentEvent::PaymentWithdrawn { .. } => "withdrawn",
        PaymentEvent::PaymentRefunded { .. } => "refunded",
    })
}

/// Returns an order with its items, by one query: so both are of the same moment.
pub(super) async fn find(
    database: &Database,
    key: &OrderKey,
) -> Result<Option<OrderPage>, sqlx::Error> {
    let select = format!(
        "SELECT o.id, o.customer, o.status, o.payment, o.total, o.position, COALESCE(i.sku, '') AS sku, \
         COALESCE(i.quantity, 0) AS quantity, COALESCE(i.unit_price, 0) AS unit_price \
         FROM {} AS o LEFT JOIN {} AS i ON i.tenant = o.tenant AND i.id = o.id \
         WHERE o.tenant = $1 AND o.id = $2 ORDER BY i.sku",
        database.table(NAME, "orders"),
        database.table(NAME, "order_items")
    );
    let values = [Value::from(&key.tenant), Value::from(&key.id)];
    let rows = database.fetch(&select, &values, |row| Ok((order_of(row)?, item_of(row)?))).await?;
    let (orders, items): (Vec<OrderRow>, Vec<Item>) = rows.into_iter().unzip();
    // An order without items has one row, with an item that is none.
    let items = items.into_iter().filter(|item| item.quantity > 0).collect();
    Ok(orders.into_iter().next().map(|order| OrderPage { order, items }))
}

/// Returns the newest orders of a tenant that a filter lets through.
pub(super) async fn list(
    database: &Database,
    tenant: &str,
    filter: &OrderFilter,
) -> Result<Vec<OrderRow>, sqlx::Error> {
    let select = format!(
        "SELECT id, customer, status, payment, total, position FROM {} WHERE tenant = $1 \
         AND ($2 = '' OR customer = $2) AND ($3 = '' OR status = $3) ORDER BY position DESC LIMIT $4",
        database.table(NAME, "orders")
    );
    let OrderFilter { customer, status } = filter;
    let values = [tenant.into(), customer.into(), status.into(), ROWS_MAX.into()];
    database.fetch(&select, &values, order_of).await
}

fn order_of(row: &dyn Columns) -> Result<OrderRow, sqlx::Error> {
    Ok(OrderRow {
        id: row.text("id")?,
        customer: row.text("customer")?,
        status: row.text("status")?,
        payment: row.text("payment")?,
        total: row.count("total")?,
        position: row.count("position")?,
    })
}

fn item_of(row: &dyn Columns) -> Result<Item, sqlx::Error> {
    let quantity = u32::try_from(row.number("quantity")?);
    let quantity = quantity.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Item { sku: row.text("sku")?, quantity, unit_price: row.count("unit_price")? })
}
