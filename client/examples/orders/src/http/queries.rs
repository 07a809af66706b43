//! Queries over HTTP, answered by the read models.
//!
//! Each takes `at_least`, the position from a command's answer: then the answer shows what the command did.

use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use quorate_app::decider::Context;
use serde::Deserialize;

use super::Api;
use super::commands::OrderPath;
use super::problem::Problem;
use crate::domain::OrderKey;
use crate::models::{CustomerPage, OrderFilter, OrderPage, OrderRow, SalesDay};

#[derive(Deserialize)]
pub(super) struct AtLeast {
    #[serde(default)]
    at_least: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    customer: String,
    status: String,
    at_least: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SalesQuery {
    from: String,
    to: String,
    at_least: u64,
}

#[derive(Deserialize)]
pub(super) struct CustomerPath {
    customer: String,
}

pub(super) async fn order(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    Query(AtLeast { at_least }): Query<AtLeast>,
    Extension(context): Extension<Context>,
) -> Result<Json<OrderPage>, Problem> {
    let key = OrderKey { tenant: context.tenant, id: order };
    let found = api.models.order(&key, at_least).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("there is no order {}", key.id)))
}

pub(super) async fn orders(
    State(api): State<Api>,
    Query(ListQuery { customer, status, at_least }): Query<ListQuery>,
    Extension(context): Extension<Context>,
) -> Result<Json<Vec<OrderRow>>, Problem> {
    let filter = OrderFilter { customer, status };
    Ok(Json(api.models.orders(&context.tenant, &filter, at_least).await?))
}

pub(super) async fn customer(
    State(api): State<Api>,
    Path(CustomerPath { customer }): Path<CustomerPath>,
    Query(AtLeast { at_least }): Query<AtLeast>,
    Extension(context): Extension<Context>,
) -> Result<Json<CustomerPage>, Problem> {
    let found = api.models.customer(&context.tenant, &customer, at_least).await?;
    found.map(Json).ok_or_else(|| Problem::missing(format!("there is no customer {customer}")))
}

pub(super) async fn sales(
    State(api): State<Api>,
    Query(SalesQuery { from, to, at_least }): Query<SalesQuery>,
    Extension(context): Extension<Context>,
) -> Result<Json<Vec<SalesDay>>, Problem> {
    Ok(Json(api.models.sales(&context.tenant, &from, &to, at_least).await?))
}
