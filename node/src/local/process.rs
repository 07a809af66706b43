//! The process of a node, started by this process.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

/// The time that a node may take to shut down; after that it is killed.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// A running process, or one that ended.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The standard input of the node. The node stops when it closes, so also when this process dies.
    lifeline: Option<ChildStdin>,
    pid: u32,
}

impl Process {
    pub(crate) fn new(mut child: Child) -> Process {
        let lifeline = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        Process { child, lifeline, pid }
    }

    /// Returns the process id, which stays the same after the process has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process ends, for any reason.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes the standard input that the child holds; ours is held outside.
        self.child.wait().await
    }

    /// Kills the process as `kill -9` does.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Lets the process shut down, or kills it if that takes too long.
    pub(crate) async fn stop(&mut self) {
        self.lifeline = None;
        if timeout(STOPPED_WITHIN, self.child.wait()).await.is_err() {
            // Nothing more can be done if this fails too.
            let _ = self.child.kill().await;
        }
    }
}
