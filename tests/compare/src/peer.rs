//! A store that is compared: its servers, its clients, and what it promises.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::process::Command;
use tokio::time::Instant;
use uuid::Uuid;

use crate::columns::Column;
use crate::servers::Servers;

/// An event to append.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The id by which a repetition would be known.
    pub(crate) id: Uuid,
    /// Its type.
    pub(crate) kind: Arc<str>,
    /// Its payload.
    pub(crate) data: Bytes,
}

/// A mark of a stream's newest event, which the next append to it expects; zero while the stream is empty.
///
/// It is a version where the store counts versions, and otherwise the position of the stream's newest event.
pub(crate) type Mark = u64;

/// The events and bytes that a read has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    /// Counts an event with this payload.
    pub(crate) fn take(&mut self, data: &[u8]) {
        self.events += 1;
        self.bytes += data.len() as u64;
    }

    /// Returns true if the deadline is over; the clock is read only now and then.
    pub(crate) fn is_late(&self, deadline: Option<Instant>) -> bool {
        self.events.is_multiple_of(1024)
            && deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The promises of a store, for the reader of its figures.
#[derive(Debug)]
pub(crate) struct About {
    /// The short name on the command line.
    pub(crate) name: &'static str,
    /// The name in the table.
    pub(crate) title: &'static str,
    /// The state of the disks when an append is answered.
    pub(crate) durable: &'static str,
    /// The number of nodes that hold an acknowledged append.
    pub(crate) replicated: &'static str,
    /// The way in which an append is checked against the version that its writer saw.
    pub(crate) checked: &'static str,
    /// The order of events that readers see.
    pub(crate) order: &'static str,
    /// The work that the store does not do, each with the reason.
    pub(crate) lacks: &'static [(Column, &'static str)],
}

/// A store that is installed here.
#[async_trait(?Send)]
pub(crate) trait Peer: Send + Sync {
    /// Says what the store promises.
    fn about(&self) -> &'static About;

    /// Returns its version, as it is shown by its program.
    fn version(&self) -> Result<String>;

    /// Starts its servers, on an empty folder or on what they left there, and waits until they serve.
    async fn start(&self, place: &Place) -> Result<Servers>;

    /// Connects for so many clients, in the fastest way that a sensible user would choose.
    async fn connect(&self, place: &Place, clients: usize) -> Result<Arc<dyn Store>>;
}

/// A store as its clients see it.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Appends all of the events or none, if the stream is where the mark says; returns its new mark.
    async fn append(
        &self,
        client: usize,
        stream: &str,
        mark: Mark,
        events: Vec<Event>,
    ) -> Result<Mark>;

    /// Reads a whole stream.
    async fn read_stream(&self, stream: &str) -> Result<Tally>;

    /// Reads the whole log from its beginning to its end, or until the deadline.
    async fn replay(&self, deadline: Instant) -> Result<Tally>;

    /// Follows the log from its beginning until so many events have come, or until the deadline.
    async fn catch_up(&self, events: u64, deadline: Instant) -> Result<Tally>;
}

/// The folder and the ports of a store that runs.
#[derive(Debug)]
pub(crate) struct Place {
    /// The folder for everything that it writes.
    pub(crate) folder: PathBuf,
    /// Its first port for clients; the next few are its too, and those a hundred higher.
    pub(crate) port: u16,
    /// The files' common beginning for the lists of its calls that flush to disk, if they are counted: a file a thread.
    pub(crate) trace: Option<PathBuf>,
}

impl Place {
    /// Returns the command that runs a server, under `strace` if its flushes are counted.
    ///
    /// The kernel stops the traced process at the listed calls alone, so the rest runs at its own speed.
    pub(crate) fn command(&self, program: impl Into<PathBuf>) -> Command {
        let program = program.into();
        let mut command = match &self.trace {
            None => Command::new(program),
            Some(trace) => {
                let mut command = Command::new("strace");
                command.args(["-D", "-ff", "--seccomp-bpf", "-qq", "--signal=none", "-e"]);
                command.arg("trace=fsync,fdatasync,pwritev2,msync,sync_file_range");
                command.arg("-o").arg(trace).arg(program);
                command
            }
        };
        command.current_dir(&self.folder);
        command
    }

    /// Returns the address of a server's port for clients.
    pub(crate) fn address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.port + node)
    }
}
