//! The history of an aggregate: who did what, when, and what changed by it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use quorate_client::{RecordedEvent, Timestamp, compact_json};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::aggregate::Aggregate;
use super::change::{Change, changes};
use super::commands::command_of;
use super::decide::Decider;
use super::error::LoadError;
use super::loading::Loading;
use super::repository::{Repository, stream_of};
use super::time::{late, left};
use crate::context::Context;

/// The history of an aggregate before it is awaited.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, LoadError, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>, friday: quorate_client::Timestamp) -> Result<(), LoadError> {
/// let entries = orders.history("42").tenant("acme").until(friday).await?;
/// for entry in entries.iter().filter(|entry| entry.context.created_by == "ann") {
///     println!("{entry}");
/// }
/// # Ok(()) }
/// ```
#[must_use = "nothing is read before it is awaited"]
pub struct History<'a, D: Decider> {
    repository: &'a Repository<D>,
    id: String,
    tenant: String,
    until: Option<Timestamp>,
    /// Writes a state in the form in which changes are found; `None` if nobody asked for changes.
    in_fields: Option<InFields<D::State>>,
}

opaque_debug_decider!(History<'_>);

type InFields<S> = fn(&S) -> Result<serde_json::Value, serde_json::Error>;

/// One event of a history. Its `Display` form is for people:
///
/// ```text
/// 3  2026-11-30T22:10:00.000000Z  OrderPaid {"amount":30}
///    by ann of acme, command cmd-91, correlation req-7, cause cmd-91
///    due: 50 → 20
/// ```
///
/// ```no_run
/// # use quorate_app::decider::{Decider, LoadError, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError> where D::State: serde::Serialize {
/// for entry in orders.history("42").with_changes().await? {
///     let by = &entry.context.created_by;
///     println!("{} by {by}, {} fields changed", entry.event.kind, entry.changes.len());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The event, as it was written.
    pub event: RecordedEvent,
    /// The user, the tenant, the activity and the cause.
    pub context: Context,
    /// The id of the command, if this is its last event.
    pub command_id: Option<String>,
    /// The fields of the state that changed by it, if they were asked for.
    pub changes: Vec<Change>,
}

impl<D: Decider> Repository<D> {
    /// Reads the history of an aggregate: all events that are there, oldest first. Nothing is read before the returned
    /// value is awaited.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, LoadError, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError>
    /// # where D::State: serde::Serialize {
    /// for entry in orders.history("42").with_changes().await? {
    ///     println!("{entry}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn history(&self, id: impl Into<String>) -> History<'_, D> {
        let tenant = self.tenant.clone();
        History { repository: self, id: id.into(), tenant, until: None, in_fields: None }
    }
}

impl<'a, D: Decider> History<'a, D> {
    /// Reads the history of an aggregate of this tenant.
    pub fn tenant(mut self, tenant: impl Into<String>) -> History<'a, D> {
        self.tenant = tenant.into();
        self
    }

    /// Reads the history of an aggregate of the tenant in this context, if it names one.
    pub fn context(mut self, context: &Context) -> History<'a, D> {
        if !context.tenant.is_empty() {
            self.tenant.clone_from(&context.tenant);
        }
        self
    }

    /// Reads only what was recorded until a time.
    pub fn until(mut self, time: Timestamp) -> History<'a, D> {
        self.until = Some(time);
        self
    }

    /// Finds the fields of the state that changed by each event. Needs the stream from its beginning.
    pub fn with_changes(mut self) -> History<'a, D>
    where
        D::State: Serialize,
    {
        self.in_fields = Some(|state| serde_json::to_value(state));
        self
    }

    async fn run(self) -> Result<Vec<HistoryEntry>, LoadError> {
        let stream = stream_of::<D>(&self.tenant, &self.id)?;
        let give_up_at = Instant::now() + self.repository.settings.deadline;
        let client = self.repository.client.with_deadline(left(give_up_at));
        let loading = self.repository.loading(&client, &stream);
        let entries = timeout_at(give_up_at, self.entries(&loading)).await;
        entries.map_err(|_| late("history"))?
    }

    async fn entries(
        &self,
        loading: &Loading<'_, D::State>,
    ) -> Result<Vec<HistoryEntry>, LoadError> {
        let read = loading.client.read(loading.stream.clone());
        let read = match self.until {
            Some(time) => read.until(time),
            None => read,
        };
        let (mut events, mut entries) = (read.stream().await?, Vec::new());
        let mut aggregate = Aggregate::new();
        while let Some(event) = events.try_next().await? {
            let changes = match self.in_fields {
                Some(in_fields) => {
                    let fields =
                        |state: &_| in_fields(state).map_err(|error| event.undecoded(error));
                    let before = fields(&aggregate.state)?;
                    loading.take_next::<D>(&mut aggregate, &event).await?;
                    changes(&before, &fields(&aggregate.state)?)
                }
                None => Vec::new(),
            };
            let (context, command_id) = (Context::of(&event), command_of(&event));
            let command_id = command_id.map(str::to_owned);
            entries.push(HistoryEntry { event, context, command_id, changes });
        }
        Ok(entries)
    }
}

impl<'a, D: Decider> IntoFuture for History<'a, D> {
    type Output = Result<Vec<HistoryEntry>, LoadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Display for HistoryEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HistoryEntry { event, context, command_id, changes } = self;
        write!(f, "{}  {}  {}", event.version, event.recorded_at, event.kind)?;
        match compact_json(&event.data) {
            Some(data) => write!(f, " {}", data.get())?,
            None => write!(f, " ({} bytes)", event.data.len())?,
        }
        let by = match (&*context.created_by, &*context.tenant) {
            ("", "") => String::new(),
            (user, "") => format!("by {user}"),
            ("", tenant) => format!("of {tenant}"),
            (user, tenant) => format!("by {user} of {tenant}"),
        };
        let named = |name: &str, id: &str| match id {
            "" => String::new(),
            id => format!("{name} {id}"),
        };
        let origin = [
            by,
            named("command", command_id.as_deref().unwrap_or_default()),
            named("correlation", &context.correlation_id),
            named("cause", &context.causation_id),
        ];
        let origin: Vec<String> = origin.into_iter().filter(|part| !part.is_empty()).collect();
        if !origin.is_empty() {
            write!(f, "\n   {}", origin.join(", "))?;
        }
        changes.iter().try_for_each(|change| write!(f, "\n   {change}"))
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{Event, StreamName};

    use super::*;

    #[test]
    fn an_entry_tells_who_did_what_and_what_changed() {
        let context = Context::new().created_by("ann").tenant("acme").correlation_id("req-7");
        let event = Event::new("OrderPaid", "{ \"amount\": 30 }").expect("an event");
        let event = context.stamp(event).expect("an event").tag("command:cmd-91");
        let stream = StreamName::new("order-42").expect("a name");
        let event = event.recorded(17, stream, 3, Timestamp(0));
        let change = Change { path: "due".into(), before: Some(50.into()), after: Some(20.into()) };
        let entry = HistoryEntry {
            context: Context::of(&event),
            command_id: command_of(&event).map(str::to_owned),
            changes: vec![change],
            event,
        };
        assert_eq!(
            entry.to_string(),
            "3  1970-01-01T00:00:00.000000Z  OrderPaid {\"amount\":30}\n   \
             by ann of acme, command cmd-91, correlation req-7\n   due: 50 → 20"
        );
    }
}
