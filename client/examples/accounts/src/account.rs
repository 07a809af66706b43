//! The rules of one account: it is opened once, and nobody takes out more than is in it.

use quorate_app::decider::Decider;
use serde::{Deserialize, Serialize};

use crate::event::AccountEvent;

/// The category of the accounts' streams.
pub const CATEGORY: &str = "account";

/// The largest amount of one movement: far more than anybody has, and so little that no sum overflows.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// The state of an account on which is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// True once it was opened.
    pub is_open: bool,
    /// True once it was closed: then nothing comes in, except money that comes back.
    pub is_closed: bool,
    /// The money in it.
    pub balance: i64,
}

/// A request to an account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum AccountCommand {
    /// Opens it.
    Open {
        /// The person to whom it belongs.
        owner: String,
    },
    /// Closes it, when it is empty.
    Close,
    /// Puts money in from outside.
    Deposit {
        /// The amount.
        amount: i64,
    },
    /// Takes money out.
    Withdraw {
        /// The amount.
        amount: i64,
    },
    /// Sends money to an account of another tenant.
    Pay {
        /// The stream of that account.
        to: String,
        /// The amount.
        amount: i64,
    },
}

/// The reason why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was opened before.
    #[error("the account is open already")]
    OpenAlready,
    /// Nobody opened it.
    #[error("there is no such account")]
    NotOpen,
    /// It was closed.
    #[error("the account is closed")]
    Closed,
    /// There is money in it.
    #[error("{balance} is still in the account")]
    NotEmpty {
        /// The money in the account.
        balance: i64,
    },
    /// Nothing moves, or more than [`AMOUNT_MAX`].
    #[error("an amount is from 1 to {AMOUNT_MAX}")]
    NoAmount,
    /// More than is in the account.
    #[error("only {balance} is in the account")]
    NotEnough {
        /// The money in the account.
        balance: i64,
    },
    /// Money goes from an account to another one.
    #[error("money cannot go from an account to itself")]
    SameAccount,
}

impl Account {
    /// Checks that so much can be put in.
    pub fn can_take_in(&self, amount: i64) -> Result<(), Refusal> {
        self.can_move(amount)?;
        match self.is_closed {
            true => Err(Refusal::Closed),
            false => Ok(()),
        }
    }

    /// Checks that so much can be taken out.
    pub fn can_give(&self, amount: i64) -> Result<(), Refusal> {
        self.can_move(amount)?;
        match amount > self.balance {
            true => Err(Refusal::NotEnough { balance: self.balance }),
            false => Ok(()),
        }
    }

    fn can_move(&self, amount: i64) -> Result<(), Refusal> {
        if !self.is_open {
            return Err(Refusal::NotOpen);
        }
        match (1..=AMOUNT_MAX).contains(&amount) {
            true => Ok(()),
            false => Err(Refusal::NoAmount),
        }
    }

    fn can_close(&self) -> Result<(), Refusal> {
        match self {
            Account { is_open: false, .. } => Err(Refusal::NotOpen),
            Account { is_closed: true, .. } => Err(Refusal::Closed),
            &Account { balance, .. } if balance > 0 => Err(Refusal::NotEmpty { balance }),
            Account { .. } => Ok(()),
        }
    }
}

impl Decider for Account {
    const CATEGORY: &'static str = CATEGORY;
    type State = Account;
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = Refusal;

    fn evolve(account: &mut Account, event: AccountEvent) {
        match event {
            AccountEvent::AccountOpened { .. } => account.is_open = true,
            AccountEvent::AccountClosed {} => account.is_closed = true,
            movement => account.balance += movement.change(),
        }
    }

    fn decide(account: &Account, command: &AccountCommand) -> Result<Vec<AccountEvent>, Refusal> {
        let event = match command {
            AccountCommand::Open { .. } if account.is_open => return Err(Refusal::OpenAlready),
            AccountCommand::Open { owner } => AccountEvent::AccountOpened { owner: owner.clone() },
            AccountCommand::Close => {
                account.can_close()?;
                AccountEvent::AccountClosed {}
            }
            &AccountCommand::Deposit { amount } => {
                account.can_take_in(amount)?;
                AccountEvent::Deposited { amount }
            }
            &AccountCommand::Withdraw { amount } => {
                account.can_give(amount)?;
                AccountEvent::Withdrawn { amount }
            }
            AccountCommand::Pay { to, amount } => {
                account.can_give(*amount)?;
                AccountEvent::PaymentSent { to: to.clone(), amount: *amount }
            }
        };
        Ok(vec![event])
    }
}

#[cfg(test)]
mod tests {
    use quorate_app::decider::given;

    use super::*;

    fn opened() -> AccountEvent {
        AccountEvent::AccountOpened { owner: "Ann".to_owned() }
    }

    #[test]
    fn an_account_is_opened_once() {
        let open = AccountCommand::Open { owner: "Ann".to_owned() };
        given::<Account>([])
            .when(&AccountCommand::Deposit { amount: 5 })
            .then_error(&Refusal::NotOpen)
            .when(&open)
            .then_events([opened()])
            .when(&open)
            .then_error(&Refusal::OpenAlready);
    }

    #[test]
    fn nobody_takes_out_more_than_is_in_it() {
        given::<Account>([opened()])
            .when(&AccountCommand::Deposit { amount: 50 })
            .then_events([AccountEvent::Deposited { amount: 50 }])
            .when(&AccountCommand::Withdraw { amount: 51 })
            .then_error(&Refusal::NotEnough { balance: 50 })
            .when(&AccountCommand::Withdraw { amount: 50 })
            .then_state(&Account { is_open: true, ..Account::default() })
            .when(&AccountCommand::Pay { to: "globex/account-bob".to_owned(), amount: 1 })
            .then_error(&Refusal::NotEnough { balance: 0 });
    }

    #[test]
    fn an_account_is_closed_when_it_is_empty_and_takes_nothing_in_then() {
        given::<Account>([opened(), AccountEvent::Deposited { amount: 50 }])
            .when(&AccountCommand::Close)
            .then_error(&Refusal::NotEmpty { balance: 50 })
            .when(&AccountCommand::Withdraw { amount: 50 })
            .when(&AccountCommand::Close)
            .then_events([AccountEvent::AccountClosed {}])
            .when(&AccountCommand::Deposit { amount: 50 })
            .then_error(&Refusal::Closed)
            .when(&AccountCommand::Close)
            .then_error(&Refusal::Closed);
        given::<Account>([]).when(&AccountCommand::Close).then_error(&Refusal::NotOpen);
    }

    #[test]
    fn amounts_have_bounds() {
        for amount in [i64::MIN, -1, 0, AMOUNT_MAX + 1, i64::MAX] {
            given::<Account>([opened()])
                .when(&AccountCommand::Deposit { amount })
                .then_error(&Refusal::NoAmount);
        }
    }

    #[test]
    fn money_that_came_or_went_is_in_the_balance() {
        let (transfer, payment) = ("t-1".to_owned(), "p-1".to_owned());
        let (to, from) = ("account-bob".to_owned(), "account-bob".to_owned());
        given::<Account>([
            opened(),
            AccountEvent::Deposited { amount: 100 },
            AccountEvent::TransferSent { transfer: transfer.clone(), to: to.clone(), amount: 10 },
            AccountEvent::TransferReceived { transfer, from: from.clone(), amount: 1 },
            AccountEvent::PaymentSent { to, amount: 20 },
            AccountEvent::PaymentReturned { payment: payment.clone(), amount: 20 },
            AccountEvent::PaymentReceived { payment, from, amount: 2 },
        ])
        .when(&AccountCommand::Withdraw { amount: 93 })
        .then_state(&Account { is_open: true, ..Account::default() });
    }
}
