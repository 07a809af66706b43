//! The customers' notifications: mails that a consumer group sends, with retries and dead letters.
//!
//! The group keeps in the cluster which events are done. A mail that fails is tried again after a delay that doubles;
//! after the last attempt its event is parked, with the reason, until somebody replays it.

use std::future::Future;

use quorate_app::evolution::EventSet;
use quorate_app::sink::{Sink, SinkError};
use quorate_client::{Client, GroupRef, Problem, Query, RecordedEvent, Strategy};

use crate::domain::{OrderEvent, OrderKey};
use crate::settings::Settings;

/// The name of the consumer group.
pub const GROUP: &str = "order-notifications";

/// A mail to a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The id of the event that it tells of: a mail that comes again has the same one.
    pub id: String,
    pub tenant: String,
    pub customer: String,
    pub text: String,
}

/// The reason why a mail was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// It may be sent later.
    #[error("the mail server is away: {0}")]
    Away(String),
    /// It will never be sent.
    #[error("`{0}` has no address")]
    NoAddress(String),
}

/// A way to send mails.
pub trait Mailer: Send + Sync + 'static {
    /// Sends a mail. One that was sent already, by its id, is not sent again.
    fn send(&self, mail: Mail) -> impl Future<Output = Result<(), MailError>> + Send;
}

/// Prints mails instead of sending them.
#[derive(Clone, Copy, Debug)]
pub struct Printer;

impl Mailer for Printer {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        println!("mail to {} of {}: {}", mail.customer, mail.tenant, mail.text);
        Ok(())
    }
}

/// Tells customers what happened to their orders.
#[derive(Clone, Copy, Debug)]
pub struct Notifications<M>(pub M);

impl<M: Mailer> Sink for Notifications<M> {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        // An event that cannot be read now may be readable by a later version: it is parked, not dropped.
        let mail = mail(event).map_err(SinkError::poison)?;
        let Some(mail) = mail else { return Ok(()) };
        self.0.send(mail).await.map_err(|error| match error {
            MailError::Away(_) => SinkError::retry(error.to_string()),
            MailError::NoAddress(_) => SinkError::poison(error.to_string()),
        })
    }
}

/// Returns the mail about an event; `None` if nobody is told of it.
fn mail(event: &RecordedEvent) -> Result<Option<Mail>, String> {
    let key = OrderKey::of(&event.stream).ok_or("the event is of no order")?;
    let order = &key.id;
    let (customer, text) = match OrderEvent::decode(event).map_err(|error| error.to_string())? {
        Some(OrderEvent::OrderSubmitted { customer, total }) => {
            (customer, format!("please pay {total} cents for your order {order}"))
        }
        Some(OrderEvent::OrderCompleted { customer, .. }) => {
            (customer, format!("thank you: your order {order} is on its way"))
        }
        Some(OrderEvent::OrderCancelled { customer, reason }) => {
            (customer, format!("your order {order} is cancelled: {reason}"))
        }
        _ => return Ok(None),
    };
    Ok(Some(Mail { id: event.id.to_string(), tenant: key.tenant, customer, text }))
}

/// Returns the group, which is made if it is not there.
pub async fn group(client: &Client, settings: &Settings) -> Result<GroupRef, Problem> {
    let told =
        Query::category("order").types(["OrderSubmitted", "OrderCompleted", "OrderCancelled"]);
    let group = client.group(GROUP);
    let create = group.create(told).strategy(Strategy::ByStream);
    create.attempts(settings.mail_attempts).retry_delay(settings.mail_delay).send().await?;
    Ok(group)
}
