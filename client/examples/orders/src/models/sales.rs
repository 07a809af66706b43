//! The sales by day, in UTC.

use quorate_app::evolution::EventSet;
use quorate_app::projection::{Handler, HandlerError};
use quorate_app::sqlx;
use quorate_client::RecordedEvent;
use serde::{Deserialize, Serialize};

use super::sql::{Columns, Database, SqlModel, signed};
use crate::domain::{OrderEvent, OrderKey};

/// The name of the projection, and of its table.
pub(super) const NAME: &str = "sales";
/// The length of a day in RFC 3339.
const DAY_BYTES: usize = "2026-11-30".len();

/// The sales of a tenant on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalesDay {
    /// The day, as in `2026-11-30`.
    pub day: String,
    pub created: u64,
    pub submitted: u64,
    pub completed: u64,
    pub cancelled: u64,
    /// The price of the orders that were completed on this day, in cents.
    pub revenue: u64,
}

/// The projection of sales.
pub(super) struct Sales;

impl<M: SqlModel> Handler<M> for Sales {
    async fn set_up(&self, model: &mut M) -> Result<(), HandlerError> {
        let create = format!(
            "CREATE TABLE {} (tenant TEXT NOT NULL, day TEXT NOT NULL, created BIGINT NOT NULL, \
             submitted BIGINT NOT NULL, completed BIGINT NOT NULL, cancelled BIGINT NOT NULL, \
             revenue BIGINT NOT NULL, PRIMARY KEY (tenant, day))",
            model.table(NAME)
        );
        Ok(model.run(&create, &[]).await?)
    }

    async fn apply(&self, model: &mut M, event: &RecordedEvent) -> Result<(), HandlerError> {
        let Some(key) = OrderKey::of(&event.stream) else { return Ok(()) };
        let (column, revenue) = match OrderEvent::decode(event)? {
            Some(OrderEvent::OrderCreated { .. }) => ("created", 0),
            Some(OrderEvent::OrderSubmitted { .. }) => ("submitted", 0),
            Some(OrderEvent::OrderCompleted { total, .. }) => ("completed", signed(total)?),
            Some(OrderEvent::OrderCancelled { .. }) => ("cancelled", 0),
            _ => return Ok(()),
        };
        let mut day = event.recorded_at.to_string();
        day.truncate(DAY_BYTES);
        let table = model.table(NAME);
        let (tenant, day) = ((&key.tenant).into(), (&day).into());
        let begin = format!(
            "INSERT INTO {table} VALUES ($1, $2, 0, 0, 0, 0, 0) ON CONFLICT (tenant, day) DO NOTHING"
        );
        let add = format!(
            "UPDATE {table} SET {column} = {column} + 1, revenue = revenue + $3 \
             WHERE tenant = $1 AND day = $2"
        );
        let mut values = vec![tenant, day];
        model.run(&begin, &values).await?;
        values.push(revenue.into());
        Ok(model.run(&add, &values).await?)
    }
}

/// Returns the sales of a tenant from one day to another; an empty text is no bound.
pub(super) async fn list(
    database: &Database,
    tenant: &str,
    from: &str,
    to: &str,
) -> Result<Vec<SalesDay>, sqlx::Error> {
    let select = format!(
        "SELECT day, created, submitted, completed, cancelled, revenue FROM {} WHERE tenant = $1 \
         AND day >= $2 AND ($3 = '' OR day <= $3) ORDER BY day",
        database.table(NAME, NAME)
    );
    database.fetch(&select, &[tenant.into(), from.into(), to.into()], day_of).await
}

fn day_of(row: &dyn Columns) -> Result<SalesDay, sqlx::Error> {
    Ok(SalesDay {
        day: row.text("day")?,
        created: row.count("created")?,
        submitted: row.count("submitted")?,
        completed: row.count("completed")?,
        cancelled: row.count("cancelled")?,
        revenue: row.count("revenue")?,
    })
}
