//! Appends an event to a stream if the stream is still at the version that the decision was made on.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example append`.

use quorate_client::{AppendError, Client, Event, Expect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    let order = client.read("order-42").collect().await?;
    println!("order-42 is at version {}", order.version);

    let paid = Event::json("OrderPaid", &serde_json::json!({ "total": 50 }))?.tag("customer:7");
    match client.append("order-42", Expect::version(order.version), [paid]).await {
        Ok(done) => println!("version {}, position {}", done.version, done.position),
        Err(AppendError::Conflict(c)) => println!("{c}: decide again"),
        Err(AppendError::Unknown(append)) => {
            let done = client.repeat(append).await?;
            println!("now it is known: version {}", done.version);
        }
        Err(other) => return Err(other.into()),
    }
    Ok(())
}
