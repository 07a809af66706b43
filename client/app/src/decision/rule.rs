//! The application's part: the events that a decision rests on, and its outcome.

use std::error::Error;

use quorate_client::{Query, RecordedEvent};

use super::writes::Writes;
use crate::evolution::EventSet;

/// A request to decide by a rule that spans streams. Its functions are pure: the same events lead to the same outcome.
///
/// See [the module](super) for an example.
///
/// ```
/// use quorate_app::decision::{Decision, Writes};
/// use quorate_app::evolution::JsonEvents;
/// use quorate_client::{Query, RecordedEvent};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum AccountEvent {
///     NameTaken { name: String },
/// }
///
/// impl JsonEvents for AccountEvent {
///     fn tags(&self) -> Vec<String> {
///         let AccountEvent::NameTaken { name } = self;
///         vec![format!("name:{name}")]
///     }
/// }
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("the name is taken")]
/// struct Taken;
///
/// /// Takes a name for an account, which no other account may have.
/// struct TakeName {
///     account: String,
///     name: String,
/// }
///
/// impl Decision for TakeName {
///     const NAME: &'static str = "takeName";
///     type State = bool;
///     type Event = AccountEvent;
///     type Error = Taken;
///
///     fn query(&self) -> Query {
///         Query::of_types(["NameTaken"]).tags([format!("name:{}", self.name)])
///     }
///
///     fn evolve(&self, is_taken: &mut bool, _: AccountEvent, _: &RecordedEvent) {
///         *is_taken = true;
///     }
///
///     fn decide(&self, is_taken: &bool) -> Result<Writes<AccountEvent>, Taken> {
///         if *is_taken {
///             return Err(Taken);
///         }
///         let stream = format!("account-{}", self.account);
///         Ok(Writes::to(stream, [AccountEvent::NameTaken { name: self.name.clone() }]))
///     }
/// }
/// # let ada = TakeName { account: "7".into(), name: "ada".into() };
/// # quorate_app::decision::given_nothing().when(&ada).then_state(&false);
/// ```
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
