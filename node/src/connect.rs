//! How commands come to a client of the cluster that the command line names.

use quorate_client::{Builder, Client};
use quorate_proto::Problem;

use crate::cli::Global;

/// Connects to the nodes that the command line names; to `--node` and no other if it is given.
pub(crate) async fn connect(global: &Global) -> Result<Client, Problem> {
    let builder = Client::builder().endpoints(global.addresses()).pinned(global.node.is_some());
    let builder = global.timeout.into_iter().fold(builder, Builder::deadline);
    builder.connect().await
}
