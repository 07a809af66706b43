//! `quorate dev`: a local cluster to develop against, and to try failures on.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use tokio::time::interval;

use crate::cli::{Exit, Stop, inspect};
use crate::local::{self, LocalNode, Process};
use crate::values::size;

/// The interval at which a node that is not this process's child is checked.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// The default of the first port.
const PORT_DEFAULT: u16 = 7701;
/// The range of the first port: all the others follow it.
const PORTS: RangeInclusive<i64> = 1..=65_300;
/// The file beside the nodes that keeps the first port: a cluster can only be started again where it was founded.
const PORT: &str = "port";
/// The distance of a node's port for its peers from its port for clients.
const PEER_PORTS_OFFSET: u16 = 100;

/// Run a local cluster of separate server processes until Ctrl-C or SIGTERM.
///
/// The end of its terminal stops it too, unless it runs under `nohup`. A node that dies stays dead, and the command that starts it again is printed.
#[derive(Args, Debug)]
pub struct DevArgs {
    /// How many nodes [default: 3, or what --data holds].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=99))]
    nodes: Option<u16>,
    /// Keep the cluster in this folder; without it, it is gone in the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How much log makes a chunk, for a new cluster.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "64MiB")]
    chunk_size: u64,
    /// The first node's port for clients; the others follow, and those for peers are 100 higher [default: 7701, or
    /// as the cluster in --data was founded].
    #[arg(long, value_name = "PORT", env = "QUORATE_PORT", hide_env_values = true,
          value_parser = clap::value_parser!(u16).range(PORTS))]
    port: Option<u16>,
}

/// Runs the command.
pub async fn run(args: DevArgs) -> Result<(), Exit> {
    let mut stop = Stop::listen()?;
    let temporary;
    let root = match &args.data {
        Some(root) => {
            std::fs::create_dir_all(root)
                .map_err(|error| Exit::failed(format!("`{}`: {error}", root.display())))?;
            // The printed commands must work from any folder.
            std::path::absolute(root)?
        }
        None => {
            temporary = tempfile::Builder::new().prefix("quorate-dev-").tempdir()?;
            temporary.path().to_owned()
        }
    };
    let count = node_count(&root, args.nodes)?;
    let first = first_port(&root, args.port)?;
    let port = |index: u16| (first + index, first + PEER_PORTS_OFFSET + index);
    let nodes = local::lay_out(&root, &(0..count).map(port).collect::<Vec<_>>());
    local::check_free(&nodes)?;
    keep_port(&root, first)?;
    let noun = if count == 1 { "node" } else { "nodes" };
    say(&format!("starting {count} {noun} in {}", root.display()));
    let mut processes = tokio::select! {
        started = local::start_all(&nodes, args.chunk_size) => started?,
        () = stop.requested() => return Ok(()),
    };
    introduce(&nodes, args.chunk_size).await;
    let watching = nodes.iter().zip(&mut processes).map(|(node, process)| watch(node, process));
    tokio::select! {
        _ = join_all(watching) => {}
        () = stop.requested() => {}
    }
    say("stopping");
    local::stop_all(&mut processes).await;
    for node in &nodes {
        if let Some(status) = inspect::node(&node.address).await {
            say(&format!(
                "node {} was started by hand and goes on: pid {}",
                node.number, status.pid
            ));
        }
    }
    say("stopped");
    Ok(())
}

/// Returns the number of nodes: as many as the folder holds, if it holds any.
fn node_count(root: &Path, given: Option<u16>) -> Result<u16, Exit> {
    let held = (1..=99).take_while(|number| root.join(format!("node-{number}")).exists()).count();
    let held = u16::try_from(held).unwrap_or(u16::MAX);
    match given {
        Some(given) if held > 0 && given != held => Err(Exit::usage(format!(
            "`{}` holds a cluster of {held} nodes, not {given}",
            root.display()
        ))),
        Some(given) => Ok(given),
        None if held > 0 => Ok(held),
        None => Ok(3),
    }
}

/// Returns the first node's port for clients: that of the cluster that the folder holds, if it holds one.
fn first_port(root: &Path, given: Option<u16>) -> Result<u16, Exit> {
    let path = root.join(PORT);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(given.unwrap_or(PORT_DEFAULT));
        }
        Err(error) => return Err(Exit::failed(format!("`{}`: {error}", path.display()))),
    };
    let held = text.trim().parse().ok().filter(|port| PORTS.contains(&i64::from(*port)));
    let held: u16 = held.ok_or_else(|| {
        Exit::failed(format!("`{}` must hold the first node's port for clients", path.display()))
    })?;
    match given {
        Some(given) if given != held => Err(Exit::usage(format!(
            "the nodes of the cluster in `{}` know each other at the ports from {held} on, not from {given}",
            root.display()
        ))),
        _ => Ok(held),
    }
}

/// Writes the first port down if it is not there yet: so an old cluster starts on a full disk too.
fn keep_port(root: &Path, first: u16) -> Result<(), Exit> {
    let (path, new) = (root.join(PORT), root.join(format!("{PORT}.new")));
    if path.exists() {
        return Ok(());
    }
    let written = std::fs::write(&new, format!("{first}\n"));
    let written = written.and_then(|()| std::fs::rename(&new, &path));
    written.map_err(|error| Exit::failed(format!("`{}`: {error}", path.display())))
}

/// Prints the addresses of the nodes.
async fn introduce(nodes: &[LocalNode], chunk_bytes: u64) {
    for node in nodes {
        if let Some(status) = inspect::node(&node.address).await {
            let LocalNode { number, address, .. } = node;
            say(&format!("node {number}  {address}  pid {}  {}", status.pid, status.role));
        }
    }
    let addresses: Vec<&str> = nodes.iter().map(|node| node.address.as_str()).collect();
    // A node may be dead again by now; that is reported where the nodes are watched.
    if let Some(first) = addresses.first()
        && let Ok(status) = inspect::status(first, true).await
        && status.chunk_bytes != chunk_bytes
    {
        let created = size::show(status.chunk_bytes);
        say(&format!("a chunk has {created}, as when the cluster was founded"));
    }
    say(&format!("ready: QUORATE_ENDPOINTS={}; Ctrl-C stops all", addresses.join(",")));
}

/// Reports the death of a node, and its return, and its next death …
async fn watch(node: &LocalNode, process: &mut Process) {
    let pid = process.pid();
    let how = process.ended().await;
    report_death(node, pid, &ended_how(how.as_ref().ok()));
    loop {
        let pid = returned(node).await;
        say(&format!("node {} is back: pid {pid}", node.number));
        gone(node).await;
        report_death(node, pid, "is gone");
    }
}

fn report_death(node: &LocalNode, pid: u32, how: &str) {
    let LocalNode { number, log, .. } = node;
    say(&format!("node {number} (pid {pid}) {how}; its log is {}", log.display()));
    say("  it stays dead; this starts it again:");
    say(&format!("  {}", node.command_line()));
}

fn ended_how(status: Option<&ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("ended with exit code {code}"),
        Some((None, Some(signal))) => format!("was killed by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

/// Waits until somebody started the node again, and returns its process id.
async fn returned(node: &LocalNode) -> u32 {
    let mut again = interval(LOOKED_EVERY);
    loop {
        again.tick().await;
        if let Some(status) = inspect::node(&node.address).await {
            return status.pid;
        }
    }
}

/// Waits until the node does not answer any more.
async fn gone(node: &LocalNode) {
    let mut again = interval(LOOKED_EVERY);
    loop {
        again.tick().await;
        if inspect::node(&node.address).await.is_none() {
            return;
        }
    }
}

/// Prints a line. The cluster goes on when nobody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_cluster_decides_which_ports_it_has() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(first_port(root.path(), None), Ok(7701));
        assert_eq!(first_port(root.path(), Some(18_701)), Ok(18_701));
        std::fs::write(root.path().join(PORT), "18701\n").expect("written");
        assert_eq!(first_port(root.path(), None), Ok(18_701));
        assert_eq!(first_port(root.path(), Some(18_701)), Ok(18_701));
        assert!(first_port(root.path(), Some(7701)).is_err());
        std::fs::write(root.path().join(PORT), "").expect("written");
        assert!(first_port(root.path(), None).is_err());
    }

    #[test]
    fn a_folder_with_a_cluster_decides_how_many_nodes_there_are() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(node_count(root.path(), None), Ok(3));
        assert_eq!(node_count(root.path(), Some(5)), Ok(5));
        for number in 1..=5 {
            std::fs::create_dir(root.path().join(format!("node-{number}"))).expect("a folder");
        }
        assert_eq!(node_count(root.path(), None), Ok(5));
        assert!(node_count(root.path(), Some(3)).is_err());
    }
}
