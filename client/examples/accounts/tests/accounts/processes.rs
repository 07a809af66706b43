//! The session of the README with processes: `quorate dev`, `serve` and `run`, each killed while money moves.

use std::collections::BTreeMap;

use accounts::audit::Auditor;
use accounts::models::{RedisBalances, redis_balances};
use quorate_client::{Client, Position};

use super::destinations::{in_kafka, in_nats, in_the_log, without_repetitions};
use super::dev::{Dev, Program};
use super::models::by_name;
use super::servers::{Kafka, Nats, Redis};
use super::{HANGS_AFTER, end_of_log, in_time};

/// The program of the example.
const ACCOUNTS: &str = env!("CARGO_BIN_EXE_accounts");
/// The number of leaders that are killed.
const KILLED: usize = 2;
/// The number of transfers between two of the events of the test.
const TRANSFERS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_is_made_or_lost_while_processes_are_killed() {
    let Some(mut cluster) = Dev::start() else { return };
    let servers = Servers::start().await;
    let client = cluster.client().await;
    let mut auditor = Auditor::new(&client);
    let mut serving = serve(&cluster, &servers);
    let run = ["run", "--accounts", "10", "--tenants", "acme,globex", "--seconds", "86400"];
    let running = cluster.run(cluster.command(ACCOUNTS).args(run));
    for _ in 0..KILLED {
        transferred(&mut auditor).await;
        let leader = cluster.kill_leader().await;
        transferred(&mut auditor).await;
        cluster.start_again(&leader);
        serving.signal("KILL");
        let (ended, printed) = serving.ends();
        assert_eq!(ended.code(), None, "`serve` ended before it was killed: {printed:?}");
        transferred(&mut auditor).await;
        serving = serve(&cluster, &servers);
    }
    running.signal("INT");
    let (ended, printed) = running.ends();
    assert!(ended.success(), "{printed:?}");
    println!("{}", printed.join("\n"));

    let end = in_time("every payment", delivered(&mut auditor, end_of_log(&client).await)).await;
    let books = auditor.books();
    let made = format!("{} transfers and {} payments ", books.transfers.len(), books.payments_sent);
    assert!(
        printed[0].starts_with(&made),
        "exactly those that were acknowledged are there: {made}"
    );
    let balances = by_name(books);
    assert_eq!(in_sqlite(&cluster, end), balances);
    in_time("everything arrives", servers.check(&client, end, &balances)).await;
    let (ended, printed) = cluster.run(cluster.command(ACCOUNTS).arg("audit")).ends();
    assert!(ended.success() && printed[0].contains("no money was made or lost"), "{printed:?}");
    serving.signal("INT");
    let (ended, printed) = serving.ends();
    assert!(ended.success(), "{printed:?}");
}

/// The servers to which `serve` brings events, as far as they are installed.
struct Servers {
    redis: Option<Redis>,
    nats: Option<Nats>,
    kafka: Option<Kafka>,
}

impl Servers {
    async fn start() -> Servers {
        let (redis, nats) = (Redis::start().await, Nats::start().await);
        Servers { redis, nats, kafka: Kafka::start().await }
    }

    /// Returns the options by which `serve` learns of them.
    fn options(&self) -> Vec<String> {
        let redis = self.redis.iter().flat_map(|redis| ["--redis", &redis.url]);
        let nats = self.nats.iter().flat_map(|nats| ["--nats", &nats.url]);
        let kafka = self.kafka.iter().flat_map(|kafka| ["--kafka", &kafka.address]);
        redis.chain(nats).chain(kafka).map(str::to_owned).collect()
    }

    /// Checks that each has the balances, or all events, those of an account in order.
    async fn check(&self, client: &Client, end: Position, balances: &BTreeMap<String, i64>) {
        if let Some(server) = &self.redis {
            let projection = redis_balances(&server.url).await.expect("a connection");
            projection.reached(end, HANGS_AFTER).await.expect("it has everything");
            let in_redis = RedisBalances::list(projection.store(), &server.url).await;
            assert_eq!(in_redis.expect("an answer"), *balances);
        }
        // Events that were in flight when `serve` or the leader was killed arrive again.
        let expected = in_the_log(client).await;
        if let Some(server) = &self.nats {
            assert_eq!(without_repetitions(in_nats(server, &expected).await), expected);
        }
        if let Some(broker) = &self.kafka {
            assert_eq!(without_repetitions(in_kafka(broker, &expected).await), expected);
        }
    }
}

/// Starts `serve`, with all destinations that there are servers for.
fn serve(cluster: &Dev, servers: &Servers) -> Program {
    let mut command = cluster.command(ACCOUNTS);
    let mut serving = cluster.run(command.arg("serve").args(servers.options()));
    serving.prints("serving");
    serving
}

/// Waits until some more transfers are made.
async fn transferred(auditor: &mut Auditor) {
    let goal = auditor.books().transfers.len() + TRANSFERS;
    let transferred = async {
        while auditor.books().transfers.len() < goal {
            auditor.next().await.expect("no fault");
        }
    };
    in_time("transfers", transferred).await;
}

/// Audits up to `end` at least, and until no payment is under way; returns the position that was reached.
async fn delivered(auditor: &mut Auditor, end: Position) -> Position {
    auditor.until(end).await.expect("no fault");
    while !auditor.books().payments.is_empty() {
        auditor.next().await.expect("no fault");
    }
    auditor.position()
}

/// Returns the balances that `balances` prints: in each line a balance, an account, and its owner.
fn in_sqlite(cluster: &Dev, end: Position) -> BTreeMap<String, i64> {
    let balances = ["balances", "--at-least", &end.to_string()];
    let (ended, printed) = cluster.run(cluster.command(ACCOUNTS).args(balances)).ends();
    assert!(ended.success(), "{printed:?}");
    let row = |line: &String| {
        let mut words = line.split_whitespace();
        let balance = words.next().expect("a balance").parse().expect("a number");
        (words.next().expect("an account").to_owned(), balance)
    };
    printed.iter().map(row).collect()
}
