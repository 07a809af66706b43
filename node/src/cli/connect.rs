//! Connects commands to the cluster that the command line names.

use quorate_client::{Builder, Client};
use quorate_proto::Problem;

use crate::cli::Global;

/// Connects to the nodes that the command line names; if it names one with `--node`, to that node only. If none of
/// several nodes can be reached, the error names all of them: the client's own message is about the last one.
pub(crate) async fn connect(global: &Global) -> Result<Client, Problem> {
    let addresses = global.addresses();
    let builder = Client::builder().endpoints(addresses.clone()).pinned(global.node.is_some());
    let builder = global.timeout.into_iter().fold(builder, Builder::deadline);
    builder.connect().await.map_err(|problem| match addresses.len() {
        2.. if problem.kind.is_transient() => {
            let (all, last) = (addresses.join(", "), &problem.message);
            Problem { message: format!("no node answers at {all}; the last: {last}"), ..problem }
        }
        _ => problem,
    })
}
