//! The identity of a node, which it is given once, when its cluster is founded or takes it in, and the count of its
//! starts.
//!
//! It may use the log.

use std::path::Path;

use quorate_proto::LogId;
use quorate_store::vfs::{Open, Vfs};
use quorate_store::{Fault, Malformed};

use crate::log::{self, ADVICE, LogOptions, LogReport, Reach};

mod boot;
pub(crate) mod format;
mod join_token;

pub(crate) use boot::count_boot;
use boot::{BOOT, Boot};
pub use join_token::{JoinSecret, JoinToken, NoJoinToken};

const IDENTITY: &str = "identity";

/// The cluster that a node belongs to, and the node's id in it. An identity never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id: a random number, drawn when the cluster was founded.
    pub cluster: [u8; 16],
    /// The log's number: 0 until a cluster has several.
    pub log: u32,
    /// The node's id: assigned by the cluster and never used twice; 1, 2, 3 …
    pub node: u64,
    /// The number of bytes of commands from one checkpoint to the next, the same on every node of the cluster.
    pub chunk_bytes: u64,
    /// The secret that only members and those who have a join token know.
    pub secret: JoinSecret,
}

impl Identity {
    /// Returns the identity of the node whose folder this is; none if the node belongs to no cluster yet. Works on
    /// a stopped node, too.
    pub fn read(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Identity>, Fault> {
        let path = directory.join(IDENTITY);
        let found = read(vfs, &path, format::decode)?;
        let boot = directory.join(BOOT);
        if found.is_none() && vfs.exists(&boot).map_err(Fault::io("find", &boot))? {
            // A node with a counted start had an identity; without one, the giving of it may have been cut off.
            let (boot, _) = Boot::open(vfs, directory, Open::Read)?;
            if boot.times() > 0 {
                let why = format!("it is missing, and the folder is a node's; {ADVICE}");
                return Err(Fault::damaged(&path, 0, why));
            }
        }
        Ok(found)
    }

    /// Returns the token with which a new node is started that the cluster is to take in.
    pub fn join_token(&self) -> JoinToken {
        JoinToken { cluster: self.cluster, secret: self.secret }
    }

    /// Returns the number of starts of a folder's node, and a point up to which its log was durable at least. Works on
    /// a stopped node, too.
    ///
    /// # Errors
    /// Damage of the file `boot`.
    pub fn starts(vfs: &dyn Vfs, directory: &Path) -> Result<(u64, Reach), Fault> {
        let (boot, _) = Boot::open(vfs, directory, Open::Read)?;
        Ok((boot.times(), boot.reach()))
    }

    /// Checks every byte in use of the stopped node's log, and that the log reaches as far as it must; changes
    /// nothing. `covered` is the entry of the store's checkpoint.
    ///
    /// # Errors
    /// The fault that a start would stop at.
    pub fn verify_log(
        &self,
        vfs: &dyn Vfs,
        directory: &Path,
        covered: Option<LogId>,
    ) -> Result<LogReport, Fault> {
        let (boot, _) = Boot::open(vfs, directory, Open::Read)?;
        // This is the number that the next start would have.
        let options = LogOptions { covered, ..self.log_options(boot.reach(), boot.times() + 1) };
        log::verify(vfs, &directory.join("log"), &options)
    }

    /// Returns the options, without a cache, of a log that must reach to `reach`, for the start numbered `boot`.
    pub(crate) fn log_options(&self, reach: Reach, boot: u64) -> LogOptions {
        let Identity { cluster, log, node, .. } = *self;
        let segment_bytes = LogOptions::SEGMENT_BYTES_DEFAULT;
        LogOptions { cluster, log, node, segment_bytes, cache_bytes: 0, covered: None, reach, boot }
    }

    /// Gives the folder its identity, durably, and before that a count of zero starts: an identity without a count
    /// is treated as damage from then on.
    pub(crate) fn write(&self, vfs: &dyn Vfs, directory: &Path) -> Result<(), Fault> {
        write(vfs, directory, BOOT, &boot::no_starts())?;
        write(vfs, directory, IDENTITY, &format::encode(self))
    }
}

fn read<T>(
    vfs: &dyn Vfs,
    path: &Path,
    decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> Result<Option<T>, Fault> {
    if !vfs.exists(path).map_err(Fault::io("read", path))? {
        return Ok(None);
    }
    let file = vfs.open(path, Open::Read).map_err(Fault::io("open", path))?;
    let length = file.len().map_err(Fault::io("read", path))?;
    let mut bytes = vec![0; usize::try_from(length.min(4096)).unwrap_or(4096)];
    file.read_at(&mut bytes, 0).map_err(Fault::io("read", path))?;
    let value =
        decode(&bytes).map_err(|why| Fault::damaged(path, 0, format!("{why}; {ADVICE}")))?;
    Ok(Some(value))
}

/// Writes a small file, either whole or not at all.
fn write(vfs: &dyn Vfs, directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    let path = directory.join(name);
    let unfinished = directory.join(format!("{name}.new"));
    if vfs.exists(&unfinished).map_err(Fault::io("read", &unfinished))? {
        vfs.remove(&unfinished).map_err(Fault::io("remove", &unfinished))?;
    }
    let file = vfs.open(&unfinished, Open::Create).map_err(Fault::io("create", &unfinished))?;
    file.write_at(bytes, 0).map_err(Fault::io("write", &unfinished))?;
    file.sync_data().map_err(Fault::io("sync", &unfinished))?;
    vfs.rename(&unfinished, &path).map_err(Fault::io("rename", &path))?;
    vfs.sync_directory(directory).map_err(Fault::io("sync", directory))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use quorate_store::vfs::{MemVfs, OsVfs};

    use super::*;
    use crate::log::{EntryKind, LogEntry, LogWriter, RaftLog};

    #[test]
    fn a_folder_keeps_its_identity_and_counts_its_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = NODE_2;
        assert_eq!(Identity::read(&OsVfs, folder.path()).expect("readable"), None);
        identity.write(&OsVfs, folder.path()).expect("written");
        assert_eq!(Identity::read(&OsVfs, folder.path()).expect("readable"), Some(identity));
        for boot in 1..=3 {
            assert_eq!(count_boot(&OsVfs, folder.path()).expect("counted").times(), boot);
        }
        // A start was cut off: nobody can say whether its number was shown.
        let path = folder.path().join(BOOT);
        let mut bytes = std::fs::read(&path).expect("readable");
        *bytes.get_mut(boot::PLACE_BYTES).expect("it has two places") ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        for boot in [4, 5] {
            assert_eq!(count_boot(&OsVfs, folder.path()).expect("counted").times(), boot);
        }
        std::fs::remove_file(folder.path().join(IDENTITY)).expect("removed");
        let refused = Identity::read(&OsVfs, folder.path()).expect_err("not a new node");
        assert!(refused.to_string().contains("is missing"), "{refused}");
    }

    const NODE_2: Identity = Identity {
        cluster: [9; 16],
        log: 0,
        node: 2,
        chunk_bytes: 1 << 20,
        secret: JoinSecret([5; 16]),
    };

    /// A node's folder before its first start.
    fn founded() -> (MemVfs, Identity) {
        let (vfs, identity) = (MemVfs::new(), NODE_2);
        vfs.create_directory(&folder()).expect("a folder");
        identity.write(&vfs, &folder()).expect("written");
        (vfs, identity)
    }

    /// A node's folder after its first start.
    fn started() -> (MemVfs, Identity) {
        let (vfs, identity) = founded();
        start(&vfs, identity).expect("starts");
        (vfs, identity)
    }

    fn folder() -> PathBuf {
        PathBuf::from("/node")
    }

    fn open_log(
        vfs: &MemVfs,
        identity: Identity,
        boot: &Boot,
    ) -> Result<(RaftLog, LogWriter), Fault> {
        let segment_bytes = LogOptions::SEGMENT_BYTES_MIN;
        let options =
            LogOptions { segment_bytes, ..identity.log_options(boot.reach(), boot.times()) };
        RaftLog::open(Arc::new(vfs.clone()), &folder().join("log"), options)
    }

    /// Does to the log what a start does.
    fn start(vfs: &MemVfs, identity: Identity) -> Result<(), Fault> {
        let mut boot = count_boot(vfs, &folder())?;
        let (_log, mut writer) = open_log(vfs, identity, &boot)?;
        writer.keep_reach(move |reach| boot.reaches(reach))
    }

    #[test]
    fn a_node_whose_log_is_gone_or_lost_its_end_does_not_start_and_is_not_whole() {
        let (vfs, identity) = started();
        let log = folder().join("log");
        let old = vfs.read(&log.join("segment-0000000001")).expect("the segment");
        for restarts in 0..3 {
            let [gone, empty, short, older] = [(); 4].map(|()| vfs.fork());
            for name in gone.list(&log).expect("a folder") {
                gone.remove(&log.join(&name)).expect("removed");
                empty.truncate(&log.join(&name), 0).expect("cut");
                short.truncate(&log.join(&name), 3 * 4096).expect("cut");
            }
            let segment = older.open(&log.join("segment-0000000001"), Open::Write);
            segment.expect("opens").write_at(&old, 0).expect("written");
            for (what, vfs) in [("gone", gone), ("empty", empty), ("short", short)] {
                let found = identity.verify_log(&vfs, &folder(), None);
                let refused = found.expect_err(what).to_string();
                assert!(refused.contains("add a new node"), "{what}: {refused}");
                let refused = start(&vfs, identity).expect_err(what).to_string();
                assert!(refused.contains("add a new node"), "{what}: {refused}");
            }
            // If there was no restart, nothing was written since the copy.
            assert_eq!(start(&older, identity).is_ok(), restarts == 0, "restart {restarts}");
            assert!(identity.verify_log(&vfs, &folder(), None).is_ok());
            append(&vfs, identity, restarts);
            start(&vfs, identity).expect("is whole");
        }
    }

    /// Appends an entry.
    fn append(vfs: &MemVfs, identity: Identity, index: u64) {
        let boot = count_boot(vfs, &folder()).expect("counted");
        let (log, mut writer) = open_log(vfs, identity, &boot).expect("opens");
        let entry = LogEntry {
            id: LogId::new(1, index),
            kind: EntryKind::Normal,
            payload: vec![7; 100].into(),
        };
        log.append(vec![entry], Box::new(|written| written.expect("written")));
        writer.write().expect("written");
        writer.sync().expect("synced");
    }

    /// Puts bytes in place of a file's contents, as if the file came from another disk.
    fn put(vfs: &MemVfs, path: &Path, bytes: &[u8]) {
        vfs.truncate(path, bytes.len() as u64).expect("cut");
        let file = vfs.open(path, Open::Write).expect("opens");
        file.write_at(bytes, 0).expect("written");
    }

    #[test]
    fn a_log_or_a_count_of_starts_from_before_the_last_start_does_not_pass_for_the_newest() {
        let (vfs, identity) = started();
        let older = vfs.fork();
        let segment = folder().join("log/segment-0000000001");
        let boot = folder().join(BOOT);
        // Nothing but the start itself was written since the fork.
        start(&vfs, identity).expect("starts");
        for (path, expected) in [(&segment, "start 2 wrote it"), (&boot, "`boot` is an older copy")]
        {
            let mixed = vfs.fork();
            put(&mixed, path, &older.read(path).expect("readable"));
            let verified = identity.verify_log(&mixed, &folder(), None).expect_err("is no whole");
            let refused = start(&mixed, identity).expect_err("does not start");
            for message in [verified.to_string(), refused.to_string()] {
                assert!(message.contains(expected), "{message}");
                assert!(message.contains("add a new node"), "{message}");
            }
        }
        start(&vfs, identity).expect("is whole");
        assert!(identity.verify_log(&vfs, &folder(), None).is_ok());
    }

    #[test]
    fn a_node_that_stopped_before_its_first_batch_starts() {
        let (vfs, identity) = founded();
        assert_eq!(identity.verify_log(&vfs, &folder(), None).expect("is whole").segments, 0);
        for boot in [1, 2] {
            assert_eq!(count_boot(&vfs, &folder()).expect("counted").times(), boot);
        }
        start(&vfs, identity).expect("starts");
        // The identity is given after the count: a power cut between them leaves a new node.
        vfs.remove(&folder().join(IDENTITY)).expect("removed");
        assert!(Identity::read(&vfs, &folder()).is_err(), "it was started");
        write(&vfs, &folder(), BOOT, &boot::no_starts()).expect("written");
        assert_eq!(Identity::read(&vfs, &folder()).expect("a new node"), None);
    }

    #[test]
    fn small_files_that_are_gone_or_empty_are_named_with_the_way_out() {
        for (name, is_gone) in [(IDENTITY, false), (IDENTITY, true), (BOOT, false), (BOOT, true)] {
            let (vfs, _) = started();
            let path = folder().join(name);
            match is_gone {
                true => vfs.remove(&path).expect("removed"),
                false => vfs.truncate(&path, 0).expect("cut"),
            }
            let started = Identity::read(&vfs, &folder())
                .and_then(|identity| start(&vfs, identity.expect("an identity")));
            let refused = started.expect_err(name).to_string();
            assert!(refused.contains(&format!("/node/{name}")), "{refused}");
            assert!(refused.contains("add a new node"), "{refused}");
        }
    }
}
