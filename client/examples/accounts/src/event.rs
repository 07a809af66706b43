//! The events of an account: everything that changes its balance, and its opening and end.

use quorate_app::evolution::JsonEvents;
use serde::{Deserialize, Serialize};

/// An event of an account. Amounts are in the smallest unit of the currency, and above zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    /// The account exists from here on.
    AccountOpened {
        /// The person to whom it belongs.
        owner: String,
    },
    /// Nothing comes in any more.
    AccountClosed {},
    /// Money came in from outside.
    Deposited {
        /// The amount.
        amount: i64,
    },
    /// Money went outside.
    Withdrawn {
        /// The amount.
        amount: i64,
    },
    /// Money went to another account; `TransferReceived` is in the same transaction.
    TransferSent {
        /// The transfer.
        transfer: String,
        /// The stream of the account that received it.
        to: String,
        /// The amount.
        amount: i64,
    },
    /// Money came from another account; `TransferSent` is in the same transaction.
    TransferReceived {
        /// The transfer.
        transfer: String,
        /// The stream of the account that sent it.
        from: String,
        /// The amount.
        amount: i64,
    },
    /// Money was sent to an account of another tenant, and is under way. The id of this event is that of the payment.
    PaymentSent {
        /// The stream of the account that shall receive it.
        to: String,
        /// The amount.
        amount: i64,
    },
    /// A payment arrived.
    PaymentReceived {
        /// The payment.
        payment: String,
        /// The stream of the account that sent it.
        from: String,
        /// The amount.
        amount: i64,
    },
    /// A payment could not be delivered and came back.
    PaymentReturned {
        /// The payment.
        payment: String,
        /// The amount.
        amount: i64,
    },
}

impl JsonEvents for AccountEvent {}

impl AccountEvent {
    /// Returns by how much the event changes the balance of its account.
    pub fn change(&self) -> i64 {
        match self {
            AccountEvent::AccountOpened { .. } | AccountEvent::AccountClosed {} => 0,
            AccountEvent::Deposited { amount }
            | AccountEvent::TransferReceived { amount, .. }
            | AccountEvent::PaymentReceived { amount, .. }
            | AccountEvent::PaymentReturned { amount, .. } => *amount,
            AccountEvent::Withdrawn { amount }
            | AccountEvent::TransferSent { amount, .. }
            | AccountEvent::PaymentSent { amount, .. } => -amount,
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_app::evolution::Golden;

    use super::*;

    /// Events must be readable as long as the log is: each type has a file that shows how it was written.
    #[test]
    fn events_that_were_written_can_still_be_read() {
        let text = str::to_owned;
        Golden::<AccountEvent>::new("tests/events")
            .sample(AccountEvent::AccountOpened { owner: text("Ann") })
            .sample(AccountEvent::AccountClosed {})
            .sample(AccountEvent::Deposited { amount: 100 })
            .sample(AccountEvent::Withdrawn { amount: 100 })
            .sample(AccountEvent::TransferSent {
                transfer: text("t-1"),
                to: text("account-bob"),
                amount: 100,
            })
            .sample(AccountEvent::TransferReceived {
                transfer: text("t-1"),
                from: text("account-ann"),
                amount: 100,
            })
            .sample(AccountEvent::PaymentSent { to: text("globex/account-bob"), amount: 100 })
            .sample(AccountEvent::PaymentReceived {
                payment: text("0198c0de-0000-7000-8000-000000000001"),
                from: text("acme/account-ann"),
                amount: 100,
            })
            .sample(AccountEvent::PaymentReturned {
                payment: text("0198c0de-0000-7000-8000-000000000001"),
                amount: 100,
            })
            .check();
    }
}
