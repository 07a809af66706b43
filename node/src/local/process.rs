//! A node's process, started by this one.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

/// How long a node may take to stop in order; then it is killed.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// A running process, or one that ended.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Held open: the node stops when it closes, so also when this process dies.
    lifeline: Option<ChildStdin>,
    pid: u32,
}

impl Process {
    pub(crate) fn new(mut child: Child) -> Process {
        let lifeline = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        Process { child, lifeline, pid }
    }

    /// Its process id; stays the same when it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process ends, by whatever.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes the standard input that it holds; ours is held outside.
        self.child.wait().await
    }

    /// Kills the process as `kill -9` does.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Stops the process in order, or else kills it.
    pub(crate) async fn stop(&mut self) {
        self.lifeline = None;
        if timeout(STOPPED_WITHIN, self.child.wait()).await.is_err() {
            // It cannot be helped any more if this fails too.
            let _ = self.child.kill().await;
        }
    }
}
