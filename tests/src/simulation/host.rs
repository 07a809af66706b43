//! The machine of a simulated node: simulated network and time, a seeded clock, a disk in memory.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use quorate_proto::Timestamp;
use quorate_raft::host::{Host, Listening, Served, WriterStopped};
use quorate_raft::log::LogWriter;
use quorate_store::vfs::Vfs;
use turmoil::net::{TcpListener, TcpStream};

use super::disk::Disk;
use super::trace::Trace;
use crate::random::Random;

/// 2020-09-13, the time at which every simulation begins.
const EPOCH_US: i64 = 1_600_000_000_000_000;

/// The difference between a machine's clock and the true time. Clones share it, and outlive a crash.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Sets the clock `ahead_us` microseconds ahead of the true time.
    pub fn set(&self, ahead_us: i64) {
        self.0.store(ahead_us, Ordering::Relaxed);
    }

    fn ahead_us(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Returns the true time.
pub fn true_time() -> Timestamp {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default().as_micros() as i64;
    Timestamp(EPOCH_US + elapsed)
}

/// The properties in which simulated machines differ.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The difference between its clock and the true time.
    pub skew: Skew,
    /// The longest that a sync of the Raft log takes.
    pub sync_ms_max: u64,
    /// The longest that work away from the tasks (sealing, reading chunks) takes.
    pub work_ms_max: u64,
}

/// One start of a simulated machine.
#[derive(Clone, Debug)]
pub struct SimulatedHost {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    machine: Machine,
    disk: Disk,
    trace: Trace,
    random: Mutex<Random>,
}

impl SimulatedHost {
    /// Makes the machine after a start; `seed` is for this start alone.
    pub fn new(name: &str, machine: Machine, disk: Disk, trace: Trace, seed: u64) -> SimulatedHost {
        let random = Mutex::new(Random::new(seed));
        let name = name.to_owned();
        SimulatedHost { shared: Arc::new(Shared { name, machine, disk, trace, random }) }
    }

    fn draw(&self) -> u64 {
        self.shared.random.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    async fn rest(&self, ms_max: u64) {
        let ms = self.draw() % (ms_max + 1);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.shared.trace.note(&self.shared.name, what);
    }
}

impl Host for SimulatedHost {
    type Runtime = DeterministicRng<TokioRuntime>;
    type Connection = TcpStream;

    fn now(&self) -> Timestamp {
        Timestamp(true_time().0 + self.shared.machine.skew.ahead_us())
    }

    fn random(&self) -> u128 {
        let drawn = self.shared.random.lock().unwrap_or_else(PoisonError::into_inner).wide();
        self.note(format_args!("draws {drawn:x}"));
        drawn
    }

    fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::new(self.shared.disk.clone())
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<TcpStream>> {
        self.note(format_args!("connects to {address}"));
        let address = address.to_owned();
        Box::pin(async move { TcpStream::connect(address).await })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Listening<TcpStream>>> {
        let host = self.clone();
        let address = address.to_owned();
        Box::pin(async move {
            // A simulated machine has one address, and listens on all ports of it.
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let port = port.ok_or(io::ErrorKind::InvalidInput)?;
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            let incoming = stream::unfold((listener, host), |(listener, host)| async move {
                let accepted = listener.accept().await.map(|(connection, from)| {
                    host.note(format_args!("accepts {from}"));
                    Served(connection)
                });
                Some((accepted, (listener, host)))
            });
            Ok(Listening { address, incoming: incoming.boxed() })
        })
    }

    fn start_log_writer(&self, mut writer: LogWriter, stopped: WriterStopped) {
        let host = self.clone();
        tokio::spawn(async move {
            let mut outcome = Ok(());
            while outcome.is_ok() && writer.ready().await {
                outcome = writer.write();
                if outcome.is_ok() {
                    host.shared.disk.answers().await;
                    host.rest(host.shared.machine.sync_ms_max).await;
                    outcome = host.shared.disk.while_lying(|| writer.sync());
                }
            }
            stopped(outcome);
        });
    }

    fn run<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let host = self.clone();
        Box::pin(async move {
            host.rest(host.shared.machine.work_ms_max).await;
            work()
        })
    }

    fn scoped<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        DeterministicRng::<TokioRuntime>::scope(self.draw(), future)
    }
}
