//! `quorate serve`: one node, until a signal stops it or it cannot go on.

pub mod config;
mod log;

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_raft::host::TokioHost;
use quorate_raft::{Role, Status, Stopped};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use self::config::{InForce, Settings};
use crate::cli::{Exit, ONE_SIGNAL_WITHIN};
use crate::server::{Server, ServerOptions};

/// The interval at which the log repeats that the node is open to everybody.
const REMINDED_EVERY: Duration = Duration::from_secs(600);

/// Run one node.
///
/// On an empty folder it waits for `quorate cluster init`, or, with --join-token, for `quorate cluster add`. SIGTERM and Ctrl-C stop it in order; SIGHUP is ignored.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: Settings,
    /// A file with settings; flags and environment come before it.
    #[arg(long, value_name = "FILE.toml", env = "QUORATE_CONFIG")]
    config: Option<PathBuf>,
    /// Stop when standard input, a pipe, is closed: whoever started this process is gone.
    #[arg(long, hide = true)]
    stop_with_input: bool,
}

/// Runs the node, on a runtime of its own.
pub fn run(args: ServeArgs) -> Result<(), Exit> {
    let file = match &args.config {
        None => Settings::default(),
        Some(path) => {
            let unusable = |why: &dyn std::fmt::Display| {
                Exit::usage(format!("the settings file `{}`: {why}", path.display()))
            };
            let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
            config::parse(&text).map_err(|error| unusable(&error))?
        }
    };
    let InForce { server, log, threads, single } =
        args.settings.or(file).resolve().map_err(Exit::usage)?;
    let log = log::start(&log)?;
    let serving = serve(server, single, args.stop_with_input);
    log.last_word(run_node(threads, serving))
}

fn run_node(
    threads: Option<usize>,
    serving: impl Future<Output = Result<(), Exit>>,
) -> Result<(), Exit> {
    raise_file_limit();
    let runtime = runtime_of(threads)?;
    let ending = runtime.block_on(serving);
    // Work on blocking threads that nobody waits for any more must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ending
}

/// Raises the number of files and connections that this process may open to the most that the system allows: the number
/// at first is often meant for programs of one user.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// Returns a runtime with the given number of threads; by default half of the processors, so that the log, the seals and
/// the reads of chunks, which have threads of their own, do not take turns with it.
fn runtime_of(threads: Option<usize>) -> Result<Runtime, Exit> {
    let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.unwrap_or_else(|| (processors() / 2).max(1));
    let mut builder = match threads {
        // One thread needs no calls of the system to hand work from one task to the next.
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(threads).enable_all().build()?)
}

async fn serve(options: ServerOptions, single: bool, stop_with_input: bool) -> Result<(), Exit> {
    let mut stop = Box::pin(stop_requested(stop_with_input)?);
    let hang_ups = signal(SignalKind::hangup())?;
    let server = Server::start(TokioHost::new(), options.clone()).await.map_err(Exit::failed)?;
    let ServerOptions { listen, peer_listen, directory, insecure, .. } = &options;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, listen, peer_listen, data = %directory.display(), "serving");
    if single && server.replica().identity().is_none() {
        let own = vec![options.peer_advertise.clone()];
        let founded = server.replica().bootstrap(own, CHUNK_BYTES_DEFAULT).await;
        founded.map_err(Exit::failed)?;
    }
    if *insecure {
        tokio::spawn(remind());
    }
    tokio::spawn(log_changes(server.replica().status()));
    tokio::spawn(ignore_hang_ups(hang_ups));
    let why = tokio::select! {
        why = &mut stop => why,
        stopped = server.stopped() => return Err(match stopped {
            Stopped::Failed(why) => Exit::failed(format!("this node cannot go on: {why}")),
            Stopped::Shutdown => Exit::failed("this node was shut down"),
        }),
    };
    tracing::info!(why, "stopping");
    tokio::select! {
        () = server.shutdown() => {}
        why = stop_requested_again() => return Err(Exit::failed(format!("ended at once by {why}"))),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Completes with the reason when the node is to stop.
fn stop_requested(with_input: bool) -> Result<impl Future<Output = &'static str>, Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut input = with_input
        .then(|| pipe::OpenOptions::new().open_receiver("/dev/stdin"))
        .transpose()
        .map_err(|error| Exit::usage(format!("standard input is no pipe: {error}")))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = closed(&mut input) => "the end of the process that started this one",
        }
    })
}

/// Completes with the reason when another signal to stop comes while the node is stopping.
async fn stop_requested_again() -> &'static str {
    tokio::time::sleep(ONE_SIGNAL_WITHIN).await;
    match stop_requested(false) {
        Ok(again) => again.await,
        Err(_) => std::future::pending().await,
    }
}

/// Completes when nobody holds the other end of the pipe any more; never without a pipe.
async fn closed(input: &mut Option<pipe::Receiver>) {
    match input {
        None => std::future::pending().await,
        Some(input) => {
            let mut ignored = [0; 64];
            while input.read(&mut ignored).await.is_ok_and(|bytes| bytes > 0) {}
        }
    }
}

/// Repeats in the log that the node is open.
async fn remind() {
    let mut interval = tokio::time::interval(REMINDED_EVERY);
    loop {
        interval.tick().await;
        tracing::warn!(
            "INSECURE: this node listens beyond loopback without encryption; whoever reaches it may \
             read and write everything"
        );
    }
}

/// A terminal that was closed, or a program that rotates logs, is no reason to stop; and there is nothing to read again.
async fn ignore_hang_ups(mut hang_ups: Signal) {
    while hang_ups.recv().await.is_some() {
        tracing::info!("SIGHUP is ignored: SIGTERM stops this node");
    }
}

/// Logs the leader, whenever it changes.
async fn log_changes(mut status: watch::Receiver<Status>) {
    let mut logged = None;
    loop {
        let now = {
            let status = status.borrow_and_update();
            (status.term, status.role, status.leader.as_ref().map(|leader| leader.id))
        };
        if logged != Some(now) {
            logged = Some(now);
            let (term, role, leader) = (now.0.0, now.1, now.2.unwrap_or_default());
            match (role, now.2) {
                (Role::Waiting, _) => tracing::info!("waiting for a cluster"),
                (Role::Leader, _) => tracing::info!(term, "this node leads"),
                (_, Some(_)) => tracing::info!(term, leader, role = role.as_str(), "following"),
                (_, None) => tracing::info!(term, role = role.as_str(), "no leader is known"),
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_open_as_many_files_as_the_system_lets_it() {
        let limit = getrlimit(Resource::Nofile);
        // If there is no limit at all, there is nothing to raise.
        if let Some(most) = limit.maximum {
            let lower = Rlimit { current: Some(most - 1), ..limit };
            setrlimit(Resource::Nofile, lower).expect("lowered");
        }
        raise_file_limit();
        let raised = getrlimit(Resource::Nofile);
        assert_eq!((raised.current, raised.maximum), (limit.maximum, limit.maximum));
    }
}
