//! The processes of a store's servers: started, watched and ended together with all that they started.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The time that servers have to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// The unit in which Linux reports CPU time to user programs, on every architecture.
const TICKS_PER_SECOND: u64 = 100;
/// The unit in which files grow.
const PAGE_BYTES: usize = 4096;
const BUFFER_BYTES: usize = 1024 * 1024;

/// Servers that run. Dropping this kills them.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    processes: Vec<Child>,
}

impl Servers {
    /// Starts one more server; what it prints goes to a file in the folder.
    pub(crate) fn spawn(&mut self, mut command: Command, folder: &Path) -> Result<()> {
        let path = folder.join(format!("server-{}.log", self.processes.len() + 1));
        let log = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let program = command.as_std().get_program().to_owned();
        let process = command.spawn().with_context(|| format!("cannot start {program:?}"))?;
        self.processes.push(process);
        Ok(())
    }

    /// Tries something until it succeeds, while the servers run.
    pub(crate) async fn wait_for<T>(
        &mut self,
        mut attempt: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            for process in &mut self.processes {
                if let Some(status) = process.try_wait()? {
                    bail!("a server ended: {status}; see the log in its folder");
                }
            }
            if Instant::now() > give_up_at {
                return Err(error.context("the servers do not answer"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the servers to end, and waits until they have.
    pub(crate) async fn stop(mut self) {
        let all = self.pids();
        self.roots().for_each(|pid| signal(pid, Signal::TERM));
        for process in &mut self.processes {
            if timeout(PATIENCE, process.wait()).await.is_err() {
                eprintln!("a server did not end when asked, and is killed");
            }
        }
        all.into_iter().for_each(|pid| signal(pid, Signal::KILL));
        self.processes.clear();
    }

    /// Returns the CPU time of all processes so far, of those that have ended too.
    pub(crate) fn cpu(&self) -> Duration {
        let ended: Duration = self.roots().map(|pid| ticks(pid, 13, 2)).sum();
        self.pids().into_iter().map(cpu_of).sum::<Duration>() + ended
    }

    /// Returns the memory that all processes have now, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.pids().into_iter().map(own_memory).sum()
    }

    fn roots(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().filter_map(Child::id)
    }

    /// Returns the processes and all that descend from them.
    fn pids(&self) -> Vec<u32> {
        let parents = parents();
        let mut found: Vec<u32> = self.roots().collect();
        let mut at = 0;
        while let Some(&parent) = found.get(at) {
            let children = parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid);
            found.extend(children);
            at += 1;
        }
        found
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.pids().into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process that has ended needs no signal.
    let _ended = pid.map(|pid| kill_process(pid, signal));
}

/// Returns all processes, each with the one that started it.
fn parents() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect()
}

/// Returns a process's own CPU time.
///
/// The time in ticks is rounded down, which would hide most of what many small processes do; the exact time of threads
/// does not hold those that have ended. The larger one is nearer to the truth.
fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let exact = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(exact.sum()).max(ticks(pid, 11, 2))
}

/// Returns the sum of some times in `/proc/PID/stat`: its own are at 11 and 12, those of ended children at 13 and 14.
fn ticks(pid: u32, first: usize, count: usize) -> Duration {
    let times = stat(pid).unwrap_or_default();
    let times = times.iter().skip(first).take(count);
    let ticks: u64 = times.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Returns the fields of `/proc/PID/stat` behind the program's name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(fields(&line))
}

/// The name is in parentheses and may hold any character.
fn fields(stat: &str) -> Vec<String> {
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    behind.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Returns the memory of a process; what it shares with others counts in part.
fn own_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// Returns the CPU time of this process, which makes the load.
pub(crate) fn own_cpu() -> Duration {
    cpu_of(std::process::id())
}

/// Returns the bytes of the pages in a folder's files that hold anything but zeros: stores make their files larger
/// than they need, each to another degree.
pub(crate) fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += disk_bytes(&entry.path())?;
        } else if kind.is_file() {
            bytes += used_bytes(&entry.path())?;
        }
    }
    Ok(bytes)
}

fn used_bytes(path: &Path) -> Result<u64> {
    let mut file = match fs::File::open(path) {
        // A server may remove its files meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut pages = 0;
    loop {
        let count = file.read(&mut buffer)?;
        let used =
            buffer[..count].chunks(PAGE_BYTES).filter(|page| page.iter().any(|byte| *byte != 0));
        pages += used.count() as u64;
        if count == 0 {
            return Ok(pages * PAGE_BYTES as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_process_are_found_behind_its_name() {
        let stat = "77 (a) b) S 1 2 3 0 -1 4194304 100 0 0 0 250 50 7 3 20 0 8 0 100 1000 10";
        let fields = fields(stat);
        assert_eq!(
            (fields[1].as_str(), fields[11].as_str(), fields[14].as_str()),
            ("1", "250", "3")
        );
        let began_at = Instant::now();
        while began_at.elapsed() < Duration::from_millis(20) {}
        assert!(own_cpu() > Duration::ZERO);
    }

    #[test]
    fn pages_of_zeros_are_not_in_use() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("inner"))?;
        let mut content = vec![0; 3 * PAGE_BYTES];
        content[PAGE_BYTES + 7] = 1;
        fs::write(folder.path().join("inner/file"), &content)?;
        fs::write(folder.path().join("small"), "x")?;
        assert_eq!(disk_bytes(folder.path())?, 2 * PAGE_BYTES as u64);
        Ok(())
    }

    #[tokio::test]
    async fn servers_end_with_all_that_they_started() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut servers = Servers::default();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & sleep 100"]);
        servers.spawn(command, folder.path())?;
        let pids = servers.wait_for(async || Ok(())).await.map(|()| servers.pids())?;
        assert!(!pids.is_empty());
        let pids = loop {
            let pids = servers.pids();
            if pids.len() == 3 {
                break pids;
            }
            sleep(Duration::from_millis(10)).await;
        };
        assert!(servers.memory() > 0);
        servers.stop().await;
        let alive = |pid: &u32| stat(*pid).is_some_and(|fields| fields[0] != "Z");
        let give_up_at = Instant::now() + PATIENCE;
        while pids.iter().any(alive) && Instant::now() < give_up_at {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(!pids.iter().any(alive));
        Ok(())
    }
}
