//! The read models hold the balances of the books.

use std::collections::BTreeMap;
use std::time::Duration;

use accounts::audit::{Auditor, Books};
use accounts::models::{RedisBalances, SqlBalances, redis_balances, sql_balances};
use accounts::name::AccountName;
use accounts::workload::{Tally, Workload};
use quorate_client::{Client, StreamName};
use tokio::sync::watch;

use super::servers::Redis;
use super::{HANGS_AFTER, end_of_log, in_time};

/// Makes some movements.
pub(crate) async fn move_money(client: &Client) -> Workload {
    let accounts = Workload::accounts(5, &["acme"]).expect("names");
    let (run, patience) = ("models".to_owned(), Duration::from_secs(10));
    let workload = Workload { accounts, workers: 4, run, seed: 3, patience };
    workload.open(client).await.expect("opened");
    let (tally, mut seen) = watch::channel(Tally::default());
    let (stop, stopping) = watch::channel(false);
    let enough = async {
        let enough = seen.wait_for(|tally| tally.made() >= 100).await;
        drop(enough.expect("the workers work"));
        stop.send_replace(true);
        Ok(())
    };
    let working = async { tokio::try_join!(workload.run(client, &tally, &stopping), enough) };
    in_time("movements", working).await.expect("moved");
    workload
}

/// Returns the balances of the books by the names of the accounts.
pub(crate) fn by_name(books: &Books) -> BTreeMap<String, i64> {
    let named = |(stream, balance): (&String, &i64)| {
        let stream = StreamName::new(stream).expect("a name");
        (AccountName::of_stream(&stream).expect("an account").to_string(), *balance)
    };
    books.balances.iter().map(named).collect()
}

async fn booked(client: &Client) -> BTreeMap<String, i64> {
    let mut auditor = Auditor::new(client);
    by_name(auditor.until(end_of_log(client).await).await.expect("no fault"))
}

#[tokio::test]
async fn the_balances_are_in_sqlite() {
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    let folder = tempfile::tempdir().expect("a folder");
    let projection = sql_balances(folder.path().join("balances.sqlite")).await.expect("a file");
    let running = projection.start(client.clone());
    move_money(&client).await;
    let end = end_of_log(&client).await;
    running.reached(end.0, HANGS_AFTER).await.expect("it has everything");
    let rows = SqlBalances::list(projection.store(), Some("acme")).await.expect("rows");
    assert!(rows.is_sorted_by(|one, next| one.balance >= next.balance), "{rows:?}");
    let balances = rows.into_iter().map(|row| (row.account, row.balance)).collect();
    assert_eq!(booked(&client).await, balances);
    let others = SqlBalances::list(projection.store(), Some("globex")).await.expect("rows");
    assert_eq!(others, []);
    running.stop().await.expect("it stops");
}

#[tokio::test]
async fn the_balances_are_in_redis() {
    let Some(server) = Redis::start().await else { return };
    let cluster = quorate_testing::start().await.expect("started");
    let client = cluster.client();
    let projection = redis_balances(&server.url).await.expect("a connection");
    let running = projection.start(client.clone());
    move_money(&client).await;
    let end = end_of_log(&client).await;
    running.reached(end.0, HANGS_AFTER).await.expect("it has everything");
    let balances = RedisBalances::list(projection.store(), &server.url).await.expect("an answer");
    assert_eq!(booked(&client).await, balances);
    running.stop().await.expect("it stops");
}
