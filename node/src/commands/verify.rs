//! `quorate verify`: checks every byte in use of a stopped node.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use quorate_raft::Identity;
use quorate_store::vfs::{Lock, OsVfs, Vfs};
use quorate_store::{self as store, Fault};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::{Exit, Form};
use crate::output::{count_of, write_json};
use crate::values::size;

/// Check every byte in use of a stopped node; changes nothing.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The node's folder.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    form: Form,
}

/// The result when everything is whole.
#[derive(Serialize)]
struct WholeLine {
    cluster: String,
    node: u64,
    events: u64,
    chunks: u64,
    keys: u64,
    store_bytes: u64,
    log_entries: u64,
    log_segments: u64,
    log_bytes: u64,
    leftovers: Vec<String>,
}

/// One fault.
#[derive(Serialize)]
struct FaultLine {
    error: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// The offset of the fault in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> Result<(), Exit> {
    let directory = &args.directory;
    let json = args.form.is_json();
    let (whole, faults) = verify(directory)?;
    let written = report(json, whole.as_ref(), &faults);
    let shown = directory.display();
    let verdict = match whole {
        Some(_) => Ok(()),
        None if faults.is_empty() => {
            Err(Exit::failed(format!("`{shown}` holds no node of a cluster")))
        }
        None => {
            let faults = count_of(faults.len() as u64, "fault");
            Err(Exit::failed(format!("{faults} in `{shown}`")))
        }
    };
    Exit::after_report(verdict, written)
}

fn report(json: bool, whole: Option<&WholeLine>, faults: &[Fault]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for fault in faults {
        let (error, offset) = match fault {
            Fault::Damaged { offset, .. } => ("damaged", Some(*offset)),
            _ => ("internal", None),
        };
        let message = fault.to_string();
        let file = fault.path().map(|path| path.display().to_string());
        match json {
            true => write_json(&mut output, &FaultLine { error, message, file, offset })?,
            false => writeln!(output, "{message}")?,
        }
    }
    match whole {
        Some(whole) if json => write_json(&mut output, whole),
        Some(whole) => write_plain(&mut output, whole),
        None => Ok(()),
    }
}

/// Checks everything, also after the first fault.
fn verify(directory: &Path) -> Result<(Option<WholeLine>, Vec<Fault>), Exit> {
    let vfs = OsVfs;
    let identity = match Identity::read(&vfs, directory) {
        Ok(Some(identity)) => identity,
        Ok(None) => return Ok((None, Vec::new())),
        Err(fault) => return Ok((None, vec![fault])),
    };
    let _lock = lock(&vfs, directory)?;
    let mut faults = Vec::new();
    let store = store::verify(&vfs, directory).map_err(|found| faults.extend(found)).ok();
    let covered = store.as_ref().and_then(|store| store.checkpoint);
    let log = identity.verify_log(&vfs, directory, covered);
    let log = log.map_err(|fault| faults.push(fault)).ok();
    let whole = log.zip(store).map(|(log, store)| WholeLine {
        cluster: Uuid::from_bytes(identity.cluster).to_string(),
        node: identity.node,
        events: store.events,
        chunks: store.chunks,
        keys: store.keys,
        store_bytes: store.bytes,
        log_entries: log.entries,
        log_segments: log.segments,
        log_bytes: log.bytes,
        leftovers: store.leftovers.iter().map(|path| path.display().to_string()).collect(),
    });
    Ok((whole, faults))
}

/// Keeps a node from starting on the folder meanwhile, if one has ever run there. Writes nothing: the folder may be
/// a read-only copy.
fn lock(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Box<dyn Lock>>, Exit> {
    vfs.lock_if_there(&directory.join("lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Exit::failed(format!(
            "`{}` is in use by another process: stop the node first",
            directory.display()
        )),
        _ => Exit::failed(format!("cannot lock `{}`: {error}", directory.display())),
    })
}

fn write_plain(output: &mut impl Write, whole: &WholeLine) -> io::Result<()> {
    let WholeLine { cluster, node, .. } = whole;
    let (events, chunks) = (count_of(whole.events, "event"), count_of(whole.chunks, "chunk"));
    let keys = count_of(whole.keys, "key");
    let (store, log) = (size::show(whole.store_bytes), size::show(whole.log_bytes));
    let segments = count_of(whole.log_segments, "segment");
    let entries = match whole.log_entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    writeln!(output, "node {node} of cluster {cluster} is whole")?;
    writeln!(output, "store  {events} in {chunks}, {keys}; {store}")?;
    writeln!(output, "log    {entries} in {segments}; {log}")?;
    if !whole.leftovers.is_empty() {
        let files = whole.leftovers.join(", ");
        writeln!(output, "left   by unfinished work, for the next start: {files}")?;
    }
    Ok(())
}
