//! Checks every byte in use of a stopped store: `CURRENT`, the catalog, the chunks, and how they agree.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quorate_proto::{LogId, Position, Version};

use crate::catalog::{self, CatalogExport};
use crate::chunk::{self, Chunk, ChunkKey, Merge};
use crate::files::{
    BlockCache, CURRENT_NEW, chunk_path, is_of_catalogs, is_of_chunks, nameless, read_current,
};
use crate::format::catalog::KeyState;
use crate::format::chunk::ChunkIdentity;
use crate::format::current::catalog_name;
use crate::vfs::{Open, Vfs};
use crate::{Fault, Key};

/// The result of a verification that found everything whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last log entry of the checkpoint; `None` before the first.
    pub checkpoint: Option<LogId>,
    /// The position of the last event in the chunks.
    pub position: Position,
    /// The number of chunks.
    pub chunks: u64,
    /// The number of events in the chunks.
    pub events: u64,
    /// The number of different keys in the chunks.
    pub keys: u64,
    /// The number of bytes read, of chunks and catalog.
    pub bytes: u64,
    /// Files that no checkpoint names, left by an unfinished seal, install, scavenge or repair. They are not
    /// looked into; the next start removes them, or goes on with them.
    pub leftovers: Vec<PathBuf>,
}

/// Checks a store whose process is not running. Changes nothing. An empty folder is whole.
///
/// Every chunk is read three times and the catalog twice; memory is bounded by the largest chunk's index.
/// Errors: all damage that was found, each with its file, its place in the file and its nature.
pub fn verify(vfs: &dyn Vfs, directory: &Path) -> Result<Report, Vec<Fault>> {
    let alone = |fault| without_catalog(vfs, directory, fault);
    let Some(number) = read_current(vfs, directory).map_err(alone)? else {
        return no_catalog(vfs, directory).map_err(alone);
    };
    let path = directory.join(catalog_name(number));
    let catalog = catalog::verify(vfs, &path).map_err(alone)?;
    let mut faults = Vec::new();
    let mut report = Report { bytes: file_bytes(vfs, &path, &mut faults), ..Report::default() };
    faults.extend(check_list(&catalog, &path).err());
    let chunks = verify_chunks(vfs, &directory.join("chunks"), &catalog, &mut report, &mut faults);
    let all_whole = chunks.len() == catalog.chunks().len();
    let index = if all_whole { check_index(&catalog, &path, &chunks) } else { count(&catalog) };
    match index {
        Ok(keys) => report.keys = keys,
        Err(fault) => faults.push(fault),
    }
    match leftovers(vfs, directory, number, &catalog) {
        Ok(leftovers) => report.leftovers = leftovers,
        Err(fault) => faults.push(fault),
    }
    report.checkpoint = catalog.state().log_id;
    report.position = catalog.state().position;
    if faults.is_empty() { Ok(report) } else { Err(faults) }
}

/// Verifies a folder without `CURRENT`: it is a new one, and so has no chunks.
fn no_catalog(vfs: &dyn Vfs, directory: &Path) -> Result<Report, Fault> {
    let chunks = directory.join("chunks");
    let there = vfs.exists(&chunks).map_err(Fault::io("find", &chunks))?;
    if !there {
        return Ok(Report::default());
    }
    let names = vfs.list(&chunks).map_err(Fault::io("list", &chunks))?;
    if names.iter().any(|name| is_of_chunks(name)) {
        return Err(nameless(directory));
    }
    Ok(Report::default())
}

/// Adds the faults of the chunks if the catalog, which lists them, is damaged: each chunk is checked alone.
fn without_catalog(vfs: &dyn Vfs, directory: &Path, fault: Fault) -> Vec<Fault> {
    let chunks = directory.join("chunks");
    // A folder that cannot be listed adds nothing to the fault at hand.
    let names = vfs.list(&chunks).unwrap_or_default().into_iter();
    let is_chunk = |name: &String| name.starts_with("chunk-") && !name.contains('.');
    let names = names.filter(|name| is_of_chunks(name) && is_chunk(name));
    let checked = names.map(|name| chunk::verify_alone(vfs, &chunks.join(name)));
    std::iter::once(fault).chain(checked.filter_map(Result::err)).collect()
}

/// Returns the files of the store that its checkpoint does not name.
fn leftovers(
    vfs: &dyn Vfs,
    directory: &Path,
    number: u64,
    catalog: &CatalogExport,
) -> Result<Vec<PathBuf>, Fault> {
    let list = |folder: &Path| vfs.list(folder).map_err(Fault::io("list", folder));
    let (chunks, current) = (directory.join("chunks"), catalog_name(number));
    let mut found: Vec<PathBuf> = list(directory)?
        .into_iter()
        .filter(|name| name == CURRENT_NEW || is_of_catalogs(name))
        .filter(|name| *name != current)
        .map(|name| directory.join(name))
        .collect();
    let known: BTreeSet<PathBuf> =
        catalog.chunks().iter().map(|chunk| chunk_path(&chunks, chunk.number)).collect();
    let names = list(&chunks)?.into_iter().filter(|name| is_of_chunks(name));
    let there = names.map(|name| chunks.join(name));
    found.extend(there.filter(|path| !known.contains(path)));
    Ok(found)
}

fn file_bytes(vfs: &dyn Vfs, path: &Path, faults: &mut Vec<Fault>) -> u64 {
    let length = vfs.open(path, Open::Read).and_then(|file| file.len());
    length.map_err(Fault::io("read", path)).unwrap_or_else(|fault| {
        faults.push(fault);
        0
    })
}

/// Verifies all chunks and returns those that are whole.
fn verify_chunks(
    vfs: &dyn Vfs,
    directory: &Path,
    catalog: &CatalogExport,
    report: &mut Report,
    faults: &mut Vec<Fault>,
) -> Vec<Chunk> {
    let state = catalog.state();
    let mut whole = Vec::new();
    for summary in catalog.chunks() {
        let path = chunk_path(directory, summary.number);
        let number = summary.number;
        let identity = ChunkIdentity { cluster: state.cluster, log: state.log, number };
        let chunk = Chunk::open(vfs, &path, &identity, summary, &BlockCache::new(0));
        let chunk = chunk.and_then(|chunk| {
            chunk.check_scavenged(state.log_id.map(|id| id.index))?;
            chunk.verify().map(|()| chunk)
        });
        match chunk {
            Ok(chunk) => {
                report.chunks += 1;
                report.events += u64::from(chunk.count());
                report.bytes += chunk.bytes();
                whole.push(chunk);
            }
            Err(fault) => faults.push(fault),
        }
    }
    whole
}

/// The chunks of the list must follow each other up to the checkpoint.
fn check_list(catalog: &CatalogExport, path: &Path) -> Result<(), Fault> {
    let state = catalog.state();
    let (mut number, mut position) = (1, Position::ZERO);
    for chunk in catalog.chunks() {
        if chunk.number != number || chunk.first_position != position.next() {
            let why = format!("chunk {} of its list does not follow the one before", chunk.number);
            return Err(Fault::damaged(path, 0, why));
        }
        number += 1;
        position = chunk.last_position;
    }
    if state.next_chunk != number || state.position != position {
        return Err(Fault::damaged(path, 0, "its chunks do not reach its position"));
    }
    Ok(())
}

/// Checks every key of the catalog and returns their number.
fn count(catalog: &CatalogExport) -> Result<u64, Fault> {
    let mut keys = 0;
    for key in catalog.keys()? {
        key?;
        keys += 1;
    }
    Ok(keys)
}

/// The dictionaries must lead through all chunks that hold a key, newest to oldest, and a stream's versions
/// must have no gap; the catalog's row of a key must name the last of the indexed chunks that hold it, and
/// the filters of later ones must let it pass. All are sorted, so one pass over all of them is enough.
fn check_index(catalog: &CatalogExport, path: &Path, chunks: &[Chunk]) -> Result<u64, Fault> {
    let mut entries = Merge::new();
    for (chunk, number) in chunks.iter().zip(1..) {
        let keys = chunk.keys().map(|entry| entry.map(|entry| (entry.key.clone(), entry)));
        entries.add(number, keys)?;
    }
    let mut rows = catalog.keys()?.peekable();
    let mut keys = 0;
    while let Some(key) = entries.first().cloned() {
        let differs = |what: &str| {
            let why = format!("what it says of key `{}` {what}", key.name());
            Fault::damaged(path, 0, why)
        };
        let indexed = catalog.contents().indexed.through(&key.encode());
        let (mut last, mut row): (Option<KeyState>, Option<KeyState>) = (None, None);
        while entries.first() == Some(&key)
            && let Some((_, number, entry)) = entries.next()?
        {
            let links = entry.previous == last.map(|last| last.last_chunk);
            let before = last.map_or(Version::ZERO, |last| last.version);
            let grows = match entry.first_version {
                Some(first) => first == before.next(),
                None => is_total(last.map(|last| last.version.0), &entry),
            };
            if !links || !grows {
                return Err(differs(&format!("does not lead through chunk {number}")));
            }
            last = Some(KeyState { last_chunk: number, version: entry.last_version });
            if number <= indexed {
                row = last;
            }
        }
        let is_of_key = |row: &Result<(Key, KeyState), Fault>| match row {
            Ok((of, _)) => *of == key,
            Err(_) => true,
        };
        if rows.next_if(is_of_key).transpose()?.map(|(_, state)| state) != row {
            return Err(differs("is not what the chunks hold"));
        }
        let newest = last.map(|last| last.last_chunk).filter(|number| *number > indexed);
        if newest
            .is_some_and(|number| !catalog.unindexed(&key.encode()).any(|passed| passed == number))
        {
            return Err(differs("does not pass the filter of its chunk"));
        }
        keys += 1;
    }
    match rows.next().transpose()? {
        None => Ok(keys),
        Some((key, _)) => {
            let why = format!("it has key `{}`, which no chunk holds", key.name());
            Err(Fault::damaged(path, 0, why))
        }
    }
}

/// Returns true if the total of a key other than a stream grew by at least the chunk's events, or is not
/// known: the chunk may have been repaired with the copy of a node whose build wrote no totals.
fn is_total(before: Option<u64>, entry: &ChunkKey) -> bool {
    let total = entry.last_version.0;
    total == 0 || total >= before.unwrap_or_default().saturating_add(entry.count.into())
}
