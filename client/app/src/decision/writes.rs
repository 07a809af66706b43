//! The outcome of a decision: events for streams.

use quorate_client::Expect;

/// The events of a decision, each for a stream; all of them are appended, or none.
///
/// ```
/// use quorate_app::decision::Writes;
/// let transfer = Writes::to("account-1", ["withdrawn"]).and_to("account-2", ["deposited"]);
/// assert!(!transfer.is_nothing());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "writes are what a decision returns"]
pub struct Writes<E> {
    pub(crate) writes: Vec<Write<E>>,
}

/// The events for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write<E> {
    pub(crate) stream: String,
    pub(crate) expect: Expect,
    pub(crate) events: Vec<E>,
}

impl<E> Writes<E> {
    /// Decides that nothing happens.
    pub fn nothing() -> Writes<E> {
        Writes { writes: Vec::new() }
    }

    /// Appends events to a stream, whatever its version: the decision's query protects it.
    pub fn to(stream: impl Into<String>, events: impl IntoIterator<Item = E>) -> Writes<E> {
        Writes::nothing().and_to(stream, events)
    }

    /// Appends events to another stream as well; each stream once.
    ///
    /// ```
    /// use quorate_app::decision::Writes;
    /// let transfer = Writes::to("account-1", ["MoneyTaken"]).and_to("account-2", ["MoneyGiven"]);
    /// assert!(!transfer.is_nothing());
    /// ```
    pub fn and_to(
        self,
        stream: impl Into<String>,
        events: impl IntoIterator<Item = E>,
    ) -> Writes<E> {
        self.and_expecting(stream, Expect::Any, events)
    }

    /// Appends events to another stream as well, if that is as expected.
    ///
    /// ```
    /// use quorate_app::decision::Writes;
    /// use quorate_client::Expect;
    /// let booked = Writes::nothing().and_expecting("booking-91", Expect::None, ["booked"]);
    /// # let _ = booked;
    /// ```
    pub fn and_expecting(
        mut self,
        stream: impl Into<String>,
        expect: Expect,
        events: impl IntoIterator<Item = E>,
    ) -> Writes<E> {
        let events: Vec<E> = events.into_iter().collect();
        if !events.is_empty() {
            self.writes.push(Write { stream: stream.into(), expect, events });
        }
        self
    }

    /// Returns true if nothing happens.
    pub fn is_nothing(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.writes.iter().map(|write| write.events.len()).sum()
    }
}
