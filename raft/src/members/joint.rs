//! A leader finishes a change of voters that its predecessor began: until then, two majorities are needed for everything.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;

use super::leader::Members;
use crate::adapter::types;
use crate::host::Host;

/// The time that whoever began a change has to finish it.
const FINISHED_WITHIN: Duration = Duration::from_secs(1);

/// Finishes changes of voters that nobody else finishes, until the node ends.
pub(crate) async fn finish_joint<H: Host>(members: Arc<Members<H>>) {
    // These metrics change with the role and with the membership, not with each entry.
    let mut server = members.raft.watch_server();
    loop {
        let Some(begun) = members.unfinished() else {
            match server.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        tokio::time::sleep(FINISHED_WITHIN).await;
        if members.unfinished() == Some(begun)
            && members.has_applied(begun)
            && let Ok(joint) = members.led()
        {
            match members.finish(&joint).await {
                Ok(()) => tracing::info!("finished the change of voters at entry {begun}"),
                Err(why) => tracing::warn!("the change of voters is not finished: {why}"),
            }
        }
    }
}

impl<H: Host> Members<H> {
    /// Returns the index of the membership with two configurations in force, if this node leads.
    fn unfinished(&self) -> Option<u64> {
        let membership = self.led().ok()?;
        let index = membership.log_id().map(types::ours)?.index.0;
        (membership.membership().get_joint_config().len() > 1).then_some(index)
    }

    /// Returns true if the membership at an index is applied.
    fn has_applied(&self, index: u64) -> bool {
        let ledger = self.core.ledger();
        let applied = ledger.borrow().stored.log_id().map(types::ours);
        applied.is_some_and(|applied| applied.index.0 >= index)
    }
}
