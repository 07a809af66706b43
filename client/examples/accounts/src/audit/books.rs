//! The books of all accounts, and the rules that hold at every position.

use std::collections::{BTreeMap, BTreeSet};

use quorate_app::evolution::EventSet;
use quorate_client::{DecodeError, Position, RecordedEvent};

use crate::event::AccountEvent;

/// The books as of a position.
///
/// Invariant: the balances and the money under way are together what was deposited less what was withdrawn, and no
/// balance is negative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// The balances by the accounts' streams.
    pub balances: BTreeMap<String, i64>,
    /// All that came in from outside.
    pub deposited: i64,
    /// All that went outside.
    pub withdrawn: i64,
    /// The transfers that were made.
    pub transfers: BTreeSet<String>,
    /// The number of payments that were sent.
    pub payments_sent: usize,
    /// The number of payments that came back.
    pub payments_returned: usize,
    /// The payments that did neither arrive nor come back yet, by their ids.
    pub payments: BTreeMap<String, Sent>,
    /// The sum of the balances.
    held: i64,
    /// The transfer of which only the first half was seen.
    half: Option<(String, Position, Sent)>,
}

/// Money that left an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The stream of the account that it left.
    pub from: String,
    /// The stream of the account to which it goes.
    pub to: String,
    /// The amount.
    pub amount: i64,
}

/// A fault in the books.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// An account gave more than it had.
    #[error("at position {position} `{account}` has {balance}")]
    Negative {
        /// The event after which it is so.
        position: Position,
        /// The account's stream.
        account: String,
        /// Its balance.
        balance: i64,
    },
    /// Money was made or lost.
    #[error(
        "at position {position} there is {held} in the accounts and {under_way} under way, and there should be {due}"
    )]
    Sum {
        /// The event after which it is so.
        position: Position,
        /// The sum of all balances.
        held: i64,
        /// The money that left one account and did not arrive in another.
        under_way: i64,
        /// All deposits less all withdrawals.
        due: i64,
    },
    /// Money arrived that was not sent so, or was sent twice.
    #[error("at position {position}: {what}")]
    Unmatched {
        /// The event.
        position: Position,
        /// The description of the fault.
        what: String,
    },
}

impl Books {
    /// Enters an event; events come in the order of the log.
    ///
    /// # Errors
    /// A rule does not hold after the event.
    pub fn enter(&mut self, recorded: &RecordedEvent) -> Result<(), Fault> {
        let Some(event) = AccountEvent::decode(recorded)? else { return Ok(()) };
        let (position, account) = (recorded.position, recorded.stream.to_string());
        let unmatched = |what| Fault::Unmatched { position, what };
        self.check_half(&event, position).map_err(unmatched)?;
        let balance = self.balances.entry(account.clone()).or_default();
        *balance += event.change();
        self.held += event.change();
        if *balance < 0 {
            return Err(Fault::Negative { position, account, balance: *balance });
        }
        self.match_up(recorded, &account, event).map_err(unmatched)?;
        self.check_sum(position)
    }

    /// Checks that the second half of a transfer follows the first at once: they are one transaction.
    fn check_half(&self, event: &AccountEvent, position: Position) -> Result<(), String> {
        let Some((transfer, sent_at, _)) = &self.half else { return Ok(()) };
        let is_second = matches!(event, AccountEvent::TransferReceived { transfer: own, .. } if own == transfer);
        match is_second && position.0 == sent_at.0 + 1 {
            true => Ok(()),
            false => Err(format!("transfer `{transfer}` was sent at {sent_at}, and not received")),
        }
    }

    /// Matches what arrives with what was sent.
    fn match_up(
        &mut self,
        recorded: &RecordedEvent,
        account: &str,
        event: AccountEvent,
    ) -> Result<(), String> {
        let own = account.to_owned();
        match event {
            AccountEvent::AccountOpened { .. } | AccountEvent::AccountClosed {} => {}
            AccountEvent::Deposited { amount } => self.deposited += amount,
            AccountEvent::Withdrawn { amount } => self.withdrawn += amount,
            AccountEvent::TransferSent { transfer, to, amount } => {
                if !self.transfers.insert(transfer.clone()) {
                    return Err(format!("transfer `{transfer}` was made before"));
                }
                self.half = Some((transfer, recorded.position, Sent { from: own, to, amount }));
            }
            AccountEvent::TransferReceived { transfer, from, amount } => {
                let sent = self.half.take().map(|(_, _, sent)| sent);
                if sent != Some(Sent { from, to: own, amount }) {
                    return Err(format!("transfer `{transfer}` was not sent so: {sent:?}"));
                }
            }
            AccountEvent::PaymentSent { to, amount } => {
                self.payments_sent += 1;
                self.payments.insert(recorded.id.to_string(), Sent { from: own, to, amount });
            }
            AccountEvent::PaymentReceived { payment, from, amount } => {
                let sent = self.payments.remove(&payment);
                if sent != Some(Sent { from, to: own, amount }) {
                    return Err(format!("payment `{payment}` was not sent so: {sent:?}"));
                }
            }
            AccountEvent::PaymentReturned { payment, amount } => {
                self.payments_returned += 1;
                let sent = self.payments.remove(&payment);
                if sent.as_ref().is_none_or(|sent| (&sent.from, sent.amount) != (&own, amount)) {
                    return Err(format!(
                        "payment `{payment}` did not leave this account: {sent:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_sum(&self, position: Position) -> Result<(), Fault> {
        let (held, under_way) = (self.held, self.under_way());
        let due = self.deposited - self.withdrawn;
        match held + under_way == due {
            true => Ok(()),
            false => Err(Fault::Sum { position, held, under_way, due }),
        }
    }

    /// Checks what must hold where the log ends for now.
    ///
    /// # Errors
    /// Half of a transfer is there.
    pub fn check_end(&self) -> Result<(), Fault> {
        match &self.half {
            None => Ok(()),
            Some((transfer, position, _)) => {
                let what = format!("transfer `{transfer}` was sent, and not received");
                Err(Fault::Unmatched { position: *position, what })
            }
        }
    }

    /// Returns the money that left one account and did not arrive in another.
    pub fn under_way(&self) -> i64 {
        let half = self.half.iter().map(|(_, _, sent)| sent.amount);
        self.payments.values().map(|sent| sent.amount).chain(half).sum()
    }

    /// Returns the sum of all balances.
    pub fn held(&self) -> i64 {
        self.balances.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{StreamName, Timestamp};

    use super::*;

    /// Enters events, each with its account, at consecutive positions.
    fn enter(events: &[(&str, AccountEvent)]) -> Result<Books, Fault> {
        let mut books = Books::default();
        for (position, (account, event)) in (1..).zip(events) {
            let stream = StreamName::new(format!("account-{account}")).expect("a name");
            let event = event.encode().expect("an event");
            books.enter(&event.recorded(position, stream, 1, Timestamp(0)))?;
        }
        Ok(books)
    }

    fn deposited(amount: i64) -> AccountEvent {
        AccountEvent::Deposited { amount }
    }

    fn sent(transfer: &str, amount: i64) -> AccountEvent {
        let to = "account-bob".to_owned();
        AccountEvent::TransferSent { transfer: transfer.to_owned(), to, amount }
    }

    fn received(transfer: &str, amount: i64) -> AccountEvent {
        let from = "account-ann".to_owned();
        AccountEvent::TransferReceived { transfer: transfer.to_owned(), from, amount }
    }

    #[test]
    fn books_without_a_fault_have_the_balances() {
        let books = enter(&[
            ("ann", deposited(50)),
            ("ann", sent("t-1", 20)),
            ("bob", received("t-1", 20)),
            ("bob", AccountEvent::Withdrawn { amount: 5 }),
            ("ann", AccountEvent::PaymentSent { to: "globex/account-eve".to_owned(), amount: 10 }),
        ])
        .expect("no fault");
        assert_eq!(books.balances.values().copied().collect::<Vec<_>>(), [20, 15]);
        assert_eq!((books.held(), books.under_way(), books.transfers.len()), (35, 10, 1));
    }

    #[test]
    fn every_way_to_make_or_lose_money_is_found() {
        let half = "transfer `t-1` was sent at 2, and not received";
        for (fault, events) in [
            ("`account-ann` has -5", vec![("ann", AccountEvent::Withdrawn { amount: 5 })]),
            ("was not sent so", vec![("bob", received("t-1", 20))]),
            (
                "was not sent so",
                vec![
                    ("ann", deposited(50)),
                    ("ann", sent("t-1", 20)),
                    ("bob", received("t-1", 21)),
                ],
            ),
            (
                "was not sent so",
                vec![
                    ("ann", deposited(50)),
                    ("ann", sent("t-1", 20)),
                    ("eve", received("t-1", 20)),
                ],
            ),
            (half, vec![("ann", deposited(50)), ("ann", sent("t-1", 20)), ("ann", deposited(1))]),
            (
                half,
                vec![
                    ("ann", deposited(50)),
                    ("ann", sent("t-1", 20)),
                    ("bob", received("t-2", 20)),
                ],
            ),
            (
                "was made before",
                vec![
                    ("ann", deposited(50)),
                    ("ann", sent("t-1", 20)),
                    ("bob", received("t-1", 20)),
                    ("ann", sent("t-1", 20)),
                ],
            ),
            (
                "did not leave this account",
                vec![("bob", AccountEvent::PaymentReturned { payment: "p".to_owned(), amount: 5 })],
            ),
        ] {
            let found = enter(&events).expect_err(fault).to_string();
            assert!(found.contains(fault), "{found}");
        }
    }
}
