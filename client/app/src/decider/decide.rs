//! The application's part: the state that events make, and the decisions that make events.

use std::error::Error;

use crate::evolution::EventSet;

/// The rules of one kind of aggregate: what its events make of its state, and what a command makes of that.
///
/// Both functions are pure: they have no effect, and the same input gives the same result. What a decision needs from
/// outside, a price or the time, is in the command.
///
/// ```
/// use quorate_app::decider::Decider;
/// use quorate_app::evolution::JsonEvents;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     Withdrawn { amount: u64 },
/// }
///
/// impl JsonEvents for AccountEvent {}
///
/// enum AccountCommand {
///     Deposit { amount: u64 },
///     Withdraw { amount: u64 },
/// }
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("the account holds {balance} only")]
/// struct NotEnough {
///     balance: u64,
/// }
///
/// #[derive(Clone, Default)]
/// struct Account {
///     balance: u64,
/// }
///
/// impl Decider for Account {
///     const CATEGORY: &'static str = "account";
///     type State = Account;
///     type Command = AccountCommand;
///     type Event = AccountEvent;
///     type Error = NotEnough;
///
///     fn evolve(account: &mut Account, event: AccountEvent) {
///         match event {
///             AccountEvent::Deposited { amount } => account.balance += amount,
///             AccountEvent::Withdrawn { amount } => account.balance -= amount,
///         }
///     }
///
///     fn decide(account: &Account, command: &AccountCommand) -> Result<Vec<AccountEvent>, NotEnough> {
///         match *command {
///             AccountCommand::Deposit { amount } => Ok(vec![AccountEvent::Deposited { amount }]),
///             AccountCommand::Withdraw { amount } if amount > account.balance => {
///                 Err(NotEnough { balance: account.balance })
///             }
///             AccountCommand::Withdraw { amount } => Ok(vec![AccountEvent::Withdrawn { amount }]),
///         }
///     }
/// }
/// ```
pub trait Decider: Send + Sync + 'static {
    /// The category of the aggregates' streams: `order` for `order-42`.
    const CATEGORY: &'static str;
    /// The state that decisions rest on; the default is that of an aggregate without events.
    type State: Clone + Default + Send + Sync + 'static;
    /// A request to change an aggregate.
    type Command: Sync;
    /// The events of an aggregate.
    type Event: EventSet + Send;
    /// The reason for which a command is refused.
    type Error: Error + Send + Sync + 'static;

    /// Changes the state by an event that has happened.
    fn evolve(state: &mut Self::State, event: Self::Event);

    /// Decides what happens because of a command; nothing is a valid decision too.
    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Error>;
}
