//! The application's part: the events that a decision rests on, and its outcome.

use std::error::Error;

use quorate_client::{Query, RecordedEvent};

use super::writes::Writes;
use crate::evolution::EventSet;

/// A request to decide by a rule that spans streams. Its functions are pure: the same events lead to the same outcome.
///
/// See [the module](super) for an example.
pub trait Decision: Send + Sync {
    /// The name of the kind of decision, within which a command id is known; it must not change.
    const NAME: &'static str;
    /// The state that the decision rests on; the default is that without events.
    type State: Default + Send + Sync;
    /// The events that the decision reads and makes.
    type Event: EventSet + Send;
    /// The reason for which the request is refused.
    type Error: Error + Send + Sync + 'static;

    /// Returns the query for the events that the decision rests on. It should find each event that the decision itself
    /// makes and that would change a later one.
    fn query(&self) -> Query;

    /// Changes the state by an event that the query finds; `recorded` is the same event with its stream and tags.
    fn evolve(&self, state: &mut Self::State, event: Self::Event, recorded: &RecordedEvent);

    /// Decides what happens; nothing is a valid decision too.
    fn decide(&self, state: &Self::State) -> Result<Writes<Self::Event>, Self::Error>;
}
