//! A transfer: a rule over two accounts, whose events are appended together or not at all.

use quorate_app::decider::Decider;
use quorate_app::decision::{Decision, Writes};
use quorate_client::{Query, RecordedEvent};

use crate::account::{Account, Refusal};
use crate::event::AccountEvent;
use crate::name::AccountName;

/// Moves money from one account to another. The request is the decision.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The id, which is also the command's: a transfer that is repeated is made once.
    pub id: String,
    /// The account that sends.
    pub from: AccountName,
    /// The account that receives.
    pub to: AccountName,
    /// The amount.
    pub amount: i64,
}

/// The state of both accounts, as far as a transfer rests on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Both {
    from: Account,
    /// The receiver, without its movements.
    to: Account,
}

impl Decision for Transfer {
    const NAME: &'static str = "transfer";
    type State = Both;
    type Event = AccountEvent;
    type Error = Refusal;

    /// Finds everything of the sender, and of the receiver only its opening and end: what else happens there does not matter, so
    /// two transfers to one account do not stand in each other's way.
    fn query(&self) -> Query {
        let receiver = Query::stream(self.to.stream()).types(["AccountOpened", "AccountClosed"]);
        Query::stream(self.from.stream()).or(receiver)
    }

    fn evolve(&self, both: &mut Both, event: AccountEvent, recorded: &RecordedEvent) {
        let is_senders = recorded.stream.as_str() == self.from.stream();
        let account = if is_senders { &mut both.from } else { &mut both.to };
        Account::evolve(account, event);
    }

    fn decide(&self, both: &Both) -> Result<Writes<AccountEvent>, Refusal> {
        if self.from == self.to {
            return Err(Refusal::SameAccount);
        }
        both.to.can_take_in(self.amount)?;
        both.from.can_give(self.amount)?;
        let (transfer, amount) = (self.id.clone(), self.amount);
        let (from, to) = (self.from.stream(), self.to.stream());
        let sent =
            AccountEvent::TransferSent { transfer: transfer.clone(), to: to.clone(), amount };
        let received = AccountEvent::TransferReceived { transfer, from: from.clone(), amount };
        Ok(Writes::to(from, [sent]).and_to(to, [received]))
    }
}

#[cfg(test)]
mod tests {
    use quorate_app::decision::{Scenario, given, given_nothing};

    use super::*;

    fn transfer(from: &str, to: &str, amount: i64) -> Transfer {
        let name = |text: &str| text.parse().expect("a name");
        Transfer { id: "t-1".to_owned(), from: name(from), to: name(to), amount }
    }

    fn opened() -> AccountEvent {
        AccountEvent::AccountOpened { owner: "Ann".to_owned() }
    }

    /// Ann has 50, and Bob an account.
    fn both() -> Scenario {
        given("account-ann", [opened(), AccountEvent::Deposited { amount: 50 }])
            .given("account-bob", [opened()])
    }

    #[test]
    fn money_leaves_one_account_and_arrives_in_the_other() {
        let (id, ann, bob) = ("t-1".to_owned(), "account-ann", "account-bob");
        let sent =
            AccountEvent::TransferSent { transfer: id.clone(), to: bob.to_owned(), amount: 30 };
        let received =
            AccountEvent::TransferReceived { transfer: id, from: ann.to_owned(), amount: 30 };
        both()
            .given_unseen(bob, [AccountEvent::Deposited { amount: 1 }])
            .when(&transfer("ann", "bob", 30))
            .then_writes(Writes::to(ann, [sent]).and_to(bob, [received]));
    }

    #[test]
    fn an_account_that_has_too_little_sends_nothing() {
        both().when(&transfer("ann", "bob", 51)).then_error(&Refusal::NotEnough { balance: 50 });
    }

    #[test]
    fn money_goes_only_between_two_accounts_that_exist() {
        let ann = || given("account-ann", [opened(), AccountEvent::Deposited { amount: 50 }]);
        ann().when(&transfer("ann", "ann", 5)).then_error(&Refusal::SameAccount);
        ann().when(&transfer("ann", "bob", 5)).then_error(&Refusal::NotOpen);
        given_nothing().when(&transfer("ann", "bob", 5)).then_error(&Refusal::NotOpen);
        both().when(&transfer("ann", "bob", 0)).then_error(&Refusal::NoAmount);
        both()
            .given("account-bob", [AccountEvent::AccountClosed {}])
            .when(&transfer("ann", "bob", 5))
            .then_error(&Refusal::Closed);
    }
}
