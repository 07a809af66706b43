//! Who this node is: what it is given once, when its cluster is founded or takes it in.

use std::path::Path;

use quorate_store::Fault;
use quorate_store::vfs::{Open, Vfs};

use crate::format::{self, Malformed};

const IDENTITY: &str = "identity";
const BOOT: &str = "boot";
/// No write of one place touches the other.
const BOOT_PLACE_BYTES: usize = 4096;

/// Which cluster a node belongs to and which of its nodes it is. Never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster: a random number, drawn when it was founded.
    pub cluster: [u8; 16],
    /// The log: 0 until a cluster has several.
    pub log: u32,
    /// The node: given by the cluster and never used twice; 1, 2, 3 …
    pub node: u64,
    /// Bytes of commands from one checkpoint to the next, alike on every node of the cluster.
    pub chunk_bytes: u64,
}

impl Identity {
    /// The identity of the node whose folder this is; none if it belongs to no cluster yet. Works on a
    /// node that is stopped, too.
    pub fn read(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Identity>, Fault> {
        let path = directory.join(IDENTITY);
        let found = read(vfs, &path, format::identity::decode)?;
        // Whoever counted a start had an identity.
        let boot = directory.join(BOOT);
        if found.is_none() && vfs.exists(&boot).map_err(Fault::io("read", &boot))? {
            return Err(Fault::damaged(&path, 0, "it is missing, and the folder is a node's"));
        }
        Ok(found)
    }

    /// Gives the folder its identity, durably.
    pub(crate) fn write(&self, vfs: &dyn Vfs, directory: &Path) -> Result<(), Fault> {
        write(vfs, directory, IDENTITY, &format::identity::encode(self))
    }
}

/// Counts a start, durably, and returns how many there were: 1 the first time.
///
/// The file has two places, written in turn, so that a start needs no room on the disk. A place that does not
/// decode may have been written by a start that was cut off, and may have held a number that was shown: that
/// number is left out.
pub(crate) fn count_boot(vfs: &dyn Vfs, directory: &Path) -> Result<u64, Fault> {
    let path = directory.join(BOOT);
    if !vfs.exists(&path).map_err(Fault::io("read", &path))? {
        let mut bytes = format::identity::encode_boot(1);
        bytes.resize(2 * BOOT_PLACE_BYTES, 0);
        write(vfs, directory, BOOT, &bytes)?;
        return Ok(1);
    }
    let file = vfs.open(&path, Open::Write).map_err(Fault::io("open", &path))?;
    let mut bytes = vec![0; 2 * BOOT_PLACE_BYTES];
    file.read_at(&mut bytes, 0).map_err(Fault::io("read", &path))?;
    let (mut last, mut lost) = (None, 0);
    for (place, bytes) in (0..).zip(bytes.chunks(BOOT_PLACE_BYTES)) {
        let written = bytes.get(..format::identity::BOOT_BYTES).unwrap_or_default();
        match format::identity::decode_boot(written) {
            Ok(boot) => last = last.max(Some((boot, place))),
            Err(_) if written.iter().all(|byte| *byte == 0) => {}
            Err(_) => lost = 1,
        }
    }
    let (last, place) = last.ok_or_else(|| Fault::damaged(&path, 0, "it holds no number"))?;
    let boot = last + 1 + lost;
    let other = (1 - place) * BOOT_PLACE_BYTES as u64;
    let encoded = format::identity::encode_boot(boot);
    file.write_at(&encoded, other).map_err(Fault::io("write", &path))?;
    file.sync_data().map_err(Fault::io("sync", &path))?;
    Ok(boot)
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
    let value = decode(&bytes).map_err(|why| Fault::damaged(path, 0, why.to_string()))?;
    Ok(Some(value))
}

/// Writes a small file whole or not at all.
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
    use quorate_store::vfs::OsVfs;

    use super::*;

    #[test]
    fn a_folder_keeps_its_identity_and_counts_its_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity { cluster: [9; 16], log: 0, node: 2, chunk_bytes: 1 << 20 };
        assert_eq!(Identity::read(&OsVfs, folder.path()).expect("readable"), None);
        identity.write(&OsVfs, folder.path()).expect("written");
        assert_eq!(Identity::read(&OsVfs, folder.path()).expect("readable"), Some(identity));
        for boot in 1..=3 {
            assert_eq!(count_boot(&OsVfs, folder.path()).expect("counted"), boot);
        }
        // A start that was cut off: nobody can say whether its number was shown.
        let path = folder.path().join(BOOT);
        let mut bytes = std::fs::read(&path).expect("readable");
        *bytes.first_mut().expect("it has bytes") ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        for boot in [4, 5] {
            assert_eq!(count_boot(&OsVfs, folder.path()).expect("counted"), boot);
        }
        std::fs::remove_file(folder.path().join(IDENTITY)).expect("removed");
        let refused = Identity::read(&OsVfs, folder.path()).expect_err("not a new node");
        assert!(refused.to_string().contains("is missing"), "{refused}");
    }
}
