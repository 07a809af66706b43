//! A consumer of the one group of a run: it settles its events, not always well, and notes the settlements.

use std::time::Duration;

use quorate_client::{Client, Consumer, EventId, Query, Strategy};
use quorate_proto::Position;

use super::client::{Phase, connect};
use super::trace::Trace;
use crate::history::{Fate, Recorder};
use crate::random::Random;

/// The name of the group.
const GROUP: &str = "everybody";
/// The deadline of the consumers' clients.
const DEADLINE: Duration = Duration::from_secs(2);
/// The time that a consumer may hold an event.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The time that a consumer that asks for more time may hold an event.
const EXTENDED_UP_TO: Duration = Duration::from_secs(10);
/// The attempts before an event is parked: so many that only consumers park events.
const ATTEMPTS: u32 = 100_000;
/// The time in which everything must be settled once everything works again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A consumer of the run.
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) strategy: Strategy,
    pub(super) random: Random,
    pub(super) recorder: Recorder,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
    pub(super) addresses: Vec<String>,
}

impl Member {
    /// Consumes until all others are done, and everything is settled.
    pub(super) async fn run(mut self) -> turmoil::Result {
        self.phase.founded().await;
        let everywhere = connect(&self.addresses, false, DEADLINE);
        self.create(&everywhere).await;
        let address = self.random.pick(&self.addresses).clone();
        let client = match self.random.chance(50) {
            true => everywhere.clone(),
            false => connect(&[address], true, DEADLINE),
        };
        while !self.phase.is_done() {
            let lasts = Duration::from_millis(self.random.between(1_000, 9_000));
            self.consume(&client, lasts).await?;
        }
        let finished = async {
            while !self.is_settled(&everywhere).await {
                self.consume(&client, Duration::from_secs(1)).await?;
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        };
        match tokio::time::timeout(PATIENCE, finished).await {
            Ok(finished) => finished?,
            Err(_) => Err("the group does not settle all there is".to_owned())?,
        }
        if self.number == 1 && self.random.chance(50) {
            super::lease::hold(&everywhere, self.number, &self.trace).await?;
        }
        for parked in everywhere.group(GROUP).parked().await? {
            self.recorder.history().note_parked(parked.position);
        }
        Ok(())
    }

    /// Creates the group, unless another consumer has done so.
    async fn create(&self, client: &Client) {
        self.recorder.history().share(self.strategy);
        // The id stands in the log, and a run must be the same byte for byte.
        let id = EventId::from_bytes((u128::from(self.number) + 1).to_be_bytes()).expect("an id");
        let create = || {
            let group = client.group(GROUP).id(id);
            let create = group.create(Query::everything()).strategy(self.strategy);
            create.timeout(TIMEOUT).attempts(ATTEMPTS).retry_delay(Duration::from_millis(200))
        };
        while create().send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn consume(&mut self, client: &Client, lasts: Duration) -> turmoil::Result {
        let name = format!("consumer-{}", self.number);
        let window = self.random.between(1, 20) as u32;
        let extended_up_to = match self.random.chance(50) {
            true => EXTENDED_UP_TO,
            false => Duration::ZERO,
        };
        let consuming = client.group(GROUP).consume().name(name).window(window);
        let mut consumer = consuming.extend_up_to(extended_up_to).start();
        let mut is_slow = !self.phase.is_done() && self.random.chance(30);
        let ends = tokio::time::Instant::now() + lasts;
        while let Ok(delivered) = tokio::time::timeout_at(ends, consumer.try_next()).await {
            let Some(delivery) = delivered? else { break };
            let (position, attempt) = (delivery.event.position, delivery.attempt);
            self.trace.note("consumer", format_args!("{position}, attempt {attempt}"));
            self.recorder.history().deliver(delivery.event.clone());
            if self.random.chance(20) {
                tokio::time::sleep(Duration::from_millis(self.random.below(30))).await;
            }
            if std::mem::take(&mut is_slow) {
                // It asks for more time, or behaves as a consumer that hangs.
                tokio::time::sleep(TIMEOUT + Duration::from_millis(self.random.below(2_000))).await;
                let has_lapsed = delivery.has_lapsed();
                self.trace.note("consumer", format_args!("{position}, lapsed: {has_lapsed}"));
            }
            let fate = self.draw_fate();
            self.recorder.history().settle(position, fate);
            match fate {
                Fate::Acknowledged => consumer.ack(&delivery),
                Fate::Failed => consumer.fail(&delivery, "a bad day"),
                Fate::Parked => consumer.park(&delivery, "poison"),
            }
        }
        self.leave(consumer).await;
        Ok(())
    }

    /// Leaves in order, or as a consumer that dies.
    async fn leave(&mut self, consumer: Consumer) {
        if self.random.chance(50) {
            let closing = tokio::time::timeout(DEADLINE, consumer.close()).await;
            drop(closing);
        }
    }

    /// Returns true if everything in the log is settled.
    async fn is_settled(&self, client: &Client) -> bool {
        let newest = client.read(Query::everything()).backwards().limit(1).collect().await;
        let (Ok(newest), Ok(group)) = (newest, client.group(GROUP).show().await) else {
            return false;
        };
        let last = newest.events.first().map_or(Position::ZERO, |event| event.position);
        group.floor >= last && group.failed == 0
    }

    fn draw_fate(&mut self) -> Fate {
        match self.random.below(100) {
            0..3 => Fate::Parked,
            3..12 => Fate::Failed,
            _ => Fate::Acknowledged,
        }
    }
}
