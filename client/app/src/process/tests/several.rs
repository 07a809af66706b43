//! Tests of several runners and several managers on one log: none fires early, and none keeps others awake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_client::{Done, Problem, Query, RecordedEvent};
use tokio::time::timeout;

use crate::process::log::{Commit, Log, Newest, Page, Refusal, Stretch};
use crate::process::manager::{HandlerError, ProcessManager, Trigger};
use crate::process::reaction::Reaction;
use crate::process::running::Running;
use crate::process::tests::fake::{EPOCH, Fake, FakeSubscription};
use crate::process::tests::shop::{DEADLINE, Shop, paid, placed, run, settings};

/// A log in which another runner does something at a moment that the test chooses.
struct Meanwhile {
    fake: Fake,
    moment: Moment,
    has_come: AtomicBool,
}

#[derive(PartialEq, Eq)]
enum Moment {
    /// Before an order whose deadline is known is looked up.
    LookUp,
    /// Before an order is cancelled.
    Cancellation,
}

fn reactions(fake: &Fake) -> usize {
    fake.count("shop-1", "ProcessReacted")
}

fn is_cancelled(fake: &Fake) -> bool {
    fake.count("order-1", "Cancelled") > 0
}

impl Meanwhile {
    fn new(fake: &Fake, moment: Moment) -> Meanwhile {
        Meanwhile { fake: fake.clone(), moment, has_come: AtomicBool::new(false) }
    }

    /// Returns true if this is the chosen moment, for the first time.
    fn comes(&self, moment: Moment, is_so: bool) -> bool {
        self.moment == moment && is_so && !self.has_come.swap(true, Ordering::SeqCst)
    }
}

impl Log for Meanwhile {
    type Subscription = FakeSubscription;

    async fn newest(&self, stream: &str, types: &[&str], seen: u64) -> Result<Newest, Problem> {
        if self.comes(Moment::LookUp, stream == "shop-1" && reactions(&self.fake) == 1) {
            // The other runner moves the deadline.
            self.fake.append("order-1", placed(10));
            run(&self.fake, |fake| reactions(fake) == 2).await.expect("it goes on");
        }
        self.fake.newest(stream, types, seen).await
    }

    async fn page(&self, query: &Query, stretch: Stretch) -> Result<Page, Problem> {
        self.fake.page(query, stretch).await
    }

    fn follow(&self, query: &Query, after: u64) -> FakeSubscription {
        self.fake.follow(query, after)
    }

    async fn commit(&self, commit: Commit) -> Result<Done, Refusal> {
        let cancels = commit.writes.iter().any(|write| write.stream == "order-1");
        if self.comes(Moment::Cancellation, cancels) {
            // The other runner sees an order more when it cancels the same order, and so records something else.
            self.fake.append("order-9", placed(10));
            run(&self.fake, is_cancelled).await.expect("it goes on");
        }
        self.fake.commit(commit).await
    }

    async fn is_closed(&self, stream: &str) -> Result<bool, Problem> {
        self.fake.is_closed(stream).await
    }

    async fn keep_newest(&self, stream: &str) -> Result<(), Problem> {
        self.fake.keep_newest(stream).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_due_time_that_another_runner_moved_does_not_fire_early() {
    let fake = Fake::new();
    // There are so many that the first instance is not kept, and is read again when it is due.
    for order in ["order-1", "order-2", "order-3"] {
        fake.append(order, placed(10));
    }
    let log = Meanwhile::new(&fake, Moment::LookUp);
    let mut running = Running::begin(&log, &Shop, settings(&fake)).await.expect("it begins");
    tokio::select! {
        error = running.go() => panic!("{error}"),
        () = fake.until(is_cancelled) => {}
    }
    assert!(log.has_come.load(Ordering::SeqCst), "the other runner did nothing");
    let events = fake.events();
    let is_one = |event: &&RecordedEvent| {
        event.kind.as_str() == "Cancelled" && event.stream.as_str() == "order-1"
    };
    let fired: Vec<_> = events.iter().filter(is_one).map(|event| event.recorded_at).collect();
    let due = EPOCH.0 + 2 * i64::try_from(DEADLINE.as_micros()).expect("half an hour");
    assert!(fired.len() == 1 && fired[0].0 >= due, "{fired:?}");
}

#[tokio::test(start_paused = true)]
async fn a_due_time_that_another_runner_fired_from_another_state_is_settled() {
    let fake = Fake::new();
    fake.append("order-1", placed(10));
    let log = Meanwhile::new(&fake, Moment::Cancellation);
    let mut running = Running::begin(&log, &Shop, settings(&fake)).await.expect("it begins");
    // Both runners derive the same ids from this due time; this one continues to the other order's deadline.
    tokio::select! {
        error = running.go() => panic!("{error}"),
        () = fake.until(|fake| fake.count("order-9", "Cancelled") > 0) => {}
    }
    assert!(log.has_come.load(Ordering::SeqCst), "the other runner did nothing");
    assert_eq!(fake.count("order-1", "Cancelled"), 1);
}

/// A manager that reads everything, and wants nothing.
struct Watcher(&'static str);

impl ProcessManager for Watcher {
    type State = ();

    fn name(&self) -> &str {
        self.0
    }

    fn query(&self) -> Query {
        Query::everything()
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        assert_ne!(event.kind.as_str(), "ProcessBookmarked", "a bookmark is nothing that happened");
        None
    }

    fn react(&self, (): &mut (), _: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        Ok(Reaction::nothing())
    }
}

#[tokio::test(start_paused = true)]
async fn the_bookmarks_of_managers_that_look_at_everything_keep_nobody_awake() {
    let fake = Fake::new();
    fake.append("order-1", paid());
    let watching = async |manager: Watcher| {
        let mut running = Running::begin(&fake, &manager, settings(&fake)).await?;
        Err::<(), _>(running.go().await)
    };
    let both = async { tokio::join!(watching(Watcher("one")), watching(Watcher("two"))) };
    let ended = timeout(Duration::from_secs(3_600), both).await;
    assert!(ended.is_err(), "{ended:?}");
    let streams: Vec<String> = fake.events().iter().map(|event| event.stream.to_string()).collect();
    assert_eq!(streams.len(), 3, "an event, and a bookmark of each: {streams:?}");
}
