//! Everything that follows from events: read models, payments, publishing; in one process, which can be killed anytime.

use accounts::models::{redis_balances, sql_balances};
use accounts::payment::Payments;
use accounts::publish;
use anyhow::Result;
use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{FutureExt, TryFutureExt};
use quorate_app::process::{OnFailure, ProcessRunner};
use quorate_app::projection::Running;
use quorate_client::Client;

use crate::arguments::Destinations;

/// Serves until Ctrl-C, or until a part cannot go on.
pub(crate) async fn serve(client: Client, destinations: Destinations) -> Result<()> {
    let Destinations { file, redis, nats, kafka } = destinations;
    let stop = tokio::signal::ctrl_c().map(|_| ()).shared();
    let mut parts: Vec<LocalBoxFuture<'_, Result<()>>> = Vec::new();

    let sql = sql_balances(&file).await?.start(client.clone());
    parts.push(keep(sql, stop.clone()).boxed_local());
    if let Some(url) = &redis {
        let redis = redis_balances(url).await?.start(client.clone());
        parts.push(keep(redis, stop.clone()).boxed_local());
    }
    let payments = ProcessRunner::new(client.clone(), Payments).on_failure(OnFailure::Park);
    parts.push(payments.run_until(stop.clone()).err_into().boxed_local());
    if let Some(url) = &nats {
        parts.push(publish::to_nats(&client, url, stop.clone()).boxed_local());
    }
    if !kafka.is_empty() {
        parts.push(publish::to_kafka(&client, &kafka, stop.clone()).boxed_local());
    }

    println!("serving; Ctrl-C stops");
    try_join_all(parts).await?;
    Ok(())
}

/// Keeps a projection running until `stop` is ready.
async fn keep(running: Running, stop: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        () = stop => running.stop().await?,
        _ = running.ended() => running.wait().await?,
    }
    Ok(())
}
