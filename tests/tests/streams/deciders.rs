//! Repositories on real processes: conflicts, repetitions, caches, snapshots and the past, and commands repeated by
//! several processes at once while the leader is killed.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_app::decider::{CommandError, Decider, LoadError, Repository, Snapshots};
use quorate_app::evolution::{JsonEvents, OnUnknown};
use quorate_client::{Client, ErrorKind, Event, Expect, Query, Settings, Snapshot, Version};
use quorate_tests::cluster::{Cluster, PATIENCE};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::time::timeout;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

impl JsonEvents for AccountEvent {}

pub(crate) enum Command {
    Deposit(u64),
    /// A deposit by several events.
    DepositInParts(u64, u64),
    Withdraw(u64),
    /// Fills the account up: nothing follows if it holds enough.
    Fill(u64),
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the account holds {0} only")]
pub(crate) struct NotEnough(pub(crate) u64);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: u64,
}

impl Decider for Account {
    const CATEGORY: &'static str = "account";
    type State = Account;
    type Command = Command;
    type Event = AccountEvent;
    type Error = NotEnough;

    fn evolve(account: &mut Account, event: AccountEvent) {
        match event {
            AccountEvent::Deposited { amount } => account.balance += amount,
            AccountEvent::Withdrawn { amount } => account.balance -= amount,
        }
    }

    fn decide(account: &Account, command: &Command) -> Result<Vec<AccountEvent>, NotEnough> {
        let deposited = |amount| AccountEvent::Deposited { amount };
        Ok(match *command {
            Command::Deposit(amount) => vec![deposited(amount)],
            Command::DepositInParts(one, other) => vec![deposited(one), deposited(other)],
            Command::Withdraw(amount) if amount > account.balance => {
                return Err(NotEnough(account.balance));
            }
            Command::Withdraw(amount) => vec![AccountEvent::Withdrawn { amount }],
            Command::Fill(level) if level > account.balance => {
                vec![deposited(level - account.balance)]
            }
            Command::Fill(_) => Vec::new(),
        })
    }
}

pub(crate) type Accounts = Repository<Account>;

pub(crate) fn on_a_cluster<F: Future<Output = ()>>(test: impl FnOnce(Client) -> F) {
    let cluster = Cluster::start("64KiB");
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let addresses = cluster.nodes.iter().map(|node| node.address.clone());
        test(Client::connect(addresses).await.expect("a cluster")).await;
    });
}

#[test]
fn commands_are_decided_on_the_newest_state_with_and_without_a_cache() {
    on_a_cluster(async |client| {
        for (account, accounts) in [
            ("cached", Accounts::new(client.clone())),
            ("uncached", Accounts::new(client.clone()).cache(0)),
        ] {
            conflicts_and_refusals(account, &accounts, &Accounts::new(client.clone())).await;
            repetitions(account, &accounts, &Accounts::new(client.clone())).await;
        }
        exhausted_retries(&Accounts::new(client.clone()), &Accounts::new(client.clone())).await;
        deletions(&Accounts::new(client.clone()), &client).await;
        context(&Accounts::new(client.clone()), &client).await;
    });
}

/// Another process, whose repository is `other`, writes as well.
async fn conflicts_and_refusals(account: &str, accounts: &Accounts, other: &Accounts) {
    let done = accounts.handle(account, &Command::Deposit(50)).await.expect("carried out");
    assert_eq!((done.version.0, done.events, done.state.balance), (1, 1, 50));
    other.handle(account, &Command::Withdraw(30)).await.expect("carried out");
    // A decision on the state before the withdrawal conflicts, and is made again.
    let done = accounts.handle(account, &Command::Fill(60)).await.expect("carried out");
    assert_eq!((done.version.0, done.state.balance), (3, 60));
    other.handle(account, &Command::Deposit(40)).await.expect("carried out");
    // A refusal on the old state would be wrong.
    let done = accounts.handle(account, &Command::Withdraw(100)).await.expect("carried out");
    assert_eq!((done.version.0, done.state.balance), (5, 0));
    other.handle(account, &Command::Deposit(7)).await.expect("carried out");
    let refused = accounts.handle(account, &Command::Withdraw(8)).await.expect_err("refused");
    assert_eq!(refused.refusal(), Some(&NotEnough(7)));
    other.handle(account, &Command::Withdraw(7)).await.expect("carried out");
    other.handle(account, &Command::Deposit(9)).await.expect("carried out");
    // "Nothing" on the old state would be wrong, too.
    let done = accounts.handle(account, &Command::Fill(9)).await.expect("carried out");
    assert_eq!((done.version.0, done.events, done.state.balance), (8, 0, 9));
    let loaded = accounts.load(account).at_least(done.position).await.expect("loaded");
    assert_eq!((loaded.version.0, &*loaded.state), (8, &Account { balance: 9 }));
    let loaded = accounts.load(account).at_version(3).await.expect("loaded");
    assert_eq!((loaded.version.0, loaded.state.balance), (3, 60));
}

/// A decision on an old state is a conflict in the store, and nothing else.
async fn exhausted_retries(accounts: &Accounts, other: &Accounts) {
    accounts.handle("hasty", &Command::Deposit(1)).await.expect("carried out");
    other.handle("hasty", &Command::Deposit(2)).await.expect("carried out");
    let hasty = accounts.clone().retries(0);
    let error = hasty.handle("hasty", &Command::Fill(9)).await.expect_err("another was faster");
    assert!(matches!(error, CommandError::Conflict { attempts: 1, .. }), "{error}");
    let done = hasty.handle("hasty", &Command::Fill(9)).await.expect("carried out");
    assert_eq!((done.version.0, done.state.balance), (3, 9));
    let patient = hasty.handle("hasty", &Command::Deposit(1)).patiently(PATIENCE);
    let error = patient.await.expect_err("without an id it would be carried out twice");
    assert!(matches!(error, CommandError::Store(problem) if problem.kind == ErrorKind::Invalid));
}

async fn repetitions(account: &str, accounts: &Accounts, other: &Accounts) {
    let account = format!("{account}-repeated");
    let deposit = Command::DepositInParts(50, 1);
    let first = accounts.handle(&account, &deposit).command_id("c1").await.expect("carried out");
    assert_eq!((first.version.0, first.state.balance, first.is_repetition), (2, 51, false));
    accounts.handle(&account, &Command::Withdraw(51)).command_id("c2").await.expect("carried out");
    for repository in [accounts, other, &accounts.clone().cache(0)] {
        let again = repository.handle(&account, &deposit).command_id("c1").await.expect("known");
        assert_eq!((again.version, again.position), (first.version, first.position));
        assert_eq!((again.state.balance, again.events, again.is_repetition), (51, 0, true));
        // By now it would be refused.
        let withdraw = repository.handle(&account, &Command::Withdraw(51));
        let again = withdraw.command_id("c2").await.expect("known");
        assert_eq!((again.version.0, again.state.balance, again.is_repetition), (3, 0, true));
    }
    // This one is carried out by the other process, and then repeated here, on a state that is behind.
    other.handle(&account, &Command::Deposit(5)).command_id("c3").await.expect("carried out");
    let again = accounts.handle(&account, &Command::Deposit(5)).command_id("c3").await;
    let again = again.expect("known");
    assert_eq!((again.version.0, again.state.balance), (4, 5));
    // The same id decided otherwise is still the same command.
    other.handle(&account, &Command::Fill(9)).command_id("c4").await.expect("carried out");
    let again = accounts.handle(&account, &Command::Fill(9)).command_id("c4").await.expect("known");
    assert_eq!((again.version.0, again.state.balance), (5, 9));
    // Nor does it matter that its events would be written otherwise: the store knows their ids.
    let deposit = Command::Deposit(1);
    let ann = other.handle(&account, &deposit).command_id("c5").created_by("ann");
    ann.await.expect("carried out");
    let bob = accounts.handle(&account, &deposit).command_id("c5").created_by("bob");
    let again = bob.await.expect("known");
    assert_eq!((again.version.0, again.is_repetition), (6, true));
    let deposit = Command::DepositInParts(50, 1);
    let stranger = format!("{account}-stranger");
    let stranger = accounts.handle(&stranger, &deposit).command_id("c1").await.expect("new");
    assert!(!stranger.is_repetition, "the id means another command in another stream");
}

async fn deletions(accounts: &Accounts, client: &Client) {
    // Settings are a change of the stream, too, but of none of its events.
    for accounts in [accounts, &accounts.clone().cache(0).retries(0)] {
        accounts.handle("set", &Command::Deposit(1)).await.expect("carried out");
        client.stream("account-set").set(Settings::new().max_count(100)).await.expect("set");
        accounts.handle("set", &Command::Deposit(2)).await.expect("carried out");
        accounts.handle("set", &Command::Deposit(3)).await.expect("carried out");
    }
    assert_eq!(accounts.load("set").await.expect("loaded").state.balance, 12);
    accounts.handle("deleted", &Command::Deposit(50)).await.expect("carried out");
    client.stream("account-deleted").delete(Expect::Any).await.expect("deleted");
    let done = accounts.handle("deleted", &Command::Fill(70)).await.expect("carried out");
    assert_eq!((done.version.0, done.state.balance), (2, 70));
    let stored = accounts.clone().cache(0).load("deleted").await.expect("loaded");
    assert_eq!(stored.state.balance, 70, "it was not decided on what is gone");
    client.stream("account-deleted").delete(Expect::Any).await.expect("deleted");
    let refused = accounts.handle("deleted", &Command::Withdraw(1)).await.expect_err("refused");
    assert_eq!(refused.refusal(), Some(&NotEnough(0)));
    let loaded = accounts.load("deleted").await.expect("loaded");
    assert_eq!((loaded.version.0, loaded.state.balance), (2, 0));
    let past = accounts.load("deleted").at_version(1).await.expect_err("it is gone");
    assert!(
        matches!(&past, LoadError::Store(problem) if problem.kind == ErrorKind::Forgotten),
        "{past}"
    );
    client.stream("account-deleted").tombstone(Expect::Any).await.expect("closed");
    let closed = accounts.handle("deleted", &Command::Deposit(1)).await.expect_err("closed");
    let is_closed = |problem: &quorate_client::Problem| problem.kind == ErrorKind::StreamClosed;
    assert!(matches!(&closed, CommandError::Store(problem) if is_closed(problem)), "{closed}");
    assert!(!closed.is_transient());
}

async fn context(accounts: &Accounts, client: &Client) {
    let command = Command::DepositInParts(1, 2);
    let handle = accounts.handle("7", &command).tenant("acme").command_id("c7");
    handle.correlation_id("req-1").created_by("ann").await.expect("carried out");
    let read = client.read("acme/account-7").collect().await.expect("events");
    for event in &read.events {
        let correlation = event.correlation_id.as_ref().map(ToString::to_string);
        assert_eq!((correlation.as_deref(), &*event.causation_id), (Some("req-1"), "c7"));
        let metadata: serde_json::Value = event.metadata_json().expect("JSON");
        assert_eq!(metadata, serde_json::json!({ "created_by": "ann", "tenant": "acme" }));
    }
    let history = accounts.history("7").tenant("acme").with_changes().await.expect("a history");
    let [one, two] = &history[..] else { panic!("two events: {history:?}") };
    assert_eq!((one.command_id.as_deref(), two.command_id.as_deref()), (None, Some("c7")));
    assert_eq!(
        (&*two.context.created_by, two.changes[0].to_string()),
        ("ann", "balance: 1 → 3".into())
    );
    let of_acme = accounts.of_tenant("acme");
    let (then, now) = (of_acme.load("7").at_version(1), of_acme.load("7"));
    let changes = then.await.expect("loaded").changes_to(&now.await.expect("loaded"));
    assert_eq!(changes.expect("JSON"), two.changes);
    assert_eq!(of_acme.load("7").await.expect("loaded").state.balance, 3);
    assert_eq!(accounts.load("7").await.expect("loaded").version, Version::ZERO);
    for id in ["acme/7", "", "../7"] {
        let refused = accounts.handle(id, &command).await.expect_err(id);
        assert!(
            matches!(refused, CommandError::Store(problem) if problem.kind == ErrorKind::Invalid)
        );
    }
}

#[test]
fn snapshots_spare_events_and_never_change_a_state() {
    on_a_cluster(async |client| {
        let accounts = Accounts::new(client.clone()).snapshots(3, 2).cache(0);
        for number in 1..=8 {
            let deposit = Command::Deposit(number);
            let id = format!("s{number}");
            accounts.handle("1", &deposit).command_id(id).await.expect("carried out");
            // A snapshot is written beside the answer, after every third event.
            let expected = number / 3 * 3;
            eventually(async || {
                let kept = client.stream("account-1").snapshot().await.expect("an answer");
                kept.map_or(0, |kept| kept.version.0) >= expected
            })
            .await;
        }
        let kept = client.stream("account-1").snapshot().await.expect("an answer").expect("kept");
        assert_eq!((kept.version.0, kept.schema), (6, 2));
        // A state in the snapshot that events would not lead to shows that the events were not read.
        let wrong = Snapshot::json(8, &Account { balance: 1_000 }).expect("JSON").schema(2);
        client.stream("account-1").put_snapshot(wrong).await.expect("kept");
        assert_eq!(accounts.load("1").await.expect("loaded").state.balance, 1_000);
        assert_eq!(accounts.load("1").at_version(7).await.expect("loaded").state.balance, 28);
        // A command from before the snapshot is known all the same.
        for repository in [&accounts, &Accounts::new(client.clone()).snapshots(3, 2)] {
            for _ in 0..2 {
                let again = repository.handle("1", &Command::Deposit(2)).command_id("s2").await;
                let again = again.expect("known");
                assert_eq!((again.version.0, again.is_repetition), (2, true));
                assert_eq!(again.state.balance, 3);
            }
        }
        for (other, why) in [
            (accounts.clone().snapshots(3, 1), "the kept schema is newer"),
            (accounts.clone().snapshots(3, 3), "the kept schema is older"),
            (
                accounts.clone().with_snapshots(Snapshots::with_codec(
                    2,
                    |_| Err("not written".into()),
                    |_| Err("not read".into()),
                )),
                "it cannot be read",
            ),
        ] {
            let loaded = other.load("1").await.expect("loaded");
            assert_eq!((loaded.version.0, loaded.state.balance), (8, 36), "{why}");
            other.handle("1", &Command::Fill(0)).await.expect("carried out");
        }
        truncated_beginnings(&client).await;
    });
}

async fn truncated_beginnings(client: &Client) {
    let accounts = Accounts::new(client.clone()).cache(0);
    for _ in 0..4 {
        accounts.handle("2", &Command::Deposit(1)).await.expect("carried out");
    }
    client.stream("account-2").set(Settings::new().truncate_before(3)).await.expect("set");
    let gone = accounts.load("2").await.expect_err("the beginning is gone");
    assert!(
        matches!(&gone, LoadError::Store(problem) if problem.kind == ErrorKind::Forgotten),
        "{gone}"
    );
    let whole = Snapshot::json(4, &Account { balance: 4 }).expect("JSON");
    client.stream("account-2").put_snapshot(whole).await.expect("kept");
    let accounts = accounts.snapshots(100, 1);
    assert_eq!(accounts.load("2").await.expect("loaded").state.balance, 4);
    assert!(accounts.load("2").at_version(3).await.is_err());
    let beginning = quorate_client::Timestamp(0);
    assert!(accounts.load("2").until(beginning).await.is_err());
    assert_eq!(accounts.load("3").until(beginning).await.expect("loaded").version.0, 0);
}

#[test]
fn events_that_are_none_of_the_deciders_are_errors_unless_they_are_skipped() {
    on_a_cluster(async |client| {
        let accounts = Accounts::new(client.clone());
        let foreign = Event::json("Renamed", &"x").expect("JSON");
        client.append("account-1", Expect::Any, [foreign]).await.expect("appended");
        let error = accounts.handle("1", &Command::Deposit(1)).await.expect_err("not understood");
        assert!(matches!(error, CommandError::Decode(_)), "{error}");
        let accounts = accounts.on_unknown(OnUnknown::Skip);
        let done = accounts.handle("1", &Command::Deposit(1)).await.expect("carried out");
        assert_eq!((done.version.0, done.state.balance), (2, 1));
    });
}

/// Asks again and again until something holds.
async fn eventually(holds: impl AsyncFn() -> bool) {
    let asking = async { while !holds().await {} };
    timeout(PATIENCE, asking).await.expect("it holds in time");
}

/// The number of commands, each of which every process handles.
const COMMANDS: u64 = 300;
/// The number of processes, which all write to the same accounts.
const PROCESSES: usize = 4;

#[test]
fn a_command_that_all_repeat_is_carried_out_once_while_the_leader_is_killed() {
    let mut cluster = Cluster::start("64KiB");
    let runtime = Runtime::new().expect("a runtime");
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.address.clone()).collect();
    let client = runtime.block_on(Client::connect(addresses.clone())).expect("a cluster");
    let tasks: Vec<_> = (0..PROCESSES)
        .map(|process| runtime.spawn(repeat_all(process, addresses.clone())))
        .collect();
    for killed_at in [COMMANDS / 6, COMMANDS / 2] {
        runtime.block_on(eventually(async || {
            let read = client.read(Query::category("account")).local().collect().await;
            read.is_ok_and(|read| read.events.len() as u64 >= killed_at)
        }));
        let leader = cluster.wait_for_leader();
        cluster.nodes[leader].kill();
        cluster.nodes[leader].start();
    }
    let answers: Vec<Vec<(u64, u64)>> =
        tasks.into_iter().map(|task| runtime.block_on(task).expect("no panic")).collect();
    for one in &answers {
        assert_eq!(*one, answers[0], "all repetitions get the first answer");
    }
    let distinct: BTreeSet<_> = answers[0].iter().collect();
    assert_eq!(distinct.len() as u64, COMMANDS);
    runtime.block_on(async {
        let accounts = Accounts::new(client);
        for account in 0..3 {
            let loaded = accounts.load(account.to_string()).await.expect("loaded");
            let sum: u64 = (0..COMMANDS).filter(|number| number % 3 == account).sum();
            assert_eq!(loaded.state.balance, sum);
        }
    });
}

/// Handles all commands, each until it is carried out; the processes begin at different places.
async fn repeat_all(process: usize, addresses: Vec<String>) -> Vec<(u64, u64)> {
    let client = Client::connect(addresses).await.expect("a cluster");
    let accounts =
        Arc::new(Accounts::new(client).cache(if process.is_multiple_of(2) { 100 } else { 0 }));
    let mut answers = vec![(0, 0); COMMANDS as usize];
    for at in 0..COMMANDS {
        let number = (at + process as u64 * 3) % COMMANDS;
        let (account, command) = ((number % 3).to_string(), Command::Deposit(number));
        let handle = accounts.handle(&account, &command).command_id(format!("cmd-{number}"));
        let handle = handle.deadline(Duration::from_millis(1_500)).patiently(PATIENCE);
        match handle.await {
            Ok(done) => answers[number as usize] = (done.version.0, done.position.0),
            Err(error) => panic!("command {number}: {error}"),
        }
    }
    answers
}
