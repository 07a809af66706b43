//! How commands come to a client of the cluster that the command line names.

use quorate_client::{Client, ErrorKind};

use crate::cli::Global;
use crate::exit::Exit;

/// Connects to the nodes that the command line names; to `--node` and no other if it is given.
pub(crate) async fn connect(global: &Global) -> Result<Client, Exit> {
    let builder = Client::builder().endpoints(global.addresses()).pinned(global.node.is_some());
    builder.connect().await.map_err(|problem| match problem.kind {
        ErrorKind::Invalid => Exit::usage(problem),
        _ => problem.into(),
    })
}
