//! Runs the order service beside a cluster, such as that of `quorate dev`; `bench` measures its parts instead.

mod bench;

use orders::notifications::Printer;
use orders::{Service, Settings};
use quorate_client::Client;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).init();
    let settings = Settings::from_environment()?;
    let client = Client::connect(settings.endpoints.clone()).await?;
    match std::env::args().nth(1).as_deref() {
        None => serve(client, &settings).await,
        Some("bench") => bench::run(client).await,
        Some(other) => anyhow::bail!("`{other}` is neither nothing nor `bench`"),
    }
}

async fn serve(client: Client, settings: &Settings) -> anyhow::Result<()> {
    let service = Service::prepare(client, settings, Printer).await?;
    let listener = TcpListener::bind(&settings.listen).await?;
    println!("orders are taken at http://{}; Ctrl-C stops", listener.local_addr()?);
    let stop = async {
        // Without a signal handler the service runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    service.run_until(listener, stop).await
}
