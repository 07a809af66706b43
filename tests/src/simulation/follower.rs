//! A client that follows: it takes events as they come, sometimes too slowly, and records the messages.

use std::time::Duration;

use quorate_client::{Client, Cursor, Message, Subscription};
use quorate_proto::{Category, Consistency, Query, QueryItem, Read, Scope, Source, StreamName};

use super::client::{Phase, connect, request};
use super::trace::Trace;
use crate::history::{BegunSubscription, Received, Recorder};
use crate::random::Random;

/// The time that the nodes may take to answer a request while the storm lasts.
const DEADLINE: Duration = Duration::from_secs(2);
/// The time that a subscription may take to hand out the last event once everything works again.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client that follows.
pub(super) struct Follower {
    pub(super) number: u32,
    pub(super) random: Random,
    pub(super) recorder: Recorder,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
    pub(super) addresses: Vec<String>,
}

impl Follower {
    /// Follows until all other clients are done, and then to the end of the log.
    pub(super) async fn run(mut self) -> turmoil::Result {
        self.phase.founded().await;
        let client = self.draw_client();
        let mut read = self.draw_read();
        while !self.phase.is_done() {
            let (mut subscription, noted) = self.begin(&client, &read);
            let lasts = Duration::from_millis(self.random.between(500, 8_000));
            let ends = tokio::time::Instant::now() + lasts;
            loop {
                let over = tokio::time::timeout_at(ends, subscription.try_next()).await;
                let Ok(message) = over else { break };
                self.take(&noted, message?, &mut read);
                if self.random.chance(3) {
                    let pause = Duration::from_millis(self.random.below(400));
                    tokio::time::sleep(pause).await;
                }
            }
        }
        self.finish(&client, &mut read).await
    }

    /// Checks that once nothing is wrong any more, all events are handed out.
    async fn finish(&mut self, client: &Client, read: &mut Read) -> turmoil::Result {
        let end = client.read(quorate_client::Query::everything()).limit(0).collect().await?.as_of;
        let (mut subscription, noted) = self.begin(client, read);
        let reached = async {
            loop {
                let message = subscription.try_next().await?;
                let is_end = matches!(
                    &message,
                    Some(Message::CaughtUp(at) | Message::Progress(at)) if at.position >= end
                );
                self.take(&noted, message, read);
                if is_end {
                    return Ok::<_, Box<dyn std::error::Error>>(());
                }
            }
        };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(reached) => reached,
            Err(_) => Err(format!("follower {} does not reach {end}", self.number))?,
        }
    }

    fn begin(&self, client: &Client, read: &Read) -> (Subscription, BegunSubscription) {
        let noted = self.recorder.history().begin_subscription(self.number, read.clone());
        (request(client, read).after(read.bounds.after).follow(), noted)
    }

    /// Records a message; the next subscription goes on after it.
    fn take(&self, noted: &BegunSubscription, message: Option<Message>, read: &mut Read) {
        let Some(message) = message else { return };
        let number = |at: &Cursor| at.version.map_or(at.position.0, u64::from);
        let version = |at: &Cursor| at.version.map(u64::from);
        let (received, after) = match message {
            Message::Event(event) => {
                let of_stream = matches!(read.source, Source::Stream { .. });
                let after = if of_stream { event.version.0 } else { event.position.0 };
                (Received::Event(event), after)
            }
            Message::CaughtUp(at) => (Received::CaughtUp(at.position, version(&at)), number(&at)),
            Message::FellBehind(at) => {
                (Received::FellBehind(at.position, version(&at)), number(&at))
            }
            Message::Progress(at) => (Received::Progress(at.position, version(&at)), number(&at)),
        };
        read.bounds.after = read.bounds.after.max(after);
        self.trace.note(&format!("follower-{}", self.number), format_args!("at {after}"));
        self.recorder.history().receive(noted, received);
    }

    fn draw_client(&mut self) -> Client {
        if self.random.chance(50) {
            return connect(&self.addresses, false, DEADLINE);
        }
        let address = self.random.pick(&self.addresses).clone();
        connect(&[address], true, DEADLINE)
    }

    fn draw_read(&mut self) -> Read {
        let of_stream = |name| Read::stream(StreamName::new(name).expect("a name"));
        let mut read = match self.random.below(5) {
            0 => of_stream("order-1"),
            1 => of_stream("session-1"),
            2 => {
                let scope = Some(Scope::Category(Category::new("order").expect("a name")));
                Read::query(Query { items: vec![QueryItem { scope, ..QueryItem::default() }] })
            }
            _ => Read::query(Query::everything()),
        };
        if self.random.chance(30) {
            read.consistency = Consistency::Local;
        }
        read
    }
}
