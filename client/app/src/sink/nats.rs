//! NATS JetStream: the sink publishes each event, and waits for the acknowledgement.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Client, HeaderMap, HeaderValue};
use quorate_client::{RecordedEvent, json_line};

use crate::sink::error::SinkError;
use crate::sink::runner::Sink;

/// The time within which a server must acknowledge.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes events to a JetStream stream, each as the JSON object that `quorate read --json` prints.
///
/// The subject is a template such as `events.{category}.{type}`. `{stream}`, `{category}` and `{type}` are
/// replaced by those of the event, with `_` for characters that must not be in a part of a subject: `.`,
/// `*`, `>` and blanks. `Nats-Msg-Id` is the event's id, so that the server drops a repetition within the
/// stream's duplicate window (by default two minutes). Further headers are `Quorate-Stream`,
/// `Quorate-Version`, `Quorate-Position` and `Quorate-Type`.
///
/// An event is delivered when the server has acknowledged it. While no stream takes the subject, or no
/// server can be reached, it is tried again; an event larger than the server allows is parked.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_app::sink::{Nats, SinkRunner};
/// let nats = Nats::connect("nats://localhost:4222", "events.{category}.{type}").await?;
/// SinkRunner::new(client.group("orders-to-nats"), nats).run().await?;
/// # Ok(()) }
/// ```
pub struct Nats {
    context: Context,
    subject: String,
}

opaque_debug!(Nats);

/// The reason why a sink cannot be made.
///
/// ```no_run
/// # async fn example() -> Result<(), quorate_app::sink::NatsError> {
/// use quorate_app::sink::{Nats, NatsError};
/// let nats = match Nats::connect("nats://localhost:4222", "events.{type}").await {
///     Err(NatsError::Connect(why)) => panic!("is the server there? {why}"),
///     connected => connected?,
/// };
/// # let _ = nats; Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The template is not valid.
    #[error("`{subject}` is no template of subjects: {why}")]
    Subject {
        /// The template.
        subject: String,
        /// The reason.
        why: &'static str,
    },
    /// No server was reached.
    #[error("no NATS server is reached: {0}")]
    Connect(String),
}

impl Nats {
    /// Connects to a server (`nats://host:port`); a lost connection is made again automatically.
    pub async fn connect(address: &str, subject: &str) -> Result<Nats, NatsError> {
        check(subject)?;
        let client = async_nats::connect(address).await;
        Nats::with_client(client.map_err(|error| NatsError::Connect(error.to_string()))?, subject)
    }

    /// Publishes over an existing connection, for example with TLS or credentials.
    pub fn with_client(client: Client, subject: &str) -> Result<Nats, NatsError> {
        check(subject)?;
        let mut context = async_nats::jetstream::new(client);
        context.set_timeout(TIMEOUT);
        Ok(Nats { context, subject: subject.to_owned() })
    }

    async fn publish(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let message = PublishMessage::build()
            .headers(headers(event)?)
            .message_id(event.id.to_string())
            .payload(json_line(event).into());
        let sent = self.context.send_publish(subject_of(&self.subject, event), message).await;
        sent.map_err(|error| refusal(&error))?.await.map_err(|error| refusal(&error))?;
        Ok(())
    }
}

impl Sink for Nats {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        self.publish(event).await
    }
}

fn refusal(error: &PublishError) -> SinkError {
    let reason = error.to_string();
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => SinkError::poison(reason),
        _ => SinkError::retry(reason),
    }
}

fn headers(event: &RecordedEvent) -> Result<HeaderMap, SinkError> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Quorate-Stream", event.stream.to_string()),
        ("Quorate-Version", event.version.to_string()),
        ("Quorate-Position", event.position.to_string()),
        ("Quorate-Type", event.kind.to_string()),
    ] {
        let value: HeaderValue = value
            .parse()
            .map_err(|_| SinkError::poison(format!("`{value}` cannot stand in a header")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Returns the subject of an event.
fn subject_of(template: &str, event: &RecordedEvent) -> String {
    let token = |text: &str| {
        let replaced = |one: char| match one {
            '.' | '*' | '>' => '_',
            blank if blank.is_whitespace() => '_',
            other => other,
        };
        text.chars().map(replaced).collect::<String>()
    };
    template
        .replace("{category}", &token(event.stream.category()))
        .replace("{type}", &token(event.kind.as_str()))
        .replace("{stream}", &token(event.stream.as_str()))
}

fn check(subject: &str) -> Result<(), NatsError> {
    let refused = |why| Err(NatsError::Subject { subject: subject.to_owned(), why });
    if subject.chars().any(|one| one.is_whitespace() || matches!(one, '*' | '>')) {
        return refused("it holds blanks or wildcards");
    }
    match subject.split('.').any(str::is_empty) {
        true => refused("a part of it is empty"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{Event, StreamName, Timestamp};

    use super::*;

    #[test]
    fn a_subject_is_made_of_the_events_names() {
        let stream = StreamName::new("acme.de/eu/order-4 2").expect("a name");
        let event = Event::new("Paid > 10", "").expect("an event");
        let event = event.recorded(1, stream, 1, Timestamp(0));
        assert_eq!(subject_of("events.{category}.{type}", &event), "events.order.Paid___10");
        assert_eq!(subject_of("{stream}", &event), "acme_de/eu/order-4_2");
    }

    #[test]
    fn a_template_with_wildcards_or_empty_parts_is_refused() {
        for template in ["", "a..b", "a.", "a b", "a.*", "a.>"] {
            assert!(matches!(check(template), Err(NatsError::Subject { .. })), "{template}");
        }
        check("events.{category}").expect("a template");
    }
}
