//! Commands from a consumer group: each event is a command.

use std::error::Error;
use std::sync::Arc;

use quorate_client::RecordedEvent;
use tower::{Service, ServiceExt};

use super::envelope::Envelope;
use crate::decider::{CommandFailure, Context};
use crate::sink::{Sink, SinkError};

/// The action on a command that was refused.
///
/// ```
/// # use quorate_app::decider::{Decider, Repository};
/// # use quorate_app::reception::{Envelope, Inbox, OnRefusal};
/// # fn example<D: Decider>(orders: Repository<D>) -> Inbox<Repository<D>, D::Command>
/// # where D::Command: serde::de::DeserializeOwned + Send + 'static {
/// // A refused payment is final; nobody has to look at it.
/// Inbox::new(orders, |event| Ok(Envelope::new(event.stream.as_str(), event.json()?))).on_refusal(OnRefusal::Settle)
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefusal {
    /// Its event is parked with the reason, among the group's dead letters.
    #[default]
    Park,
    /// It is settled: a refusal is an answer, too. A layer around the service may pass it on.
    Settle,
}

type Open<C> =
    dyn Fn(&RecordedEvent) -> Result<Envelope<C>, Box<dyn Error + Send + Sync>> + Send + Sync;

/// Carries out the commands that a consumer group hands out: a [`Sink`], for a
/// [`SinkRunner`](crate::sink::SinkRunner).
///
/// The id of the event is the command id, so a repeated delivery is carried out once; its correlation, user and tenant
/// are the command's, and the event is the cause, unless the envelope says otherwise. A command that may succeed later
/// is tried again as the group is set; one that cannot be read is parked.
///
/// ```no_run
/// use quorate_app::decider::{Decider, Repository};
/// use quorate_app::reception::{Envelope, Inbox};
/// use quorate_app::sink::SinkRunner;
/// use quorate_client::{Client, Query, Strategy};
///
/// # async fn example<D: Decider>(client: Client, orders: Repository<D>) -> Result<(), Box<dyn std::error::Error>>
/// # where D::Command: serde::de::DeserializeOwned + Send + 'static {
/// let group = client.group("order-commands");
/// group.create(Query::category("orderInbox")).strategy(Strategy::ByStream).send().await?;
/// // The commands to order 42 are events in `orderInbox-42`.
/// let inbox = Inbox::new(orders, |event| {
///     let (_, id) = event.stream.as_str().split_once('-').ok_or("no id")?;
///     Ok(Envelope::new(id, event.json()?))
/// });
/// SinkRunner::new(group, inbox).run().await?;
/// # Ok(()) }
/// ```
pub struct Inbox<S, C> {
    service: S,
    open: Arc<Open<C>>,
    on_refusal: OnRefusal,
}

opaque_debug!(Inbox<S, C>);

impl<S, C> Inbox<S, C> {
    /// Makes an inbox; `open` makes a command of an event.
    pub fn new(
        service: S,
        open: impl Fn(&RecordedEvent) -> Result<Envelope<C>, Box<dyn Error + Send + Sync>>
        + Send
        + Sync
        + 'static,
    ) -> Inbox<S, C> {
        Inbox { service, open: Arc::new(open), on_refusal: OnRefusal::Park }
    }

    /// Sets the action on a command that was refused, or is not permitted.
    #[must_use]
    pub fn on_refusal(mut self, on_refusal: OnRefusal) -> Inbox<S, C> {
        self.on_refusal = on_refusal;
        self
    }

    fn envelope(&self, event: &RecordedEvent) -> Result<Envelope<C>, SinkError> {
        let opened = (self.open)(event);
        let mut envelope = opened.map_err(|error| SinkError::poison(error.to_string()))?;
        envelope.command_id.get_or_insert_with(|| event.id.to_string());
        let Context { correlation_id, causation_id, created_by, tenant } =
            Context::following(event);
        let own = &mut envelope.context;
        for (own, followed) in [
            (&mut own.correlation_id, correlation_id),
            (&mut own.causation_id, causation_id),
            (&mut own.created_by, created_by),
            (&mut own.tenant, tenant),
        ] {
            if own.is_empty() {
                *own = followed;
            }
        }
        Ok(envelope)
    }
}

impl<S, C> Sink for Inbox<S, C>
where
    S: Service<Envelope<C>, Error: CommandFailure + Send, Response: Send, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    C: Send + 'static,
{
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let envelope = self.envelope(event)?;
        let Err(error) = self.service.clone().oneshot(envelope).await else { return Ok(()) };
        let is_refused = matches!(error.kind(), "refused" | "forbidden");
        match self.on_refusal {
            OnRefusal::Settle if is_refused => Ok(()),
            _ if error.is_transient() => Err(SinkError::retry(error.to_string())),
            _ => Err(SinkError::poison(error.to_string())),
        }
    }
}
