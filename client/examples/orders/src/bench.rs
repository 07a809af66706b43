//! Measurements of the service's parts: commands per second, and the time from a command's answer to the read model.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use orders::Settings;
use orders::domain::{Item, Order, OrderCommand, OrderKey};
use orders::models::Models;
use quorate_app::decider::Repository;
use quorate_client::Client;

/// The time of one measurement.
const SECONDS: u64 = 5;
/// The number of commands to one order, before the next order is begun.
const COMMANDS_PER_ORDER: u64 = 20;
/// The number of aggregates in the cache, where there is one.
const CACHED: usize = 1_024;
const TENANT: &str = "bench";

/// Measures, and prints what it measured.
pub(crate) async fn run(client: Client) -> anyhow::Result<()> {
    // Orders of this run are others than those of the runs before.
    let run = std::time::UNIX_EPOCH.elapsed()?.as_micros();
    views(&client, run).await?;
    commands(&client, run).await
}

/// Measures commands per second, with a cache of orders and without.
async fn commands(client: &Client, run: u128) -> anyhow::Result<()> {
    for cached in [CACHED, 0] {
        for callers in [1_usize, 16, 64] {
            let orders = Repository::<Order>::new(client.clone()).of_tenant(TENANT).cache(cached);
            let name = format!("{run}-{cached}-{callers}");
            let begun = Instant::now();
            let all = (0..callers).map(|caller| {
                let (orders, name) = (orders.clone(), format!("{name}-{caller}"));
                tokio::spawn(async move { call(&orders, &name).await })
            });
            let mut took = Vec::new();
            for one in try_join_all(all).await? {
                took.extend(one?);
            }
            let per_second = took.len() as f64 / begun.elapsed().as_secs_f64();
            let cache = if cached == 0 { "without" } else { "with" };
            let [p50, p99] = percentiles(took);
            println!(
                "{callers:>3} callers {cache} cache: {per_second:>7.0} commands/s, p50 {p50:?}, p99 {p99:?}"
            );
        }
    }
    Ok(())
}

/// Measures the time from a command's answer to the read model.
async fn views(client: &Client, run: u128) -> anyhow::Result<()> {
    for callers in [1_usize, 16] {
        let folder = tempfile::tempdir()?;
        let settings =
            Settings { sqlite: folder.path().join("orders.sqlite"), ..Settings::default() };
        let models = Models::start(client, &settings).await?;
        let orders = Repository::<Order>::new(client.clone()).of_tenant(TENANT);
        let name = format!("{run}-view-{callers}");
        // A log that is there already takes longer to catch up with than a query waits.
        let newest = newest(&orders, &name).await?;
        while models.orders(TENANT, &Default::default(), newest).await.is_err() {}
        let all = (0..callers).map(|caller| follow(&orders, &models, format!("{name}-{caller}")));
        let took = try_join_all(all).await?.into_iter().flatten().collect();
        let [p50, p99] = percentiles(took);
        println!(
            "{callers:>3} callers: from the answer to the read model p50 {p50:?}, p99 {p99:?}"
        );
        models.stop().await?;
    }
    Ok(())
}

/// Carries out commands one after another, and returns the time of each.
async fn call(orders: &Repository<Order>, name: &str) -> anyhow::Result<Vec<Duration>> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        let (order, command) = next(name, took.len() as u64);
        let sent = Instant::now();
        orders.handle(order, &command).await?;
        took.push(sent.elapsed());
    }
    Ok(took)
}

/// Carries out commands, and returns how long after each answer the order was read as the command left it.
async fn follow(
    orders: &Repository<Order>,
    models: &Models,
    name: String,
) -> anyhow::Result<Vec<Duration>> {
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        let (order, command) = next(&name, took.len() as u64);
        let key = OrderKey { tenant: TENANT.into(), id: order.clone() };
        let done = orders.handle(order, &command).await?;
        let answered = Instant::now();
        let page = models.order(&key, done.position.0).await?;
        took.push(answered.elapsed());
        anyhow::ensure!(page.is_some_and(|page| page.order.position == done.position.0), "stale");
    }
    Ok(took)
}

/// Writes one event more, and returns its position.
async fn newest(orders: &Repository<Order>, name: &str) -> anyhow::Result<u64> {
    let (order, command) = next(&format!("{name}-first"), 0);
    Ok(orders.handle(order, &command).await?.position.0)
}

/// Returns the order and the command of a number: an order is created, and gets items.
fn next(name: &str, number: u64) -> (String, OrderCommand) {
    let order = format!("{name}-{}", number / COMMANDS_PER_ORDER);
    let command = match number % COMMANDS_PER_ORDER {
        0 => OrderCommand::Create { customer: "ann".into() },
        item => {
            let sku = format!("article-{item}");
            OrderCommand::AddItem(Item { sku, quantity: 1, unit_price: 350 })
        }
    };
    (order, command)
}

fn percentiles(mut took: Vec<Duration>) -> [Duration; 2] {
    took.sort();
    [50, 99].map(|percent| took.get(took.len() * percent / 100).copied().unwrap_or_default())
}
