//! The client that commands use, connected to the cluster that the command line names.

use quorate_client::{Builder, Client};
use quorate_proto::Problem;

use crate::cli::Global;

/// Connects to the nodes that the command line names; if it names one with `--node`, to that node only.
pub(crate) async fn connect(global: &Global) -> Result<Client, Problem> {
    let builder = Client::builder().endpoints(global.addresses()).pinned(global.node.is_some());
    let builder = global.timeout.into_iter().fold(builder, Builder::deadline);
    builder.connect().await
}
