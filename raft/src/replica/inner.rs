//! The state that the clones of a replica share: its folder, and the parts that run once it has an identity.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quorate_store::Fault;
use quorate_store::vfs::Lock;
use tokio::sync::watch;

use crate::error::{StartError, Stopped};
use crate::failure::Failure;
use crate::host::Host;
use crate::identity::Identity;
use crate::options::ReplicaOptions;
use crate::replica::running::Running;
use crate::status::Status;

const LOCK: &str = "lock";

/// The state that the clones of a replica share.
///
/// Invariants:
/// - the folder's lock is held from the start to the end of a shutdown;
/// - `running` is set at most once, after the identity is durable.
pub(crate) struct Inner<H: Host> {
    pub(crate) host: H,
    pub(crate) options: ReplicaOptions,
    pub(crate) status: watch::Sender<Status>,
    failure: Failure,
    lock: Mutex<Option<Box<dyn Lock>>>,
    running: OnceLock<Arc<Running<H>>>,
    /// Held while an identity is given or the replica is shut down.
    pub(super) changing: tokio::sync::Mutex<()>,
    ended: watch::Sender<Option<Stopped>>,
}

impl<H: Host> fmt::Debug for Inner<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("directory", &self.options.directory)
            .finish_non_exhaustive()
    }
}

impl<H: Host> Inner<H> {
    pub(super) async fn start(
        host: H,
        options: ReplicaOptions,
    ) -> Result<Arc<Inner<H>>, StartError> {
        let vfs = host.vfs();
        let directory = &options.directory;
        vfs.create_directory(directory).map_err(Fault::io("create", directory))?;
        let lock = vfs.lock(&directory.join(LOCK)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StartError::Locked(directory.clone()),
            _ => Fault::io("lock", directory)(error).into(),
        })?;
        let identity = Identity::read(&*vfs, directory)?;
        let inner = Arc::new(Inner {
            host,
            options,
            status: watch::Sender::new(Status::default()),
            failure: Failure::new(),
            lock: Mutex::new(Some(lock)),
            running: OnceLock::new(),
            changing: tokio::sync::Mutex::new(()),
            ended: watch::Sender::new(None),
        });
        if let Some(identity) = identity {
            let _changing = inner.changing.lock().await;
            inner.run(identity).await?;
        }
        tokio::spawn(inner.clone().end_on_failure());
        Ok(inner)
    }

    pub(crate) fn running(&self) -> Option<Arc<Running<H>>> {
        self.running.get().cloned()
    }

    /// Starts the node under an identity; the caller holds `changing`.
    pub(super) async fn run(&self, identity: Identity) -> Result<Arc<Running<H>>, StartError> {
        let (host, failure) = (self.host.clone(), self.failure.clone());
        let starting = Running::start(host, &self.options, identity, failure, self.status.clone());
        let running = Box::pin(starting).await?;
        Ok(self.running.get_or_init(|| running).clone())
    }

    /// Ends Raft when the node cannot go on.
    async fn end_on_failure(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        let why = tokio::select! {
            why = self.failure.reported() => why,
            _ = ended.wait_for(Option::is_some) => return,
        };
        self.ended.send_replace(Some(Stopped::Failed(why)));
        self.release().await;
    }

    pub(super) async fn stopped(&self) -> Stopped {
        let mut ended = self.ended.subscribe();
        let stopped = ended.wait_for(Option::is_some).await;
        let stopped = stopped.ok().and_then(|stopped| stopped.clone());
        stopped.unwrap_or(Stopped::Shutdown)
    }

    pub(super) async fn shutdown(&self) {
        self.release().await;
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(Stopped::Shutdown);
            first
        });
    }

    async fn release(&self) {
        let _changing = self.changing.lock().await;
        if let Some(running) = self.running() {
            running.shutdown().await;
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Returns true if the replica was shut down.
    pub(super) fn is_released(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}
