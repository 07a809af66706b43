//! The application's part: the events to which a process manager reacts, and its reactions.

use std::error::Error;
use std::time::Duration;

use quorate_client::{Conflict, Query, RecordedEvent, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::process::reaction::Reaction;

/// The error with which a handler reports that it could not decide.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Reacts to events by appending others.
///
/// A handler decides and has no other effect: it is called again after a crash or if another process was faster,
/// and only one of its answers is appended.
pub trait ProcessManager: Send + Sync + 'static {
    /// The state that an instance keeps from one reaction to the next. It is stored as JSON in each record, so it
    /// should be small; together with the values of its due times it must fit into one event (1 MiB). A new instance
    /// begins with the default.
    type State: Default + Serialize + DeserializeOwned + Send;

    /// Returns the manager's name, which is the category of its instances' streams: no `-` and no `/`, no `$` at the
    /// beginning. It must never change: under another name it is another manager, which has handled nothing
    /// yet.
    fn name(&self) -> &str;

    /// Returns the query for the events to which the manager reacts. It may change later; events before the bookmark
    /// are not read again.
    fn query(&self) -> Query;

    /// Returns the instance that an event concerns; `None` = the event concerns none. The instance's stream is
    /// `NAME-INSTANCE`, or `PATH/NAME-ID` for an instance `PATH/ID`: so the rules for names of streams apply, and a
    /// tenant's instances lie in the tenant's path. An instance without a valid name of a stream is a failure, which
    /// [`OnFailure::Park`](crate::process::OnFailure) skips with a warning.
    fn instance(&self, event: &RecordedEvent) -> Option<String>;

    /// Decides what follows from a trigger, and changes the state accordingly.
    ///
    /// When nothing follows from an event and the state stays as it is, nothing is written. A due time ends with its
    /// reaction, whatever that is: a record states that it fired, also when nothing follows, and it does not fire again
    /// unless it is scheduled again. If it was replaced, cancelled or ended with its instance, it does not fire at all.
    ///
    /// # Errors
    /// An error counts as final: the same event leads to the same error. The trigger is parked, or the manager stops,
    /// as set in the runner.
    fn react(
        &self,
        state: &mut Self::State,
        trigger: &Trigger<'_>,
    ) -> Result<Reaction, HandlerError>;
}

/// The occasion of a reaction.
#[derive(Debug)]
pub struct Trigger<'a> {
    /// The instance that the trigger concerns.
    pub instance: &'a str,
    /// The event, or the due time.
    pub cause: Cause,
    /// The time of the trigger: an event's `recorded_at`, or the moment at which a due time fires. `schedule_after`
    /// counts from here.
    pub time: Timestamp,
    /// The conflict that kept the last reaction to this trigger from being appended, if an expectation on another
    /// stream than the instance's own was not met: then the handler may decide otherwise.
    pub conflict: Option<Conflict>,
}

/// An event or a due time.
#[derive(Debug)]
pub enum Cause {
    /// An event that the manager's query finds.
    Event(RecordedEvent),
    /// A scheduled time that has come.
    Due(Due),
}

/// A scheduled time.
#[derive(Debug)]
pub struct Due {
    /// The name under which it was scheduled.
    pub key: String,
    /// The scheduled time.
    pub at: Timestamp,
    pub(crate) payload: Box<RawValue>,
    /// The version of the record that scheduled it: together with the key it identifies this due time.
    pub(crate) since: u64,
}

impl Due {
    /// Returns the value that was scheduled with it; `null` if there was none.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.payload.get())
    }
}

impl Cause {
    /// Returns the event, if the cause is an event.
    pub fn event(&self) -> Option<&RecordedEvent> {
        match self {
            Cause::Event(event) => Some(event),
            Cause::Due(_) => None,
        }
    }

    /// Describes the cause for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Cause::Event(event) => {
                format!("`{}` in `{}` at position {}", event.kind, event.stream, event.position)
            }
            Cause::Due(due) => format!("due time `{}` of {}", due.key, due.at),
        }
    }
}

/// Returns the time that is `by` later, at most the end of time.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}
