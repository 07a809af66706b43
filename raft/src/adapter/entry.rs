//! The three forms of an entry: openraft's, the Raft log's and the store's.

use std::io;

use bytes::Bytes;
use quorate_store::Malformed;

use super::membership::{self, Ledger};
use super::types::{Command, Entry, Payload, StoredMembership, ours, theirs};
use crate::log::{EntryKind, LogEntry};

/// Returns true if a node without room must not take these entries. Entries without a command are small, and take a
/// cluster out of trouble: a new leader's first entry, and the entry that removes a node.
pub(crate) fn needs_room(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry.payload, Payload::Normal(_)))
}

/// Converts an entry to the form that the log keeps; a command's bytes are shared, not copied.
pub(crate) fn to_log(entry: Entry) -> LogEntry {
    let (kind, payload) = match entry.payload {
        Payload::Blank => (EntryKind::Blank, Bytes::new()),
        Payload::Normal(command) => (EntryKind::Normal, command.bytes),
        Payload::Membership(membership) => (EntryKind::Membership, membership::encode(&membership)),
    };
    LogEntry { id: ours(entry.log_id), kind, payload }
}

/// Converts an entry of the log to the form that openraft takes.
pub(crate) fn from_log(entry: LogEntry) -> Result<Entry, Malformed> {
    let payload = match entry.kind {
        EntryKind::Blank => Payload::Blank,
        EntryKind::Normal => Payload::Normal(Command { bytes: entry.payload, proposal: None }),
        EntryKind::Membership => Payload::Membership(membership::decode(&entry.payload)?),
    };
    Ok(Entry { log_id: theirs(entry.id), payload })
}

/// Converts an entry to the form that the store applies; `attachment` is what the store keeps of the members so far.
pub(crate) fn to_store(entry: Entry, attachment: &[u8]) -> Result<quorate_store::Entry, Malformed> {
    let payload = match entry.payload {
        Payload::Blank => quorate_store::Payload::Blank,
        Payload::Normal(command) => quorate_store::Payload::Command(command.bytes),
        Payload::Membership(members) => {
            let stored = StoredMembership::new(Some(entry.log_id), members);
            quorate_store::Payload::Attachment(Ledger::decode(attachment)?.after(stored).encode())
        }
    };
    Ok(quorate_store::Entry { log_id: ours(entry.log_id), payload })
}

/// Decodes the membership that the store keeps as its attachment.
pub(crate) fn stored(attachment: &[u8]) -> io::Result<StoredMembership> {
    Ledger::decode(attachment).map(|ledger| ledger.stored).map_err(io::Error::other)
}
