//! What an application writes: which events a process manager reacts to, and how.

use std::error::Error;
use std::time::Duration;

use quorate_client::{Conflict, Query, RecordedEvent, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::process::reaction::Reaction;

/// Why a handler could not decide.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Reacts to events by appending others.
///
/// A handler decides and does nothing else: it is asked again where a process crashed or another one was faster,
/// and only one of its answers comes to be.
pub trait ProcessManager: Send + Sync + 'static {
    /// What an instance remembers from one reaction to the next. It is kept as JSON in each record, so it should
    /// be small; together with what the due times carry it must fit into one event (1 MiB). A new instance begins
    /// with the default.
    type State: Default + Serialize + DeserializeOwned + Send;

    /// The manager's name, and the category of its instances' streams: no `-` and no `/`, no `$` at the
    /// beginning. It must never change: under another name it is another manager, which has handled nothing
    /// yet.
    fn name(&self) -> &str;

    /// Which events it reacts to. It may widen or narrow later; what is behind the bookmark is not looked at
    /// again.
    fn query(&self) -> Query;

    /// Which instance an event concerns; `None` = the event concerns nobody. Its stream is `NAME-INSTANCE`, or
    /// `PATH/NAME-ID` for an instance `PATH/ID`: so what may stand in a stream's name may stand here, and a
    /// tenant's instances lie in the tenant's path. What cannot be a stream is a failure, which
    /// [`OnFailure::Park`](crate::process::OnFailure) passes over with a warning.
    fn instance(&self, event: &RecordedEvent) -> Option<String>;

    /// Decides what follows from a trigger, and changes the state accordingly.
    ///
    /// When nothing follows from an event and the state stays as it is, nothing is written. A due time is over with its
    /// reaction, whatever that is: a record says that it fired, also when nothing follows, and it does not fire again
    /// unless it is scheduled again. One that was replaced, cancelled or ended with its instance does not fire at all.
    ///
    /// # Errors
    /// Taken for final: the same event leads to the same error. The trigger is parked, or the manager stops,
    /// as the runner was told.
    fn react(
        &self,
        state: &mut Self::State,
        trigger: &Trigger<'_>,
    ) -> Result<Reaction, HandlerError>;
}

/// What a reaction is asked for.
#[derive(Debug)]
pub struct Trigger<'a> {
    /// The instance that it concerns.
    pub instance: &'a str,
    /// What happened.
    pub cause: Cause,
    /// When that was: an event's `recorded_at`; for a due time the moment at which it fires. `schedule_after`
    /// counts from here.
    pub time: Timestamp,
    /// Why the last reaction to it was not appended, if an expectation on another stream than the instance's
    /// own was not met: then the handler may decide otherwise.
    pub conflict: Option<Conflict>,
}

/// What happened.
#[derive(Debug)]
pub enum Cause {
    /// An event that the manager's query finds.
    Event(RecordedEvent),
    /// A time that was scheduled has come.
    Due(Due),
}

/// A time that was scheduled.
#[derive(Debug)]
pub struct Due {
    /// The name it was given.
    pub key: String,
    /// The time that was asked for.
    pub at: Timestamp,
    pub(crate) payload: Box<RawValue>,
    /// The version of the record that scheduled it: with the key it names this due time and no other.
    pub(crate) since: u64,
}

impl Due {
    /// What was given along with it; `null` if nothing was.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.payload.get())
    }
}

impl Cause {
    /// The event, if it is one.
    pub fn event(&self) -> Option<&RecordedEvent> {
        match self {
            Cause::Event(event) => Some(event),
            Cause::Due(_) => None,
        }
    }

    /// For a person: what it was.
    pub(crate) fn describe(&self) -> String {
        match self {
            Cause::Event(event) => {
                format!("`{}` in `{}` at position {}", event.kind, event.stream, event.position)
            }
            Cause::Due(due) => format!("due time `{}` of {}", due.key, due.at),
        }
    }
}

/// A time so much later; the end of time where that is further away.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}
