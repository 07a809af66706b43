//! The reaction that a handler returns: events for other streams, due times, and the end of an instance.

use std::time::Duration;

use quorate_client::{Event, Expect, Position, Query, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

/// The result of a handler: all of it happens, once, or nothing of it does.
///
/// Names, limits and values are checked when it is appended, so that it can be written in one expression.
///
/// The manager gives the events their ids, derived from the instance and the trigger, so that the same
/// reaction is never appended twice. Unless the handler sets others, their causation is the source event
/// or, after a due time, the record that it fired; their correlation, user and tenant are those of the source event.
///
/// ```
/// use std::time::Duration;
/// use quorate_app::process::Reaction;
/// use quorate_client::{Event, Expect};
///
/// let shipped = Event::json("ShipmentWanted", &serde_json::json!({ "order": 42 }))?;
/// let reaction = Reaction::new()
///     .append("shipment-42", Expect::None, [shipped])
///     .require("order-42", Expect::Exists)
///     .cancel("payment")
///     .schedule_after("delivery", Duration::from_secs(7 * 24 * 60 * 60));
/// assert!(!reaction.is_nothing());
/// # Ok::<(), quorate_client::EventError>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a reaction is what the handler returns"]
pub struct Reaction {
    pub(crate) writes: Vec<Write>,
    pub(crate) requirements: Vec<(String, Expect)>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) timings: Vec<Timing>,
    pub(crate) completes: bool,
    /// The error of a value that cannot be written as JSON.
    pub(crate) fault: Option<serde_json::Error>,
}

/// Events for one stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) stream: String,
    pub(crate) expect: Expect,
    pub(crate) events: Vec<Event>,
}

/// The condition that a query finds nothing after a position.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) query: Query,
    pub(crate) after: Position,
}

/// A change of the due times, in the order of the handler's calls.
#[derive(Clone, Debug)]
pub(crate) enum Timing {
    Schedule { key: String, when: When, payload: Box<RawValue> },
    Cancel { key: String },
}

/// The time at which something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    After(Duration),
}

impl Reaction {
    /// Makes an empty reaction, to which effects are added.
    pub fn new() -> Reaction {
        Reaction::default()
    }

    /// Returns a reaction with no effect.
    pub fn nothing() -> Reaction {
        Reaction::default()
    }

    /// Appends events to a stream; each stream once.
    pub fn append(
        mut self,
        stream: impl Into<String>,
        expect: Expect,
        events: impl IntoIterator<Item = Event>,
    ) -> Reaction {
        let events = events.into_iter().collect();
        self.writes.push(Write { stream: stream.into(), expect, events });
        self
    }

    /// Adds an expectation on a stream that is not written.
    pub fn require(mut self, stream: impl Into<String>, expect: Expect) -> Reaction {
        self.requirements.push((stream.into(), expect));
        self
    }

    /// Adds the condition that no event that the query finds came after a position; 0 = ever. If one came, nothing of the
    /// reaction happens, and the handler is called again, with the [conflict](crate::process::Trigger::conflict).
    ///
    /// ```
    /// use quorate_app::process::Reaction;
    /// use quorate_client::{Event, Expect, Query};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let received = Event::new("PaymentReceived", r#"{"amount":50}"#)?;
    /// let closed = Query::stream("account-7").types(["AccountClosed"]);
    /// let reaction = Reaction::new().append("account-7", Expect::Exists, [received]).unless(closed, 0);
    /// # let _ = reaction; Ok(()) }
    /// ```
    pub fn unless(mut self, query: Query, after: impl Into<Position>) -> Reaction {
        self.conditions.push(Condition { query, after: after.into() });
        self
    }

    /// Schedules a call of the handler at that time or later. A due time of the same key is replaced.
    pub fn schedule_at(self, key: impl Into<String>, time: Timestamp) -> Reaction {
        self.schedule(key.into(), When::At(time), &())
    }

    /// Schedules a call of the handler after a delay from the trigger's time, or later.
    pub fn schedule_after(self, key: impl Into<String>, delay: Duration) -> Reaction {
        self.schedule(key.into(), When::After(delay), &())
    }

    /// Schedules a call of the handler at that time or later, with a value.
    pub fn schedule_at_with<T: Serialize + ?Sized>(
        self,
        key: impl Into<String>,
        time: Timestamp,
        payload: &T,
    ) -> Reaction {
        self.schedule(key.into(), When::At(time), payload)
    }

    /// Schedules a call of the handler after a delay from the trigger's time, or later, with a value.
    pub fn schedule_after_with<T: Serialize + ?Sized>(
        self,
        key: impl Into<String>,
        delay: Duration,
        payload: &T,
    ) -> Reaction {
        self.schedule(key.into(), When::After(delay), payload)
    }

    /// Cancels a due time; nothing happens if there is none of that key.
    pub fn cancel(mut self, key: impl Into<String>) -> Reaction {
        self.timings.push(Timing::Cancel { key: key.into() });
        self
    }

    /// Ends the instance: its due times are cancelled, and it does not react any more.
    pub fn complete(mut self) -> Reaction {
        self.completes = true;
        self
    }

    /// Returns true if the reaction has no effect.
    pub fn is_nothing(&self) -> bool {
        self.writes.is_empty()
            && self.requirements.is_empty()
            && self.conditions.is_empty()
            && self.timings.is_empty()
            && !self.completes
            && self.fault.is_none()
    }

    fn schedule<T: Serialize + ?Sized>(mut self, key: String, when: When, value: &T) -> Reaction {
        match serde_json::value::to_raw_value(value) {
            Ok(payload) => self.timings.push(Timing::Schedule { key, when, payload }),
            Err(fault) => self.fault = Some(fault),
        }
        self
    }
}
