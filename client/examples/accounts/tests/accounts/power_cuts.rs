//! The proof: workers move money while one leader after another loses its power.

use std::collections::BTreeSet;
use std::time::Duration;

use accounts::audit::Auditor;
use accounts::payment::Payments;
use accounts::workload::{FIRST_DEPOSIT, Tally, Workload};
use quorate_app::process::ProcessRunner;
use quorate_client::Position;
use quorate_testing::Cluster;
use tokio::sync::{oneshot, watch};

use super::{end_of_log, in_time};

/// The number of leaders that lose their power.
const CUTS: usize = 6;
/// The number of movements between two of these.
const MOVEMENTS: usize = 40;

/// The outcome of an attempt is often unknown here: it has less time than an election takes.
fn workload() -> Workload {
    let accounts = Workload::accounts(10, &["acme", "globex"]).expect("names");
    let (run, patience) = ("trial".to_owned(), Duration::from_millis(100));
    Workload { accounts, workers: 8, run, seed: 7, patience }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_is_made_or_lost_while_leaders_lose_their_power() {
    let mut cluster = Cluster::start(3).await.expect("started");
    let client = cluster.client();
    let workload = workload();
    workload.open(&client).await.expect("opened");

    let (tally, mut seen) = watch::channel(Tally::default());
    let (stop, stopping) = watch::channel(false);
    let (working, used) = (workload.clone(), client.clone());
    let working = tokio::spawn(async move { working.run(&used, &tally, &stopping).await });
    let (end_payments, payments_ended) = oneshot::channel::<()>();
    let payments = ProcessRunner::new(client.clone(), Payments);
    let until = async { drop(payments_ended.await) };
    let paying = tokio::spawn(payments.run_until(until));
    let (audit_until, mut last) = oneshot::channel::<Position>();
    let mut auditor = Auditor::new(&client);
    let auditing = tokio::spawn(async move {
        let last = tokio::select! {
            faulty = auditor.until(Position(u64::MAX)) => panic!("{:?}", faulty.err()),
            last = &mut last => last.expect("a position"),
        };
        auditor.until(last).await.cloned()
    });

    for _ in 0..CUTS {
        moved(&mut seen).await;
        let leader = in_time("a leader", leader_of(&cluster)).await;
        cluster.cut_power(leader);
        moved(&mut seen).await;
        cluster.start_again(leader).await.expect("started again");
    }
    stop.send_replace(true);
    in_time("every outcome", working).await.expect("no panic").expect("no other outcomes");
    in_time("every payment", delivered(&client)).await;
    let _ = end_payments.send(());
    in_time("the end of the payments", paying).await.expect("no panic").expect("it stops");

    audit_until.send(end_of_log(&client).await).expect("the auditor is there");
    let books = in_time("the audit", auditing).await.expect("no panic").expect("no fault");
    let tally = seen.borrow().clone();
    println!("{} movements, {} attempts repeated", tally.made(), tally.repeated);
    let acknowledged: BTreeSet<String> = tally.transfers.iter().cloned().collect();
    assert_eq!(acknowledged.len(), tally.transfers.len(), "an id was used twice");
    assert_eq!(books.transfers, acknowledged, "exactly the acknowledged transfers are there");
    assert_eq!(books.payments_sent, tally.payments, "exactly the acknowledged payments are there");
    assert_eq!((books.payments_returned, books.under_way()), (0, 0));
    assert_eq!(books.held(), FIRST_DEPOSIT * workload.accounts.len() as i64);
    assert!(tally.repeated > 0, "no outcome was ever unknown: the test tests nothing");
}

/// Waits until some more movements are acknowledged.
async fn moved(seen: &mut watch::Receiver<Tally>) {
    let goal = seen.borrow().made() + MOVEMENTS;
    let moved = in_time("movements", seen.wait_for(|tally| tally.made() >= goal)).await;
    moved.expect("the workers work");
}

async fn leader_of(cluster: &Cluster) -> usize {
    loop {
        if let Ok(Some(leader)) = cluster.leader().await {
            return leader;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until no payment is under way.
async fn delivered(client: &quorate_client::Client) {
    let mut auditor = Auditor::new(client);
    auditor.until_caught_up().await.expect("no fault");
    while !auditor.books().payments.is_empty() {
        auditor.next().await.expect("no fault");
    }
}
