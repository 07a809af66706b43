//! The time that a consumer has for an event, in calm weather: it is longer for as long as the consumer asks for more,
//! and over when it does not.

use std::time::Duration;

use quorate_client::{Client, Consumer, Delivery, EventId, Problem, Query};
use tokio::time::{Instant, sleep_until, timeout};

use super::trace::Trace;

/// The time that a consumer may hold an event.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The time between two requests for more time.
const EXTENDED_EVERY: Duration = Duration::from_millis(300);
/// The longest wait: much longer than anything that is expected to happen takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The number of tries: a leader may change in calm weather too, and then its consumers lose their events.
const TRIES: u32 = 3;

/// Checks that a consumer that holds an event and asks for more time keeps it, though another one has room, and that
/// the other one gets it when the first asks no more. `number` distinguishes the groups of several calls.
pub(super) async fn hold(client: &Client, number: u32, trace: &Trace) -> Result<(), String> {
    let mut problem = String::new();
    for number in (number * TRIES..).take(TRIES as usize) {
        match timeout(PATIENCE, Lease::take(client, number).await?.live()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => problem = why,
            Err(_) => {
                problem = "nobody was given an event whose consumer asks for no time".to_owned()
            }
        }
        trace.note("lease", format_args!("{problem}"));
    }
    Err(problem)
}

/// An event that one of two consumers of a group holds.
struct Lease {
    holder: Consumer,
    held: Delivery,
    other: Consumer,
}

impl Lease {
    /// Creates a group, and lets a consumer take its first event.
    async fn take(client: &Client, number: u32) -> Result<Lease, String> {
        let message_of = |problem: Problem| problem.to_string();
        // The id stands in the log, and a run must be the same byte for byte.
        let id = EventId::from_bytes((u128::from(number) << 64 | 1).to_be_bytes()).expect("an id");
        let group = client.group(format!("lease-{number}")).id(id);
        group.create(Query::everything()).timeout(TIMEOUT).send().await.map_err(message_of)?;
        let mut holder = group.consume().name("holder").window(1).start();
        let held = timeout(PATIENCE, holder.try_next()).await;
        let held = held.map_err(|_| "a group hands nothing out".to_owned())?.map_err(message_of)?;
        let held = held.ok_or("the consumer ended")?;
        let other = group.consume().name("other").window(64).start();
        Ok(Lease { holder, held, other })
    }

    async fn live(mut self) -> Result<(), String> {
        let until = Instant::now() + 3 * TIMEOUT;
        let mut extended_at = Instant::now();
        while Instant::now() < until {
            tokio::select! {
                biased;
                () = sleep_until(extended_at) => {
                    self.holder.extend(&self.held);
                    extended_at += EXTENDED_EVERY;
                }
                given = self.other.try_next() => {
                    if self.is_the_held_one(&given)? {
                        return Err("an event was given away whose consumer asked for more time".to_owned());
                    }
                }
            }
        }
        if self.held.has_lapsed() {
            return Err("an event was taken back whose consumer asked for more time".to_owned());
        }
        loop {
            let given = self.other.try_next().await;
            if self.is_the_held_one(&given)? {
                break;
            }
        }
        match Instant::now() + EXTENDED_EVERY < until + TIMEOUT {
            true => Err("an event was given away before its time was over".to_owned()),
            false => Ok(()),
        }
    }

    /// Acknowledges the other consumer's event. Returns true if the first consumer holds the same one.
    fn is_the_held_one(&self, given: &Result<Option<Delivery>, Problem>) -> Result<bool, String> {
        let given = given.as_ref().map_err(Problem::to_string)?;
        let given = given.as_ref().ok_or("the consumer ended")?;
        self.other.ack(given);
        Ok(given.event.position == self.held.event.position)
    }
}
