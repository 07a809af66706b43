//! The trial against a cluster, and the audit.

use std::time::{Duration, Instant};

use accounts::audit::{Auditor, Books};
use accounts::workload::{Tally, Workload};
use anyhow::Result;
use quorate_client::{Client, Position};
use tokio::sync::watch;

use crate::arguments::Trial;

/// The time for the first attempt of a command.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lets workers move money for a while or until Ctrl-C, and audits the result.
pub(crate) async fn run(client: Client, trial: Trial) -> Result<()> {
    let Trial { workers, accounts: count, tenants, seconds } = trial;
    let accounts = Workload::accounts(count as usize, &tenants)?;
    let (run, seed) = (format!("{:08x}", fastrand::u32(..)), fastrand::u64(..));
    let workload = Workload { accounts, workers, run, seed, patience: PATIENCE };
    workload.open(&client).await?;

    let (tally, stop) = (watch::Sender::new(Tally::default()), watch::Sender::new(false));
    let stopping = stop.subscribe();
    let begun = Instant::now();
    let end = async {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            stopped = tokio::signal::ctrl_c() => stopped?,
        }
        stop.send_replace(true);
        Ok(())
    };
    tokio::try_join!(workload.run(&client, &tally, &stopping), end)?;
    let tally = tally.borrow().clone();
    println!(
        "{} transfers and {} payments ({:.0} per second), {} refused, {} attempts repeated",
        tally.transfers.len(),
        tally.payments,
        tally.made() as f64 / begun.elapsed().as_secs_f64(),
        tally.refused,
        tally.repeated
    );
    audit(&client, false).await
}

/// Audits everything, and what is appended from now on if it follows.
pub(crate) async fn audit(client: &Client, follows: bool) -> Result<()> {
    let mut auditor = Auditor::new(client);
    loop {
        auditor.until_caught_up().await?;
        report(auditor.position(), auditor.books());
        if !follows {
            return Ok(());
        }
    }
}

fn report(position: Position, books: &Books) {
    println!(
        "position {position}: {} deposited, {} withdrawn, {} in {} accounts, {} under way; \
         no money was made or lost",
        books.deposited,
        books.withdrawn,
        books.held(),
        books.balances.len(),
        books.under_way()
    );
}
