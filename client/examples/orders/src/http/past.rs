//! The past of an order: its state at a time, and who did what. Both are read from the log itself.

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use quorate_app::decider::Context;
use quorate_client::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Api;
use super::commands::OrderPath;
use super::problem::Problem;
use crate::domain::Order;

#[derive(Deserialize)]
pub(super) struct At {
    /// The time, as in `2026-11-30T12:00:00Z`.
    at: String,
}

/// An order as it was.
#[derive(Serialize)]
pub(super) struct Past {
    version: u64,
    order: Order,
    total: u64,
}

/// One line of an order's history.
#[derive(Serialize)]
pub(super) struct Entry {
    version: u64,
    at: String,
    #[serde(rename = "type")]
    kind: String,
    data: Value,
    by: String,
    command: Option<String>,
    correlation: String,
}

pub(super) async fn state(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    Query(At { at }): Query<At>,
    Extension(context): Extension<Context>,
) -> Result<Json<Past>, Problem> {
    let time = Timestamp::parse(&at).map_err(Problem::invalid)?;
    let then = api.orders.load(order).tenant(context.tenant).until(time).await?;
    let order = Order::clone(&then.state);
    Ok(Json(Past { version: then.version.0, total: order.total(), order }))
}

pub(super) async fn history(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    Extension(context): Extension<Context>,
) -> Result<Json<Vec<Entry>>, Problem> {
    let history = api.orders.history(order).tenant(context.tenant).await?;
    let entries = history.into_iter().map(|entry| Entry {
        version: entry.event.version.0,
        at: entry.event.recorded_at.to_string(),
        kind: entry.event.kind.to_string(),
        data: serde_json::from_slice(&entry.event.data).unwrap_or_default(),
        by: entry.context.created_by,
        command: entry.command_id,
        correlation: entry.context.correlation_id,
    });
    Ok(Json(entries.collect()))
}
