//! The events of these tests: each counts its version in its stream.

use quorate_app::projection::{EventSource, Script as Log};
use quorate_client::{Event, EventId, Problem, Query, RecordedEvent};

/// The log; clones share it.
#[derive(Clone)]
pub(crate) struct Script(Log);

impl Script {
    pub(crate) fn new() -> Script {
        Script(Log::new())
    }

    /// Returns the same events as those of another cluster.
    pub(crate) fn elsewhere(&self) -> Script {
        Script(self.0.elsewhere())
    }

    /// Appends an event whose data is its version in its stream.
    pub(crate) fn append(&self, stream: &str) -> u64 {
        let events = self.0.events();
        let version = events.iter().filter(|event| event.stream.as_str() == stream).count() + 1;
        let id = EventId::from_bytes([1; 16]).expect("an id");
        let event = Event::new("Counted", version.to_string()).expect("an event").id(id);
        self.0.append(stream, event).0
    }

    /// Appends an event that no query here finds.
    pub(crate) fn pass(&self) -> u64 {
        let event = Event::new("Passed", "").expect("an event");
        self.0.append("passed-1", event).0
    }

    /// Appends a number of events, to seven streams in turn.
    pub(crate) fn fill(&self, events: u64) -> u64 {
        for number in 0..events {
            self.append(&format!("order-{}", number * 3 % 7));
        }
        self.end()
    }

    pub(crate) fn first(&self) -> RecordedEvent {
        self.0.events().first().expect("an event").clone()
    }

    pub(crate) fn end(&self) -> u64 {
        self.0.events().len() as u64
    }

    /// Returns the content of a model that has everything up to a position.
    pub(crate) fn expected(&self, up_to: u64) -> super::kit::Rows {
        let mut rows = super::kit::Rows::new();
        let found = self.0.events().into_iter().filter(|event| event.kind.as_str() == "Counted");
        for event in found.filter(|event| event.position.0 <= up_to) {
            rows.entry(event.stream.to_string()).or_default().push(event.version.0);
        }
        rows
    }
}

impl EventSource for Script {
    type Subscription = <Log as EventSource>::Subscription;

    fn follow(&self, query: &Query, after: u64) -> Self::Subscription {
        self.0.follow(query, after)
    }

    async fn cluster(&self) -> Result<String, Problem> {
        self.0.cluster().await
    }

    async fn head(&self) -> Result<u64, Problem> {
        self.0.head().await
    }

    async fn holds(&self, position: u64) -> Result<(), Problem> {
        self.0.holds(position).await
    }

    async fn event(&self, stream: &str, version: u64) -> Result<Option<RecordedEvent>, Problem> {
        self.0.event(stream, version).await
    }
}
