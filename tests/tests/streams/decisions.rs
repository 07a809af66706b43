//! Decisions over several streams on real processes: they race, are repeated, and keep their rule.

use std::collections::BTreeSet;

use quorate_app::decider::CommandError;
use quorate_app::decision::{Decision, Decisions, Writes};
use quorate_client::{Client, Query, RecordedEvent};

use crate::deciders::{AccountEvent, Accounts, Command, NotEnough, on_a_cluster};

/// The number of accounts among which money is transferred.
const ACCOUNTS: u64 = 3;
/// The money in each of them at first.
const MONEY: u64 = 20;

/// Takes money from one account to another one.
#[derive(Clone)]
struct Transfer {
    from: String,
    to: String,
    amount: u64,
}

impl Decision for Transfer {
    const NAME: &'static str = "transfer";
    /// The balance of the account from which money is taken.
    type State = u64;
    type Event = AccountEvent;
    type Error = NotEnough;

    fn query(&self) -> Query {
        Query::stream(&self.from).types(["Deposited", "Withdrawn"])
    }

    fn evolve(&self, balance: &mut u64, event: AccountEvent, recorded: &RecordedEvent) {
        assert_eq!(recorded.stream.as_str(), self.from);
        match event {
            AccountEvent::Deposited { amount } => *balance += amount,
            AccountEvent::Withdrawn { amount } => *balance -= amount,
        }
    }

    fn decide(&self, balance: &u64) -> Result<Writes<AccountEvent>, NotEnough> {
        let amount = self.amount;
        if amount > *balance {
            return Err(NotEnough(*balance));
        }
        Ok(Writes::to(&self.from, [AccountEvent::Withdrawn { amount }])
            .and_to(&self.to, [AccountEvent::Deposited { amount }]))
    }
}

/// Two decisions on one account at once would take more than it holds, if none were made again.
#[test]
fn decisions_that_race_keep_a_rule_over_several_streams_and_are_made_once() {
    on_a_cluster(async |client| {
        let accounts = Accounts::new(client.clone());
        for account in 0..ACCOUNTS {
            let deposit = Command::Deposit(MONEY);
            accounts.handle(account.to_string(), &deposit).await.expect("carried out");
        }
        let tasks: Vec<_> =
            (0..4_u64).map(|task| tokio::spawn(transfer_all(task, client.clone()))).collect();
        let mut made = BTreeSet::new();
        for task in tasks {
            made.extend(task.await.expect("no panic"));
        }
        assert!(made.len() > 20, "most transfers are made: {made:?}");
        let mut balances = Vec::new();
        for account in 0..ACCOUNTS {
            balances.push(accounts.load(account.to_string()).await.expect("loaded").state.balance);
        }
        assert_eq!(balances.iter().sum::<u64>(), ACCOUNTS * MONEY, "{balances:?}");
        let events = client.read(Query::category("account")).collect().await.expect("events");
        let withdrawals = events.events.iter().filter(|event| event.kind.as_str() == "Withdrawn");
        assert_eq!(withdrawals.count(), made.len(), "each transfer is made once");
        of_a_decision_in_the_log(&client).await;
    });
}

/// Makes the transfers that all tasks make; returns the positions of those that were made.
async fn transfer_all(task: u64, client: Client) -> Vec<u64> {
    let decisions = Decisions::new(client).retries(1_000);
    let mut made = Vec::new();
    for at in 0..40 {
        let number = (at + task * 10) % 40;
        let account = |number: u64| format!("account-{}", number % ACCOUNTS);
        let (from, to) = (account(number), account(number + 1 + number % 2));
        let transfer = Transfer { from, to, amount: 1 + number % 7 };
        match decisions.make(&transfer).command_id(format!("t{number}")).await {
            Ok(done) => made.push(done.position.0),
            Err(CommandError::Refused(NotEnough(balance))) => assert!(balance < transfer.amount),
            Err(error) => panic!("transfer {number}: {error}"),
        }
    }
    made
}

async fn of_a_decision_in_the_log(client: &Client) {
    let decisions = Decisions::new(client.clone());
    let transfer = Transfer { from: "account-a".into(), to: "account-b".into(), amount: 5 };
    let refused = decisions.make(&transfer).await.expect_err("it holds nothing");
    assert_eq!(refused.refusal(), Some(&NotEnough(0)));
    let accounts = Accounts::new(client.clone());
    accounts.handle("a", &Command::Deposit(5)).await.expect("carried out");
    let make = || decisions.make(&transfer).command_id("x").created_by("ann").tenant("acme");
    let made = make().await.expect("made");
    assert_eq!((made.events, made.is_repetition), (2, false));
    let again = make().await.expect("known, though it would be refused now");
    assert_eq!((again.position, again.events, again.is_repetition), (made.position, 0, true));
    let other = decisions.make(&transfer).command_id("x").await.expect_err("another tenant's");
    assert_eq!(other.refusal(), Some(&NotEnough(0)));
    let nothing = Transfer { amount: 0, from: "account-none".into(), ..transfer.clone() };
    let written = client.read("account-b").collect().await.expect("events");
    let [event] = &written.events[..] else { panic!("one event: {written:?}") };
    assert_eq!((&*event.causation_id, event.position), ("x", made.position));
    let metadata: serde_json::Value = event.metadata_json().expect("JSON");
    assert_eq!(metadata, serde_json::json!({ "created_by": "ann", "tenant": "acme" }));
    let loaded = decisions.make(&nothing).await.expect("a transfer of nothing is made, too");
    assert_eq!(loaded.events, 2);
}
