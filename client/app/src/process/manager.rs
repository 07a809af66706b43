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
///
/// ```
/// use quorate_app::process::{HandlerError, ProcessManager, Reaction, Scenario, Trigger};
/// use quorate_client::{Event, Expect, Query, RecordedEvent};
///
/// /// Welcomes each customer, in a stream of mails.
/// struct Welcome;
///
/// impl ProcessManager for Welcome {
///     type State = ();
///
///     fn name(&self) -> &str {
///         "welcome"
///     }
///
///     fn query(&self) -> Query {
///         Query::category("account").types(["AccountOpened"])
///     }
///
///     fn instance(&self, event: &RecordedEvent) -> Option<String> {
///         event.stream.as_str().strip_prefix("account-").map(str::to_owned)
///     }
///
///     fn react(&self, _: &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
///         let mail = Event::json("MailWanted", &serde_json::json!({ "template": "welcome" }))?;
///         let stream = format!("mail-{}", trigger.instance);
///         Ok(Reaction::new().append(stream, Expect::Any, [mail]).complete())
///     }
/// }
///
/// let mail = Event::json("MailWanted", &serde_json::json!({ "template": "welcome" }))?;
/// Scenario::of(Welcome)
///     .when("account-7", Event::new("AccountOpened", "{}")?)
///     .then(Reaction::new().append("mail-7", Expect::Any, [mail]).complete());
/// # Ok::<(), quorate_client::EventError>(())
/// ```
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
///
/// ```
/// use quorate_app::process::{Cause, HandlerError, Reaction, Trigger};
/// use quorate_client::{Event, Expect};
///
/// /// Reserves the goods of an order, or asks for more of them.
/// fn reserve(trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
///     let Cause::Event(placed) = &trigger.cause else { return Ok(Reaction::nothing()) };
///     // Another order took the last of them while this one was decided.
///     let kind = if trigger.conflict.is_some() { "GoodsMissing" } else { "GoodsReserved" };
///     let event = Event::json(kind, &placed.json::<serde_json::Value>()?)?;
///     Ok(Reaction::new().append(format!("goods-{}", trigger.instance), Expect::None, [event]))
/// }
/// # let _ = reserve;
/// ```
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
///
/// ```
/// use quorate_app::process::Cause;
///
/// fn describe(cause: &Cause) -> String {
///     match cause {
///         Cause::Event(event) => format!("{} in {}", event.kind, event.stream),
///         Cause::Due(due) => format!("{} is due since {}", due.key, due.at),
///     }
/// }
/// # let _ = describe;
/// ```
#[derive(Debug)]
pub enum Cause {
    /// An event that the manager's query finds.
    Event(RecordedEvent),
    /// A scheduled time that has come.
    Due(Due),
}

/// A scheduled time.
///
/// ```
/// use quorate_app::process::{Cause, HandlerError, Reaction, Trigger};
///
/// /// Reminds a customer a second and a third time.
/// fn remind(trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
///     let Cause::Due(due) = &trigger.cause else { return Ok(Reaction::nothing()) };
///     let reminders: u32 = due.payload()?;
///     if reminders == 3 {
///         return Ok(Reaction::new().complete());
///     }
///     let week = std::time::Duration::from_secs(7 * 24 * 60 * 60);
///     Ok(Reaction::new().schedule_after_with("remind", week, &(reminders + 1)))
/// }
/// # let _ = remind;
/// ```
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
