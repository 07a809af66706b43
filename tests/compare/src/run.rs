//! A run: each store in turn, round after round.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::columns::{Appends, COLUMNS, Column, Payload};
use crate::payloads::Payloads;
use crate::peer::{Peer, Place, Store};
use crate::peers::{CANDIDATES, Programs};
use crate::results::{self, Line, Machine, Sample};
use crate::servers::{Servers, disk_bytes, own_cpu};
use crate::work::{self, Load, Scattered};

/// The number of clients and the time of the load before the first column, which is not shown.
const WARM_UP: (usize, Duration) = (16, Duration::from_millis(500));
/// The pause between two stores.
const SETTLE: Duration = Duration::from_millis(500);
/// The longest time of a replay.
const REPLAY_MAX: Duration = Duration::from_secs(2);
/// The time for which flushes are counted.
const FLUSHES_TIME: Duration = Duration::from_millis(700);
/// The stream that is read when it was just written.
const FRESH: &str = "fresh-1";

/// The wishes of whoever runs this.
#[derive(Debug)]
pub(crate) struct Options {
    /// The folder for the results.
    pub(crate) out: PathBuf,
    /// The stores; all if it is empty.
    pub(crate) only: Vec<String>,
    pub(crate) columns: Vec<Column>,
    pub(crate) rounds: u32,
    /// The time of each column of appends.
    pub(crate) time: Duration,
    pub(crate) port: u16,
    /// The folder below which the stores keep their data meanwhile.
    pub(crate) data: PathBuf,
    pub(crate) json: PathBuf,
    pub(crate) programs: Programs,
}

/// Measures everything and adds it to the results.
pub(crate) async fn run(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out)?;
    on_a_disk(&options.data)?;
    let payloads = (Arc::new(Payloads::random()), real(&options.json));
    let peers = installed(options)?;
    results::add(&options.out, &Line::Machine(machine()))?;
    for peer in &peers {
        let (peer, version) = (peer.about().name.to_owned(), peer.version()?);
        results::add(&options.out, &Line::Peer { peer, version })?;
    }
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    for round in 1..=options.rounds {
        for peer in &peers {
            let round = (began, round);
            let turn = Turn { options, peer: &**peer, round, payloads: &payloads };
            settle().await;
            if let Err(error) = turn.take().await {
                eprintln!("FAILED: {} in round {}: {error:#}", peer.about().name, round.1);
            }
        }
    }
    Ok(())
}

/// Waits until the disk is done with what the store before has left: its files' removal is in the same journal.
async fn settle() {
    rustix::fs::sync();
    sleep(SETTLE).await;
}

/// A file system in memory would make every flush free.
fn on_a_disk(folder: &Path) -> Result<()> {
    const TMPFS: i64 = 0x0102_1994;
    let system = rustix::fs::statfs(folder).with_context(|| folder.display().to_string())?;
    #[allow(clippy::unnecessary_cast)]
    if system.f_type as i64 == TMPFS {
        bail!("`{}` is in memory: name a folder on a disk by --data", folder.display());
    }
    Ok(())
}

fn real(path: &Path) -> Option<Arc<Payloads>> {
    match Payloads::real(path) {
        Ok(payloads) => Some(Arc::new(payloads)),
        Err(error) => {
            eprintln!("SKIPPED: all columns with JSON: {error:#}");
            None
        }
    }
}

fn installed(options: &Options) -> Result<Vec<Box<dyn Peer>>> {
    let names = CANDIDATES.map(|(about, _)| about.name);
    if let Some(unknown) = options.only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no store `{unknown}`; there are {}", names.join(", "));
    }
    let mut peers = Vec::new();
    for (about, find) in CANDIDATES {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == about.name) {
            continue;
        }
        match find(&options.programs) {
            Ok(peer) => peers.push(peer),
            Err(error) => eprintln!("SKIPPED: {}: {error:#}", about.title),
        }
    }
    Ok(peers)
}

fn machine() -> Machine {
    let line = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        processor: line("/proc/cpuinfo", "model name"),
        memory_gib: kib.div_ceil(1024 * 1024),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// One store's turn in one round.
struct Turn<'a> {
    options: &'a Options,
    peer: &'a dyn Peer,
    round: (u64, u32),
    payloads: &'a (Arc<Payloads>, Option<Arc<Payloads>>),
}

impl Turn<'_> {
    async fn take(&self) -> Result<()> {
        let wanted = |column: &Column| self.wants(*column);
        if COLUMNS.iter().filter(|column| !matches!(column, Column::Flushes(_))).any(wanted) {
            self.figures().await?;
        }
        if self.round.1 == 1
            && COLUMNS.iter().filter(|column| matches!(column, Column::Flushes(_))).any(wanted)
        {
            self.flushes().await?;
        }
        Ok(())
    }

    fn wants(&self, column: Column) -> bool {
        let lacks = self.peer.about().lacks.iter().any(|(lacked, _)| *lacked == column);
        self.options.columns.contains(&column) && !lacks
    }

    /// Measures everything but flushes.
    async fn figures(&self) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("compare-").tempdir_in(&self.options.data)?;
        let place =
            Place { folder: folder.path().to_owned(), port: self.options.port, trace: None };
        let mut servers = self.peer.start(&place).await?;
        let (random, _) = self.payloads;
        let columns =
            self.options.columns.iter().filter(|column| matches!(column, Column::Append(_)));
        let time = self.options.time * columns.count() as u32;
        let scattered = Arc::new(Mutex::new(Scattered::over(time.mul_f64(0.9))));
        let mut events = self.warm_up(&place, &scattered).await?;
        for column in COLUMNS {
            match column {
                Column::Append(appends) if self.wants(column) => {
                    events += self.appends(appends, &place, &servers, &scattered).await?;
                }
                _ => {}
            }
        }
        let store = self.peer.connect(&place, 1).await?;
        if self.wants(Column::Cold) || self.wants(Column::Warm) {
            events += scattered.lock().await.complete(&*store, random).await?;
        }
        if self.wants(Column::Fresh) {
            work::write_stream(&*store, FRESH, random).await?;
            events += work::STREAM_EVENTS;
            self.read_often(Column::Fresh, FRESH, &*store, &servers).await?;
        }
        self.whole_log(&*store, &servers, events).await?;
        if self.wants(Column::Disk) {
            let bytes = disk_bytes(&place.folder)?;
            self.note(Column::Disk, bytes as f64 / events as f64)?;
        }
        if self.wants(Column::Memory) {
            self.note(Column::Memory, servers.memory() as f64 / (1024.0 * 1024.0))?;
        }
        drop(store);
        if [Column::Open, Column::Cold, Column::Warm].iter().any(|column| self.wants(*column)) {
            servers = self.reopened(&place, servers, &scattered.lock().await.stream).await?;
        }
        servers.stop().await;
        Ok(())
    }

    async fn warm_up(&self, place: &Place, scattered: &Arc<Mutex<Scattered>>) -> Result<u64> {
        let (clients, time) = WARM_UP;
        let store = self.peer.connect(place, clients).await?;
        let (random, _) = self.payloads;
        let payloads = Arc::clone(random);
        let load = Load { name: "warm".into(), clients, events: 1, payloads, time };
        let measured = work::append(&store, &load, scattered).await;
        match measured.first_error {
            Some(error) => bail!("{error}"),
            None => Ok(measured.events),
        }
    }

    async fn appends(
        &self,
        appends: Appends,
        place: &Place,
        servers: &Servers,
        scattered: &Arc<Mutex<Scattered>>,
    ) -> Result<u64> {
        let Appends { clients, events, payload } = appends;
        let payloads = match (payload, self.payloads) {
            (Payload::Random, (random, _)) => Arc::clone(random),
            (Payload::Json, (_, Some(real))) => Arc::clone(real),
            (Payload::Json, (_, None)) => return Ok(0),
        };
        let column = Column::Append(appends);
        let store = self.peer.connect(place, clients).await?;
        let load =
            Load { name: column.to_string(), clients, events, payloads, time: self.options.time };
        let cpu = Cpu::now(servers);
        let measured = work::append(&store, &load, scattered).await;
        let cpu = cpu.each(servers, measured.latencies.len());
        if let Some(error) = &measured.first_error {
            eprintln!("{} in {column}: {error}", self.peer.about().name);
        }
        let seconds = measured.time.as_secs_f64();
        let count = measured.latencies.len();
        let done = if events == 1 { count } else { measured.events };
        let quantile = |part| Some(measured.latencies.value_at_quantile(part) as f64 / 1e3);
        self.add(Sample {
            value: done as f64 / seconds,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            errors: measured.errors,
            ..self.sample(column, cpu)
        })?;
        Ok(measured.events)
    }

    /// Reads all events, as a reader and as a subscriber.
    async fn whole_log(&self, store: &dyn Store, servers: &Servers, events: u64) -> Result<()> {
        for column in [Column::Replay, Column::CatchUp] {
            if !self.wants(column) {
                continue;
            }
            let (began_at, cpu) = (Instant::now(), Cpu::now(servers));
            let deadline = began_at + self.options.time.min(REPLAY_MAX);
            let tally = match column {
                Column::Replay => store.replay(deadline).await?,
                _ => store.catch_up(events, deadline).await?,
            };
            let time = began_at.elapsed();
            if tally.events < events && Instant::now() < deadline {
                bail!("{column}: {} of {events} events came", tally.events);
            }
            let cpu = cpu.each(servers, tally.events);
            let value = tally.events as f64 / time.as_secs_f64();
            self.add(Sample { value, ..self.sample(column, cpu) })?;
        }
        Ok(())
    }

    /// Stops the servers, starts them on what they hold, and reads the old stream.
    async fn reopened(&self, place: &Place, servers: Servers, stream: &str) -> Result<Servers> {
        servers.stop().await;
        let is_cold = forget_pages();
        let began_at = Instant::now();
        let servers = self.peer.start(place).await?;
        self.note(Column::Open, began_at.elapsed().as_secs_f64() * 1e3)?;
        let store = self.peer.connect(place, 1).await?;
        let first = work::read_once(&*store, stream).await?;
        match is_cold {
            Ok(()) => self.note(Column::Cold, first.as_secs_f64() * 1e3)?,
            Err(error) => {
                eprintln!("SKIPPED: {}: the kernel's cache is warm: {error:#}", Column::Cold)
            }
        }
        self.read_often(Column::Warm, stream, &*store, &servers).await?;
        Ok(servers)
    }

    /// Counts the calls that flush to disk, on servers of their own that are watched by `strace`.
    async fn flushes(&self) -> Result<()> {
        if Command::new("strace").arg("--version").output().is_err() {
            eprintln!("SKIPPED: flushes: there is no strace");
            return Ok(());
        }
        let folder = tempfile::Builder::new().prefix("compare-").tempdir_in(&self.options.data)?;
        let lists = tempfile::Builder::new().prefix("compare-").tempdir_in(&self.options.data)?;
        let place = Place {
            folder: folder.path().to_owned(),
            port: self.options.port,
            trace: Some(lists.path().join("calls")),
        };
        let servers = self.peer.start(&place).await?;
        let scattered = Arc::new(Mutex::new(Scattered::over(Duration::MAX)));
        self.warm_up(&place, &scattered).await?;
        for column in COLUMNS {
            let Column::Flushes(clients) = column else { continue };
            if !self.wants(column) {
                continue;
            }
            let store = self.peer.connect(&place, clients).await?;
            let (random, _) = self.payloads;
            let (name, payloads) = (column.to_string(), Arc::clone(random));
            let load = Load { name, clients, events: 1, payloads, time: FLUSHES_TIME };
            let before = flushes_in_all(lists.path())?;
            let measured = work::append(&store, &load, &scattered).await;
            let flushes = flushes_in_all(lists.path())? - before;
            self.note(column, flushes as f64 / measured.latencies.len().max(1) as f64)?;
        }
        servers.stop().await;
        Ok(())
    }

    async fn read_often(
        &self,
        column: Column,
        stream: &str,
        store: &dyn Store,
        servers: &Servers,
    ) -> Result<()> {
        let cpu = Cpu::now(servers);
        let read = work::read_often(store, stream).await?;
        let cpu = cpu.each(servers, read.events);
        let value = read.latencies.value_at_quantile(0.5) as f64 / 1e3;
        self.add(Sample { value, ..self.sample(column, cpu) })
    }

    fn note(&self, column: Column, value: f64) -> Result<()> {
        match self.wants(column) {
            true => self.add(Sample { value, ..self.sample(column, Cpu::default()) }),
            false => Ok(()),
        }
    }

    fn add(&self, sample: Sample) -> Result<()> {
        let Sample { peer, column, value, .. } = &sample;
        let unit = column.parse().map_or("", Column::unit);
        eprintln!("round {} {peer} {column}: {value:.2} {unit}", self.round.1);
        results::add(&self.options.out, &Line::Sample(sample))
    }

    fn sample(&self, column: Column, cpu: Cpu) -> Sample {
        let (peer, column) = (self.peer.about().name.to_owned(), column.to_string());
        let micros = |time: Option<Duration>| Some(time?.as_nanos() as f64 / 1e3);
        let (server_cpu_us, load_cpu_us) = (micros(cpu.servers), micros(cpu.load));
        Sample { peer, column, round: self.round, server_cpu_us, load_cpu_us, ..Sample::default() }
    }
}

/// CPU time: of all servers, and of this program.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    servers: Option<Duration>,
    load: Option<Duration>,
}

impl Cpu {
    fn now(servers: &Servers) -> Cpu {
        Cpu { servers: Some(servers.cpu()), load: Some(own_cpu()) }
    }

    /// Returns what each of so many pieces of work has taken since.
    fn each(self, servers: &Servers, count: u64) -> Cpu {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let each = |before: Option<Duration>, now: Duration| {
            now.saturating_sub(before?).checked_div(count)
        };
        Cpu { servers: each(self.servers, servers.cpu()), load: each(self.load, own_cpu()) }
    }
}

/// Makes the kernel forget which parts of files it has read.
fn forget_pages() -> Result<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

/// Counts the calls that flush in all lists of a folder.
fn flushes_in_all(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        count += flushes_in(&fs::read_to_string(entry?.path())?);
    }
    Ok(count)
}

/// Counts the calls that flush in the list that strace keeps of a thread.
fn flushes_in(list: &str) -> usize {
    let flushes = |line: &&str| {
        let written = line.starts_with("pwritev2(") && line.contains("SYNC");
        let mapped = line.starts_with("msync(") && line.contains("MS_SYNC");
        line.starts_with("fsync(") || line.starts_with("fdatasync(") || written || mapped
    };
    list.lines().filter(flushes).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_flush_are_counted() {
        let list = "fsync(3) = 0\nfdatasync(4) = 0\npwritev2(5, [], 1, 0, RWF_DSYNC) = 9\n\
                    pwritev2(5, [], 1, 0, 0) = 9\nmsync(0x7f, 4096, MS_ASYNC) = 0\n\
                    sync_file_range(3, 0, 0, 2) = 0\n";
        assert_eq!(flushes_in(list), 3);
    }

    #[test]
    fn no_work_takes_no_time_each() {
        let servers = Servers::default();
        let cpu = Cpu { servers: Some(Duration::ZERO), load: Some(Duration::ZERO) };
        assert!(cpu.each(&servers, 0).load.is_none());
        assert!(cpu.each(&servers, 1).load.is_some_and(|time| time > Duration::ZERO));
    }
}
