//! Poisoned events while the store fails at every operation in turn: with each setting for events that fail, no
//! other event is skipped or applied twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_app::projection::{Handler, OnFailure, Projection, ProjectionError, Store};
use quorate_client::RecordedEvent;

use super::faulty::{Fault, Faulty};
use super::harness::{PATIENCE, finish, projection, rows, runtime, until};
use super::kit::{Kit, Notes, Rows};
use super::script::Script;

/// The positions of two successive events, in the middle of a batch of ten.
const POISONED: [u64; 2] = [5, 6];
const EVENTS: u64 = 14;
/// The maximum number of parked events of a projection.
const PARKED_MAX: usize = 10_000;
/// The lease of owners, short so that a dead process is not waited for long.
const LEASE: Duration = Duration::from_millis(80);
const FAULTS: [Fault; 4] =
    [Fault::QuestionLost, Fault::AnswerLost, Fault::DeadBefore, Fault::DeadAfter];

/// The end of a run.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Everything is applied or parked; this run parked `parked` events.
    Whole { parked: u64 },
    /// The projection stopped at an event.
    StoppedAt(u64),
}

/// Makes the projection of these tests with a setting for events that fail.
fn orders<S, H>(store: S, name: &str, handler: H, on_failure: OnFailure) -> Projection<S, H>
where
    S: Store,
    H: Handler<S::Model>,
{
    projection(store, name, handler).on_failure(on_failure).lease(LEASE)
}

fn is_poisoned(event: &RecordedEvent) -> bool {
    POISONED.contains(&event.position.0)
}

/// Runs a projection until it has applied everything or stops.
async fn run<S, H>(orders: Projection<S, H>, script: Script) -> End
where
    S: Store,
    H: Handler<S::Model>,
{
    let running = orders.start(script.clone());
    let status = running.watch();
    match running.reached(script.end(), PATIENCE).await {
        Ok(()) => {
            running.stop().await.expect("it stops in order");
            End::Whole { parked: status.borrow().parked }
        }
        Err(_) => match running.wait().await.expect_err("it could not go on") {
            ProjectionError::Handler { position, .. } => End::StoppedAt(position),
            other => panic!("{other}"),
        },
    }
}

/// Runs a projection whose store fails at one operation, kills it if it hangs there, and lets it run again. Returns
/// the end of the last run, and true if the store failed.
async fn run_spoilt<K>(
    kit: &Arc<K>,
    script: &Script,
    (at, fault): (usize, Fault),
    (handler, on_failure): (&Notes, OnFailure),
    name: &str,
) -> (End, bool)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let doomed = runtime();
    let opened = Arc::clone(kit);
    let store = doomed.spawn(async move { Faulty::new(opened.open().await, at, fault) });
    let store = store.await.expect("a store");
    let spoilt = orders(store.clone(), name, handler.clone(), on_failure);
    let running = doomed.spawn(run(spoilt, script.clone()));
    let hangs = matches!(fault, Fault::DeadBefore | Fault::DeadAfter);
    until("struck or done", || async {
        hangs && store.has_finished_striking() || running.is_finished()
    })
    .await;
    let has_struck = store.has_struck();
    if running.is_finished() {
        let end = running.await.expect("it does not panic");
        doomed.shutdown_background();
        return (end, has_struck);
    }
    drop(store);
    doomed.shutdown_background();
    let again = orders(kit.open().await, name, handler.clone(), on_failure);
    (run(again, script.clone()).await, has_struck)
}

/// Returns the content of a model of all events except the poisoned ones.
fn expected_without_poisoned(script: &Script) -> Rows {
    let before = script.expected(POISONED[0] - 1);
    let through = script.expected(POISONED[1]);
    let mut expected = script.expected(EVENTS);
    for (stream, versions) in through {
        let earlier = before.get(&stream).map_or(&[][..], Vec::as_slice);
        let poisoned = versions.iter().filter(|version| !earlier.contains(version));
        let all = expected.get_mut(&stream).expect("a stream");
        for version in poisoned {
            all.retain(|one| one != version);
        }
    }
    expected.retain(|_, versions| !versions.is_empty());
    expected
}

fn script() -> Script {
    let script = Script::new();
    script.fill(EVENTS);
    script
}

/// Makes a handler for which the poisoned events always fail.
fn poisoned(name: &str) -> Notes {
    Notes::spoilt(name, |event| match is_poisoned(event) {
        true => Err("a poisoned event".into()),
        false => Ok(()),
    })
}

/// Runs a projection with each fault at each operation in turn, until no operation is left, and checks the result by
/// the name of the projection; at least `operations_min` operations must have failed.
async fn wherever_the_store_fails<K>(
    kit: &Arc<K>,
    operations_min: usize,
    (handler, on_failure): (impl Fn(&str) -> Notes, OnFailure),
    check: impl AsyncFn(&str, Fault, End),
) where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = script();
    for fault in FAULTS {
        for at in 0.. {
            let name = format!("{fault:?}{at}");
            let how = (&handler(&name), on_failure);
            let (end, has_struck) = run_spoilt(kit, &script, (at, fault), how, &name).await;
            check(&name, fault, end).await;
            if !has_struck {
                assert!(at >= operations_min, "only {at} operations were struck");
                break;
            }
        }
    }
}

pub(crate) async fn a_retried_event_is_applied_once_wherever_the_store_fails<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let (kit, script) = (Arc::new(kit), script());
    // Each poisoned event is tried again whenever its transaction was lost, and fails every other time.
    let flaky = |name: &str| {
        let tries = AtomicU64::new(0);
        Notes::spoilt(name, move |event| {
            let fails =
                is_poisoned(event) && tries.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            if fails { Err("not now".into()) } else { Ok(()) }
        })
    };
    wherever_the_store_fails(&kit, 12, (flaky, OnFailure::Stop), async |name, _, end| {
        assert_eq!(end, End::Whole { parked: 0 }, "{name}");
        assert_eq!(rows(kit.as_ref(), name).await, script.expected(EVENTS), "{name}");
    })
    .await;
}

pub(crate) async fn a_stop_at_an_event_skips_nothing_wherever_the_store_fails<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let (kit, script) = (Arc::new(kit), script());
    wherever_the_store_fails(&kit, 8, (poisoned, OnFailure::Stop), async |name, _, end| {
        assert_eq!(end, End::StoppedAt(POISONED[0]), "{name}");
        let before = script.expected(POISONED[0] - 1);
        assert_eq!(rows(kit.as_ref(), name).await, before, "{name}");
        let mended = orders(kit.open().await, name, Notes::new(name), OnFailure::Stop);
        finish(mended.start(script.clone()), &script).await;
        assert_eq!(rows(kit.as_ref(), name).await, script.expected(EVENTS), "{name}");
    })
    .await;
}

pub(crate) async fn a_parked_event_is_the_only_one_skipped_wherever_the_store_fails<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let (kit, script) = (Arc::new(kit), script());
    wherever_the_store_fails(&kit, 16, (poisoned, OnFailure::Park), async |name, fault, end| {
        let expected = expected_without_poisoned(&script);
        assert_eq!(rows(kit.as_ref(), name).await, expected, "{name}");
        let orders = orders(kit.open().await, name, Notes::new(name), OnFailure::Park);
        let parked = orders.parked().await.expect("an answer");
        let shown: Vec<_> = parked.iter().map(|one| (one.position, one.attempts)).collect();
        assert_eq!(shown, POISONED.map(|position| (position, 3)), "{name}");
        if matches!(fault, Fault::QuestionLost | Fault::AnswerLost) {
            assert_eq!(end, End::Whole { parked: 2 }, "{name}");
        }
    })
    .await;
}

pub(crate) async fn nothing_is_parked_beyond_the_limit_though_an_answer_is_lost<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = script();
    for fault in [Fault::QuestionLost, Fault::AnswerLost] {
        for at in 0.. {
            let name = format!("{fault:?}{at}");
            let store = Faulty::new(kit.open().await, at, fault).with_parked(PARKED_MAX);
            let full = orders(store.clone(), &name, poisoned(&name), OnFailure::Park);
            let error = full.start(script.clone()).wait().await.expect_err("there is no room");
            assert!(matches!(error, ProjectionError::TooManyParked { .. }), "{name}: {error}");
            let reopened = orders(kit.open().await, &name, poisoned(&name), OnFailure::Park);
            assert_eq!(reopened.parked().await.expect("an answer"), [], "{name}");
            if !store.has_struck() {
                assert!(at >= 10, "only {at} operations were struck");
                break;
            }
        }
    }
}
