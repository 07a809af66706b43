//! A little of the work against each store that is installed: the stores do what the figures are about.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::payloads::{Dice, Payloads};
use crate::peer::{Peer, Place, Store};
use crate::peers::{CANDIDATES, Programs};

/// The first of the ports, apart from those of a real run.
const PORT: u16 = 18_401;

#[tokio::test(flavor = "multi_thread")]
async fn each_store_that_is_installed_checks_versions_and_keeps_events() -> Result<()> {
    let program = |name: &str| std::env::var_os(name).map(Into::into);
    let programs =
        Programs { quorate: program("QUORATE_PROGRAM"), umadb: program("UMADB_PROGRAM") };
    for (about, find) in CANDIDATES {
        match find(&programs) {
            Ok(peer) => try_out(&*peer).await.map_err(|error| error.context(about.name))?,
            Err(error) => eprintln!("SKIPPED: {}: {error:#}", about.title),
        }
    }
    Ok(())
}

async fn try_out(peer: &dyn Peer) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = Place { folder: folder.path().to_owned(), port: PORT, trace: None };
    ensure!(!peer.version()?.is_empty(), "it has no version");
    let servers = peer.start(&place).await?;
    ensure!(servers.memory() > 0, "its processes are not found");
    let store = peer.connect(&place, 2).await?;
    let payloads = Payloads::random();
    let mut dice = Dice::new(1);
    let first = store.append(0, "stream-1", 0, payloads.take(&mut dice, 1)).await?;
    let second = store.append(1, "stream-1", first, payloads.take(&mut dice, 2)).await?;
    ensure!(second > first, "the mark does not move");
    for stale in [0, first] {
        let refused = store.append(0, "stream-1", stale, payloads.take(&mut dice, 1)).await;
        ensure!(refused.is_err(), "an append is accepted at {stale}, after {second}");
    }
    store.append(0, "stream-2", 0, payloads.take(&mut dice, 1)).await?;
    holds(peer, &store).await?;
    drop(store);
    servers.stop().await;
    let servers = peer.start(&place).await?;
    let store = peer.connect(&place, 1).await?;
    holds(peer, &store).await?;
    store.append(0, "stream-1", second, payloads.take(&mut dice, 1)).await?;
    // PostgreSQL waits for its clients before it ends.
    drop(store);
    servers.stop().await;
    Ok(())
}

/// Checks that the store holds the three events of one stream and the one of another.
async fn holds(peer: &dyn Peer, store: &Arc<dyn Store>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let read = store.read_stream("stream-1").await?;
    ensure!((read.events, read.bytes) == (3, 3 * 256), "{read:?} of a stream");
    let read = store.replay(deadline).await?;
    ensure!((read.events, read.bytes) == (4, 4 * 256), "{read:?} of everything");
    let lacks = peer.about().lacks;
    if !lacks.iter().any(|(column, _)| *column == crate::columns::Column::CatchUp) {
        let read = store.catch_up(4, deadline).await?;
        ensure!((read.events, read.bytes) == (4, 4 * 256), "{read:?} by a subscription");
    }
    Ok(())
}
