//! Moves money between two accounts: both streams are written, or neither is.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example transaction`.

use quorate_client::{Client, Event, Expect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    let payer = client.read("account-1").collect().await?;
    let limits = client.read("limits-7").collect().await?;
    let done = client
        .transaction()
        .write("account-1", Expect::version(payer.version), [Event::json("Withdrawn", &50)?])
        .write("account-2", Expect::Any, [Event::json("Deposited", &50)?])
        .require("limits-7", Expect::version(limits.version))
        .commit()
        .await?;
    println!("versions {:?}, position {}", done.versions, done.position);
    Ok(())
}
