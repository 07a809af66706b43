//! A log of events that a test writes, and that projections follow as they follow a cluster.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_client::{
    Cursor, ErrorKind, Event, Message, Outcome, Position, Problem, Query, RecordedEvent,
};
use tokio::sync::watch;

use crate::scenario::Log;
use crate::source::{EventSource, EventSubscription};

/// A log of events in a test, without a cluster: a [`Projection`](super::Projection) that is started on it follows it,
/// its real store and its bookmark included. Events may be appended while the projection runs, and it may be stopped and
/// started again. Clones are the same log.
///
/// Positions and versions are 1, 2, 3 …; the first event was recorded at the beginning of 2026, and each of the others a
/// second later.
///
/// ```
/// use quorate_app::projection::{Handler, HandlerError, Memory, MemoryModel, Projection, Script};
/// use quorate_client::{Event, Query, RecordedEvent};
///
/// struct Count;
///
/// impl Handler<MemoryModel<u64>> for Count {
///     async fn apply(&self, model: &mut MemoryModel<u64>, _: &RecordedEvent) -> Result<(), HandlerError> {
///         **model += 1;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let script = Script::new();
/// script.append("order-1", Event::json("OrderPlaced", &50)?);
/// let orders = Projection::new("orders", Query::category("order"), Memory::<u64>::new(), Count);
/// let running = orders.start(script.clone());
/// script.append("cart-1", Event::json("ItemAdded", &1)?);
/// let last = script.append("order-1", Event::json("OrderPaid", &50)?);
/// running.reached(last, std::time::Duration::from_secs(5)).await?;
/// running.stop().await?;
///
/// // It goes on after its bookmark with what came since.
/// let last = script.append("order-2", Event::new("OrderPlaced", "30")?);
/// let running = orders.start(script.clone());
/// running.reached(last, std::time::Duration::from_secs(5)).await?;
/// running.stop().await?;
/// assert_eq!(orders.store().state("orders").as_deref(), Some(&3));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Script {
    written: Arc<Mutex<Written>>,
    /// The length of the log.
    head: Arc<watch::Sender<u64>>,
    cluster: &'static str,
}

/// The events as they were written, and as they were recorded.
#[derive(Default)]
struct Written {
    events: Vec<Event>,
    log: Log,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}

impl Default for Script {
    fn default() -> Script {
        Script::new()
    }
}

impl Script {
    /// Returns an empty log.
    pub fn new() -> Script {
        let head = Arc::new(watch::Sender::new(0));
        Script { written: Arc::default(), head, cluster: "a script" }
    }

    /// Returns the same events as those of another cluster: a projection with a bookmark of this one refuses it.
    #[must_use]
    pub fn elsewhere(&self) -> Script {
        Script { cluster: "another script", ..self.clone() }
    }

    /// Appends an event; returns its position.
    ///
    /// ```
    /// use quorate_app::projection::Script;
    /// use quorate_client::Event;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let script = Script::new();
    /// script.append("order-1", Event::new("OrderPlaced", r#"{"total":50}"#)?);
    /// script.append("order-2", Event::new("OrderPlaced", r#"{"total":7}"#)?);
    /// let paid = script.append("order-1", Event::new("OrderPaid", "{}")?.tag("customer:7"));
    /// assert_eq!((paid.0, script.events()[2].version.0), (3, 2));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If the name of the stream breaks a rule.
    pub fn append(&self, stream: &str, event: Event) -> Position {
        let mut written = self.lock();
        written.events.push(event.clone());
        let position = written.log.record(stream, event).position;
        // The events are locked until here, so that the head never goes back.
        self.head.send_replace(position.0);
        position
    }

    /// Returns all events, in order.
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.lock().log.events.clone()
    }

    /// Returns the next event behind a position that a query finds, up to the position `head`.
    fn next(&self, query: &Query, after: u64, head: u64) -> Result<Option<RecordedEvent>, Problem> {
        let written = self.lock();
        // Positions are 1, 2, 3 …, so this many events are not behind it.
        let (after, head) = (after as usize, head as usize);
        let both = written.events.iter().zip(&written.log.events).take(head).skip(after);
        for (event, recorded) in both {
            if query.matches(&recorded.stream, event)? {
                return Ok(Some(recorded.clone()));
            }
        }
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // A panic in a test leaves whole events.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSource for Script {
    type Subscription = ScriptSubscription;

    fn follow(&self, query: &Query, after: u64) -> ScriptSubscription {
        let (script, query, head) = (self.clone(), query.clone(), self.head.subscribe());
        ScriptSubscription { script, query, head, after, sent: None }
    }

    async fn cluster(&self) -> Result<String, Problem> {
        Ok(self.cluster.to_owned())
    }

    async fn head(&self) -> Result<u64, Problem> {
        Ok(*self.head.borrow())
    }

    async fn holds(&self, position: u64) -> Result<(), Problem> {
        let head = *self.head.borrow();
        if position <= head {
            return Ok(());
        }
        let message = format!("it is {position}, but the log ends at position {head}");
        Err(Problem::new(ErrorKind::Invalid, Outcome::NotAppended, message))
    }

    async fn event(&self, stream: &str, version: u64) -> Result<Option<RecordedEvent>, Problem> {
        let is_it =
            |event: &&RecordedEvent| event.stream.as_str() == stream && event.version.0 == version;
        Ok(self.lock().log.events.iter().find(is_it).cloned())
    }
}

/// The subscription of a query to a [`Script`].
#[derive(Debug)]
pub struct ScriptSubscription {
    script: Script,
    query: Query,
    head: watch::Receiver<u64>,
    after: u64,
    /// The position of the last cursor that was sent.
    sent: Option<u64>,
}

impl EventSubscription for ScriptSubscription {
    async fn next(&mut self) -> Result<Option<Message>, Problem> {
        loop {
            let head = *self.head.borrow_and_update();
            if let Some(event) = self.script.next(&self.query, self.after, head)? {
                self.after = event.position.0;
                return Ok(Some(Message::Event(event)));
            }
            let at = Cursor { position: Position(head), version: None };
            match self.sent {
                None => {
                    self.sent = Some(head);
                    return Ok(Some(Message::CaughtUp(at)));
                }
                Some(sent) if sent < head && self.after < head => {
                    self.sent = Some(head);
                    return Ok(Some(Message::Progress(at)));
                }
                Some(_) => {}
            }
            // The script outlives its subscriptions.
            let _ = self.head.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::projection::{
        Backoff, Handlers, Memory, MemoryModel, OnFailure, Projection, ProjectionError, Running,
        State,
    };

    /// The limit of waits, longer than anything takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Makes a projection that sums the totals of orders, and cannot add one that is larger than `limit`.
    fn sums(
        store: &Memory<u64>,
        limit: u64,
    ) -> Projection<Memory<u64>, Handlers<MemoryModel<u64>>> {
        let handlers =
            Handlers::<MemoryModel<u64>>::new().on("OrderPlaced", move |sum, _, total: u64| {
                Box::pin(async move {
                    **sum += Some(total).filter(|total| *total <= limit).ok_or("too much")?;
                    Ok(())
                })
            });
        let brief = Duration::from_millis(1);
        Projection::new("sums", Query::category("order"), store.clone(), handlers)
            .attempts(2, Backoff { first: brief, longest: brief })
    }

    fn placed(total: u64) -> Event {
        Event::json("OrderPlaced", &total).expect("an event")
    }

    async fn reach(running: &Running, position: Position) {
        running.reached(position, PATIENCE).await.expect("everything is applied");
    }

    #[test]
    fn positions_and_versions_are_given_in_order() {
        let script = Script::new();
        for stream in ["order-1", "order-2", "order-1"] {
            script.append(stream, placed(1));
        }
        let events = script.events();
        let places: Vec<(u64, &str, u64)> = events
            .iter()
            .map(|event| (event.position.0, event.stream.as_str(), event.version.0))
            .collect();
        assert_eq!(places, [(1, "order-1", 1), (2, "order-2", 1), (3, "order-1", 2)]);
    }

    #[tokio::test]
    async fn a_projection_sees_what_its_query_finds_also_what_comes_later() {
        let (script, store) = (Script::new(), Memory::new());
        script.append("order-1", placed(50));
        script.append("cart-1", placed(7));
        let running = sums(&store, 100).start(script.clone());
        reach(&running, Position(2)).await;
        assert_eq!(store.state("sums").as_deref(), Some(&50));
        let last = script.append("order-2", placed(30));
        reach(&running, last).await;
        assert_eq!(store.state("sums").as_deref(), Some(&80));
        let last = script.append("cart-1", placed(7));
        reach(&running, last).await;
        assert_eq!((running.status().applied, running.status().state), (2, State::Live));
        running.stop().await.expect("it stops in order");
    }

    #[tokio::test]
    async fn a_projection_that_is_started_again_goes_on_after_its_bookmark() {
        let (script, store) = (Script::new(), Memory::new());
        let last = script.append("order-1", placed(50));
        let running = sums(&store, 100).start(script.clone());
        reach(&running, last).await;
        running.stop().await.expect("it stops in order");
        let last = script.append("order-2", placed(30));
        let running = sums(&store, 100).start(script);
        reach(&running, last).await;
        assert_eq!(store.state("sums").as_deref(), Some(&80));
        assert_eq!(running.status().applied, 1);
    }

    #[tokio::test]
    async fn an_event_that_fails_stops_the_projection_and_is_applied_after_the_fix() {
        let (script, store) = (Script::new(), Memory::new());
        script.append("order-1", placed(50));
        let last = script.append("order-2", placed(500));
        let ended = sums(&store, 100).start(script.clone()).wait().await;
        let error = ended.expect_err("the second event fails");
        assert!(matches!(error, ProjectionError::Handler { position: 2, .. }), "{error}");
        assert_eq!(store.state("sums").as_deref(), Some(&50));
        let running = sums(&store, 1_000).start(script);
        reach(&running, last).await;
        assert_eq!(store.state("sums").as_deref(), Some(&550));
    }

    #[tokio::test]
    async fn an_event_that_is_parked_is_replayed_from_the_script() {
        let (script, store) = (Script::new(), Memory::new());
        script.append("order-1", placed(500));
        let last = script.append("order-2", placed(30));
        let running = sums(&store, 100).on_failure(OnFailure::Park).start(script.clone());
        reach(&running, last).await;
        running.stop().await.expect("it stops in order");
        assert_eq!(store.state("sums").as_deref(), Some(&30));
        let mended = sums(&store, 1_000);
        let parked = mended.parked().await.expect("an answer");
        assert_eq!(mended.replay(&script, &parked).await.expect("it is applied"), 1);
        assert_eq!(store.state("sums").as_deref(), Some(&530));
    }

    #[tokio::test]
    async fn a_model_of_another_log_is_refused() {
        let (script, store) = (Script::new(), Memory::new());
        let last = script.append("order-1", placed(50));
        let running = sums(&store, 100).start(script.clone());
        reach(&running, last).await;
        running.stop().await.expect("it stops in order");
        let ended = sums(&store, 100).start(script.elsewhere()).wait().await;
        assert!(matches!(ended, Err(ProjectionError::Changed { .. })), "{ended:?}");
        let ended = sums(&store, 100).start(Script::new()).wait().await;
        assert!(matches!(ended, Err(ProjectionError::Ahead { .. })), "{ended:?}");
    }
}
