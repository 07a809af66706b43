//! Reads a stream, then the events that a query finds in the whole log.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example read`.

use quorate_client::{Client, Query};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    let order = client.read("order-42").collect().await?;
    println!("{} events as of position {}", order.events.len(), order.as_of);

    let mut payments = client.read(Query::category("order").types(["OrderPaid"])).stream().await?;
    while let Some(event) = payments.try_next().await? {
        let data: serde_json::Value = event.json()?;
        println!("{} {} {data}", event.position, event.stream);
    }
    Ok(())
}
