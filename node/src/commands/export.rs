//! `quorate export`: writes the whole log as JSON lines.

use clap::Args;
use quorate_client::Query;

use crate::cli::Global;
use crate::connect::connect;
use crate::exit::Exit;
use crate::print::print_events;

/// Write all events as JSON lines, the same bytes from every node; `import` reads them.
#[derive(Args, Debug)]
pub struct ExportArgs {}

/// Runs the command.
pub async fn run(_args: ExportArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let request = client.read(Query::everything()).consistency(global.consistency);
    print_events(&mut request.stream().await?, true).await?;
    Ok(())
}
