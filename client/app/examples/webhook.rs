//! Posts every event of the category `order` to a webhook, signed, and repeats it until it is acknowledged.
//!
//! Run it beside `quorate dev` and something that listens on port 8080:
//! `cargo run -p quorate-app --features webhook --example webhook`. Refused events are parked:
//! `quorate group parked orders-webhook` lists it, `quorate group replay orders-webhook` tries it again.

use std::time::Duration;

use quorate_app::sink::{SinkRunner, Webhook};
use quorate_client::{Client, Query, Strategy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    let group = client.group("orders-webhook");
    let orders = group.create(Query::category("order")).strategy(Strategy::ByStream);
    orders.timeout(Duration::from_secs(30)).attempts(20).send().await?;

    // Both sides know the secret. The one here is the example of the Standard Webhooks specification.
    let webhook = Webhook::new("http://127.0.0.1:8080/", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    println!("posting orders; Ctrl-C stops");
    SinkRunner::new(group, webhook).name("example").window(16).run_until(stop).await?;
    Ok(())
}
