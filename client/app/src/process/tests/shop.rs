//! The process manager of these tests: orders are shipped when they are paid, or cancelled after half an hour.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Event, Expect, Query, RecordedEvent};
use serde::{Deserialize, Serialize};

use crate::process::error::ProcessError;
use crate::process::manager::{Cause, HandlerError, ProcessManager, Trigger};
use crate::process::reaction::Reaction;
use crate::process::running::Running;
use crate::process::settings::Settings;
use crate::process::tests::fake::{Crash, Fake};

/// The time for which an order may stay unpaid.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30 * 60);

pub(crate) struct Shop;

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) total: u64,
    pub(crate) touched: u64,
}

impl ProcessManager for Shop {
    type State = Order;

    fn name(&self) -> &str {
        "shop"
    }

    fn query(&self) -> Query {
        Query::category("order")
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, order: &mut Order, trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        order.touched += 1;
        let name = |of: &str| format!("{of}-{}", trigger.instance);
        Ok(match &trigger.cause {
            Cause::Event(event) => match event.kind.as_str() {
                "Placed" => {
                    order.total = event.json()?;
                    let noted = Event::json("Noted", &order.total)?;
                    Reaction::new()
                        .append(name("log"), Expect::Any, [noted.clone(), noted])
                        .schedule_after_with("payment", DEADLINE, &order.total)
                        .schedule_after("never", DEADLINE)
                        .cancel("never")
                }
                "Paid" => {
                    let asked = Event::json("Asked", &order.total)?;
                    Reaction::new().append(name("shipping"), Expect::None, [asked]).complete()
                }
                _ => {
                    order.touched -= 1;
                    Reaction::nothing()
                }
            },
            Cause::Due(due) => {
                let cancelled = Event::json("Cancelled", &due.payload::<u64>()?)?;
                Reaction::new().append(name("order"), Expect::Exists, [cancelled]).complete()
            }
        })
    }
}

pub(crate) fn settings(fake: &Fake) -> Settings {
    Settings {
        clock: Arc::new(fake.clock()),
        bookmark_every: 4,
        lanes: fake.lanes,
        // The limit is so low that instances are read again and again.
        cached_max: NonZeroUsize::new(2).expect("not zero"),
        ..Settings::default()
    }
}

/// Runs the shop until a condition holds, or until it dies at the step that is set in the log.
pub(crate) async fn run(fake: &Fake, is_so: impl Fn(&Fake) -> bool) -> Result<(), ProcessError> {
    run_with(fake, settings(fake), is_so).await
}

pub(crate) async fn run_with(
    fake: &Fake,
    settings: Settings,
    is_so: impl Fn(&Fake) -> bool,
) -> Result<(), ProcessError> {
    run_manager(fake, &Shop, settings, is_so).await
}

pub(crate) async fn run_manager<M: ProcessManager>(
    fake: &Fake,
    manager: &M,
    settings: Settings,
    is_so: impl Fn(&Fake) -> bool,
) -> Result<(), ProcessError> {
    let running = async {
        let mut running = Running::begin(fake, manager, settings).await?;
        Err(running.go().await)
    };
    let is_over = |fake: &Fake| fake.has_crashed() || is_so(fake);
    tokio::select! {
        biased;
        ended = running => ended,
        done = tokio::time::timeout(24 * Duration::from_secs(3600), fake.until(is_over)) => {
            done.expect("what was waited for does not happen within a day");
            Ok(())
        }
    }
}

/// Runs the shop until it dies at a step.
pub(crate) async fn run_until_crash(fake: &Fake, crash: Crash, is_so: impl Fn(&Fake) -> bool) {
    fake.arm(Some(crash));
    run(fake, is_so).await.expect("it goes on until it dies");
}

pub(crate) fn placed(total: u64) -> Event {
    Event::json("Placed", &total).expect("an event").correlation(format!("command-{total}"))
}

pub(crate) fn paid() -> Event {
    Event::json("Paid", &()).expect("an event")
}
