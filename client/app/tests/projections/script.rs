//! A log of events that a test writes, and that projections follow as they follow a cluster.

use std::sync::{Arc, Mutex};

use quorate_app::projection::{EventSource, EventSubscription};
use quorate_client::{
    Cursor, ErrorKind, Event, EventId, Message, Outcome, Position, Problem, Query, RecordedEvent,
    StreamName, Timestamp,
};
use tokio::sync::watch;

/// The log; clones share it.
#[derive(Clone)]
pub(crate) struct Script {
    events: Arc<Mutex<Vec<RecordedEvent>>>,
    /// The length of the log, which also counts events that no query here finds.
    head: Arc<watch::Sender<u64>>,
    cluster: String,
}

impl Script {
    pub(crate) fn new() -> Script {
        let head = Arc::new(watch::Sender::new(0));
        Script { events: Arc::default(), head, cluster: "cluster-1".into() }
    }

    /// Returns the same events as those of another cluster.
    pub(crate) fn elsewhere(&self) -> Script {
        Script { cluster: "cluster-2".into(), ..self.clone() }
    }

    /// Appends an event whose data is its version in its stream.
    pub(crate) fn append(&self, stream: &str) -> u64 {
        let mut events = self.events.lock().expect("no test panicked here");
        let position = *self.head.borrow() + 1;
        let same = events.iter().filter(|event| event.stream.as_str() == stream);
        let version = same.count() as u64 + 1;
        let id = EventId::from_bytes([1; 16]).expect("an id");
        let event = Event::new("Counted", version.to_string()).expect("an event").id(id);
        let stream = StreamName::new(stream).expect("a name");
        events.push(event.recorded(position, stream, version, Timestamp(position as i64)));
        drop(events);
        self.head.send_replace(position);
        position
    }

    /// Appends an event that no query here finds.
    pub(crate) fn pass(&self) -> u64 {
        self.head.send_modify(|head| *head += 1);
        self.end()
    }

    /// Appends a number of events, to seven streams in turn.
    pub(crate) fn fill(&self, events: u64) -> u64 {
        for number in 0..events {
            self.append(&format!("order-{}", number * 3 % 7));
        }
        self.end()
    }

    pub(crate) fn first(&self) -> RecordedEvent {
        self.events.lock().expect("no test panicked here").first().expect("an event").clone()
    }

    pub(crate) fn end(&self) -> u64 {
        *self.head.borrow()
    }

    /// Returns the content of a model that has everything up to a position.
    pub(crate) fn expected(&self, up_to: u64) -> super::kit::Rows {
        let mut rows = super::kit::Rows::new();
        for event in self.events.lock().expect("no test panicked here").iter() {
            if event.position.0 <= up_to {
                rows.entry(event.stream.to_string()).or_default().push(event.version.0);
            }
        }
        rows
    }
}

impl EventSource for Script {
    type Subscription = ScriptSubscription;

    fn follow(&self, _query: &Query, after: u64) -> ScriptSubscription {
        ScriptSubscription { script: self.clone(), head: self.head.subscribe(), after, sent: None }
    }

    async fn cluster(&self) -> Result<String, Problem> {
        Ok(self.cluster.clone())
    }

    async fn head(&self) -> Result<u64, Problem> {
        Ok(self.end())
    }

    async fn holds(&self, position: u64) -> Result<(), Problem> {
        if position <= self.end() {
            return Ok(());
        }
        let message = format!("it is {position}, but the log ends at position {}", self.end());
        Err(Problem::new(ErrorKind::Invalid, Outcome::NotAppended, message))
    }

    async fn event(&self, stream: &str, version: u64) -> Result<Option<RecordedEvent>, Problem> {
        let events = self.events.lock().expect("no test panicked here");
        let found =
            |event: &&RecordedEvent| event.stream.as_str() == stream && event.version.0 == version;
        Ok(events.iter().find(found).cloned())
    }
}

pub(crate) struct ScriptSubscription {
    script: Script,
    head: watch::Receiver<u64>,
    after: u64,
    /// The position of the last cursor that was sent.
    sent: Option<u64>,
}

impl EventSubscription for ScriptSubscription {
    async fn next(&mut self) -> Result<Option<Message>, Problem> {
        loop {
            let head = *self.head.borrow_and_update();
            let next = {
                let events = self.script.events.lock().expect("no test panicked here");
                let next = events.partition_point(|event| event.position.0 <= self.after);
                events.get(next).filter(|event| event.position.0 <= head).cloned()
            };
            if let Some(event) = next {
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
