//! The cluster that is measured: `quorate dev` and its nodes, their memory, CPU time and disks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quorate_client::Client;
use quorate_tests::cluster::binary;

use crate::Failure;

/// The time that a cluster may take to serve.
const PATIENCE: Duration = Duration::from_secs(300);
/// The length of a tick of the kernel's CPU times, on every common system.
const TICK: Duration = Duration::from_millis(10);

/// The resources that all nodes together take; the memory is that of the node that has most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    pub(crate) disk_bytes: u64,
}

/// A cluster of processes in one folder.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    nodes: usize,
    port: u16,
    process: Child,
    pids: Vec<u32>,
    /// The CPU time that counted before the nodes were last started, and what they then took until they served.
    past: Duration,
    opening: Duration,
}

/// The start of a cluster whose nodes were killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    /// The time from the start to the first answer of a linearizable read.
    pub(crate) after: Duration,
    pub(crate) resident_bytes: u64,
}

impl Cluster {
    pub(crate) fn start(folder: &Path, nodes: usize, port: u16) -> Result<Cluster, Failure> {
        let process = dev(folder, nodes, port)?;
        Ok(Cluster {
            folder: folder.to_owned(),
            nodes,
            port,
            process,
            pids: Vec::new(),
            past: Duration::ZERO,
            opening: Duration::ZERO,
        })
    }

    /// Connects once a majority serves.
    pub(crate) async fn connect(&mut self) -> Result<Client, Failure> {
        let endpoints =
            (0..self.nodes as u16).map(|node| format!("127.0.0.1:{}", self.port + node));
        let endpoints: Vec<String> = endpoints.collect();
        let began_at = Instant::now();
        let client = loop {
            if let Ok(client) = Client::connect(endpoints.clone()).await
                && client.read("account-0").limit(1).collect().await.is_ok()
            {
                break client;
            }
            if began_at.elapsed() > PATIENCE || self.process.try_wait()?.is_some() {
                let log = fs::read_to_string(self.folder.join("dev.log")).unwrap_or_default();
                return Err(format!("the cluster does not serve: {log}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let status = client.status().await?;
        self.pids = status.nodes.iter().map(|node| node.pid).collect();
        Ok(client)
    }

    /// Returns the resources taken now. CPU time counts from the beginning, without that for opening.
    pub(crate) async fn usage(&self, client: &Client) -> Result<Usage, Failure> {
        let mut usage = Usage { cpu: self.past + self.cpu()? - self.opening, ..Usage::default() };
        for pid in &self.pids {
            usage.resident_bytes = usage.resident_bytes.max(resident_bytes(*pid)?);
        }
        let status = client.status().await?;
        usage.disk_bytes = status.nodes.iter().map(|node| node.disk_bytes).sum();
        Ok(usage)
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        self.pids.iter().map(|pid| cpu(*pid)).sum()
    }

    /// Kills all processes with SIGKILL, and waits until they are gone and their ports are free.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        for pid in self.pids.drain(..) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            while is_alive(pid) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let _ = self.process.wait();
    }

    /// Kills the cluster and starts it again.
    ///
    /// The ports are taken for a moment while the ends of the last connections are still on their way.
    pub(crate) async fn open_again(&mut self) -> Result<(Client, Opened), Failure> {
        self.past += self.cpu()? - self.opening;
        self.kill();
        let first = Instant::now();
        loop {
            let began_at = Instant::now();
            self.process = dev(&self.folder, self.nodes, self.port)?;
            match self.connect().await {
                Ok(client) => {
                    let after = began_at.elapsed();
                    self.opening = self.cpu()?;
                    let resident_bytes = self.usage(&client).await?.resident_bytes;
                    return Ok((client, Opened { after, resident_bytes }));
                }
                Err(error) if first.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

fn dev(folder: &Path, nodes: usize, port: u16) -> Result<Child, Failure> {
    let log = File::options().create(true).append(true).open(folder.join("dev.log"))?;
    let mut command = Command::new(binary());
    command.args(["dev", "--nodes", &nodes.to_string(), "--port", &port.to_string(), "--data"]);
    command.arg(folder.join("data")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

/// Returns true if the process exists and is not just waiting to be noticed by its parent.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program may hold spaces; behind it come the state and numbers.
    let numbers = stat.rsplit(')').next().unwrap_or_default();
    let numbers: Vec<u32> = numbers.split(' ').filter_map(|word| word.parse().ok()).collect();
    // The line has the user's and the system's ticks as 14th and 15th field; the state is no number here.
    let ticks = numbers.get(10).zip(numbers.get(11)).ok_or("the kernel shows no CPU time")?;
    Ok(TICK * (ticks.0 + ticks.1))
}

fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or("the kernel shows no memory")? * 1024)
}
