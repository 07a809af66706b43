//! Commands over HTTP. The `Idempotency-Key` is the id of the command: repeated, it gets the first answer.

use axum::extract::{Path, State};
use quorate_app::decider::{CommandError, Decider, Handled, Repository};
use quorate_app::reception::http::CommandHeaders;
use serde::Deserialize;

use super::Api;
use super::body::Body;
use crate::domain::{Item, Order, OrderCommand, Payment, PaymentCommand, PaymentRefusal, Refusal};

type OrderAnswer = Result<Handled<Order>, CommandError<Refusal>>;
type PaymentAnswer = Result<Handled<Payment>, CommandError<PaymentRefusal>>;

/// The part of the path that names the order.
#[derive(Deserialize)]
pub(super) struct OrderPath {
    pub(super) order: String,
}

#[derive(Deserialize)]
pub(super) struct ItemPath {
    order: String,
    sku: String,
}

#[derive(Deserialize)]
pub(super) struct Create {
    customer: String,
}

#[derive(Deserialize)]
pub(super) struct Cancel {
    reason: String,
}

#[derive(Deserialize)]
pub(super) struct ReceivePayment {
    amount: u64,
    reference: String,
}

pub(super) async fn create(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    headers: CommandHeaders,
    Body(Create { customer }): Body<Create>,
) -> OrderAnswer {
    carry_out(&api.orders, order, headers, &OrderCommand::Create { customer }).await
}

pub(super) async fn add_item(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    headers: CommandHeaders,
    Body(item): Body<Item>,
) -> OrderAnswer {
    carry_out(&api.orders, order, headers, &OrderCommand::AddItem(item)).await
}

pub(super) async fn remove_item(
    State(api): State<Api>,
    Path(ItemPath { order, sku }): Path<ItemPath>,
    headers: CommandHeaders,
) -> OrderAnswer {
    carry_out(&api.orders, order, headers, &OrderCommand::RemoveItem { sku }).await
}

pub(super) async fn submit(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    headers: CommandHeaders,
) -> OrderAnswer {
    carry_out(&api.orders, order, headers, &OrderCommand::Submit).await
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    headers: CommandHeaders,
    Body(Cancel { reason }): Body<Cancel>,
) -> OrderAnswer {
    carry_out(&api.orders, order, headers, &OrderCommand::Cancel { reason }).await
}

/// Takes the bank's word that the money has arrived; the bank repeats it until it is answered.
pub(super) async fn receive_payment(
    State(api): State<Api>,
    Path(OrderPath { order }): Path<OrderPath>,
    headers: CommandHeaders,
    Body(ReceivePayment { amount, reference }): Body<ReceivePayment>,
) -> PaymentAnswer {
    let command = PaymentCommand::Receive { amount, reference };
    carry_out(&api.payments, order, headers, &command).await
}

async fn carry_out<D: Decider>(
    repository: &Repository<D>,
    id: String,
    headers: CommandHeaders,
    command: &D::Command,
) -> Result<Handled<D::State>, CommandError<D::Error>> {
    let handle = repository.handle(id, command).context(headers.context);
    match headers.command_id {
        Some(command_id) => handle.command_id(command_id).await,
        None => handle.await,
    }
}
