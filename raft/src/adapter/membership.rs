//! A membership, as entries of the log and checkpoints hold it, and the ledger of ids that the store keeps with it.
//!
//! ```text
//! version    2   1
//! configs    2   how many (2 while one replaces another), each: count 2, then node 8 each
//! members    2   how many, each: node 8, client address 2 + n, peer address 2 + n
//! ```
//!
//! A checkpoint puts the id of the membership's entry before it: term 8, index 8. A checkpoint without a
//! membership has no bytes at all. The store keeps the id of the next new node behind that: 8; folders that were
//! written before nodes could be added lack it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_store::{Input, Malformed, text};

use super::types::{self, Addresses, Membership, StoredMembership};

const VERSION: u16 = 1;

/// The applied membership, and the id that the next new node gets.
///
/// Invariants:
/// - `next_node` is above every id that a node of the cluster ever had, so no id is used twice;
/// - it is a function of the log: every membership that is applied raises it above the membership's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) stored: StoredMembership,
    pub(crate) next_node: u64,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { stored: StoredMembership::default(), next_node: 1 }
    }
}

impl Ledger {
    /// Returns the ledger after another membership was applied.
    pub(crate) fn after(&self, stored: StoredMembership) -> Ledger {
        let next_node = self.next_node.max(next_above(&stored));
        Ledger { stored, next_node }
    }

    /// Returns true if the node was a member and is none any more.
    pub(crate) fn was_removed(&self, node: u64) -> bool {
        node < self.next_node && self.stored.membership().get_node(&node).is_none()
    }

    /// Encodes the ledger as the store keeps it.
    pub(crate) fn encode(&self) -> Bytes {
        if self.stored.log_id().is_none() {
            return Bytes::new();
        }
        let mut bytes = encode_stored(&self.stored).to_vec();
        bytes.extend_from_slice(&self.next_node.to_le_bytes());
        bytes.into()
    }

    /// Decodes the ledger that the store keeps.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Ledger, Malformed> {
        if bytes.is_empty() {
            return Ok(Ledger::default());
        }
        let mut input = Input::new(bytes);
        let stored = take_stored(&mut input)?;
        let counted = match input.rest() {
            [] => 0,
            rest => {
                let mut rest = Input::new(rest);
                let next_node = rest.u64()?;
                rest.end()?;
                next_node
            }
        };
        let next_node = counted.max(next_above(&stored));
        Ok(Ledger { stored, next_node })
    }
}

/// Returns the smallest id that is above those of all members.
fn next_above(stored: &StoredMembership) -> u64 {
    let newest = stored.membership().nodes().map(|(node, _)| *node).max();
    newest.unwrap_or(0).saturating_add(1)
}

/// Encodes a membership.
pub(crate) fn encode(membership: &Membership) -> Bytes {
    let mut bytes = Vec::new();
    put(membership, &mut bytes);
    bytes.into()
}

/// Decodes a membership.
pub(crate) fn decode(bytes: &[u8]) -> Result<Membership, Malformed> {
    let mut input = Input::new(bytes);
    let membership = take(&mut input)?;
    input.end()?;
    Ok(membership)
}

/// Encodes a membership and the id of its entry.
pub(crate) fn encode_stored(stored: &StoredMembership) -> Bytes {
    let Some(log_id) = stored.log_id() else {
        return Bytes::new();
    };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&log_id.leader_id.term.to_le_bytes());
    bytes.extend_from_slice(&log_id.index.to_le_bytes());
    put(stored.membership(), &mut bytes);
    bytes.into()
}

/// Decodes a membership and the id of its entry.
pub(crate) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, Malformed> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    let mut input = Input::new(bytes);
    let stored = take_stored(&mut input)?;
    input.end()?;
    Ok(stored)
}

fn take_stored(input: &mut Input<&[u8]>) -> Result<StoredMembership, Malformed> {
    let log_id = types::log_id(input.u64()?, input.u64()?);
    let membership = take(input)?;
    Ok(StoredMembership::new(Some(log_id), membership))
}

fn put(membership: &Membership, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    put_count(membership.get_joint_config().len(), bytes);
    for config in membership.get_joint_config() {
        put_count(config.len(), bytes);
        for node in config {
            bytes.extend_from_slice(&node.to_le_bytes());
        }
    }
    put_count(membership.nodes().count(), bytes);
    for (node, addresses) in membership.nodes() {
        bytes.extend_from_slice(&node.to_le_bytes());
        for text in [&addresses.client_address, &addresses.peer_address] {
            put_count(text.len(), bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

fn put_count(count: usize, bytes: &mut Vec<u8>) {
    let count = u16::try_from(count).expect("members and the lengths of addresses are far fewer");
    bytes.extend_from_slice(&count.to_le_bytes());
}

fn take(input: &mut Input<&[u8]>) -> Result<Membership, Malformed> {
    let version = input.u16()?;
    if version != VERSION {
        return Err(Malformed::new(format!("a membership has the unknown version {version}")));
    }
    let mut configs = Vec::new();
    for _ in 0..input.u16()? {
        let count = input.u16()?;
        configs.push((0..count).map(|_| input.u64()).collect::<Result<BTreeSet<_>, _>>()?);
    }
    let mut members = BTreeMap::new();
    for _ in 0..input.u16()? {
        let node = input.u64()?;
        let (client_address, peer_address) = (take_text(input)?, take_text(input)?);
        members.insert(node, Addresses { client_address, peer_address });
    }
    Membership::new(configs, members).map_err(|error| Malformed::new(error.to_string()))
}

fn take_text(input: &mut Input<&[u8]>) -> Result<String, Malformed> {
    let length = input.u16()?;
    text(input.take(length.into())?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let addresses = |node: u64| Addresses {
            client_address: format!("10.0.0.{node}:7701"),
            peer_address: format!("10.0.0.{node}:8701"),
        };
        let members: BTreeMap<u64, Addresses> =
            (1..=4).map(|node| (node, addresses(node))).collect();
        let configs = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])];
        Membership::new(configs, members).expect("a membership")
    }

    #[test]
    fn what_is_encoded_is_decoded_and_no_cut_passes() {
        let bytes = encode(&membership());
        assert_eq!(decode(&bytes), Ok(membership()));
        for length in 0..bytes.len() {
            assert!(decode(bytes.get(..length).expect("shorter")).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_checkpoint_keeps_the_id_of_the_entry_too() {
        let stored = StoredMembership::new(Some(types::log_id(3, 9)), membership());
        assert_eq!(decode_stored(&encode_stored(&stored)), Ok(stored));
        let none = StoredMembership::default();
        assert_eq!(decode_stored(&encode_stored(&none)), Ok(none));
    }

    fn stored(index: u64, nodes: &[u64]) -> StoredMembership {
        let members: BTreeMap<u64, Addresses> =
            nodes.iter().map(|node| (*node, Addresses::default())).collect();
        let voters = vec![nodes.iter().copied().collect()];
        let membership = Membership::new(voters, members).expect("a membership");
        StoredMembership::new(Some(types::log_id(1, index)), membership)
    }

    #[test]
    fn an_id_is_never_given_twice_and_a_removed_node_is_known_by_it() {
        let founded = Ledger::default().after(stored(1, &[1, 2, 3]));
        assert_eq!(founded.next_node, 4);
        let grown = founded.after(stored(2, &[1, 2, 3, 4]));
        let shrunk = grown.after(stored(3, &[1, 3]));
        assert_eq!(shrunk.next_node, 5);
        let removed: Vec<u64> = (1..=6).filter(|node| shrunk.was_removed(*node)).collect();
        assert_eq!(removed, [2, 4], "5 and 6 were no members yet");
    }

    #[test]
    fn a_ledger_is_decoded_from_the_store_also_from_one_without_a_counter() {
        let ledger = Ledger { stored: stored(7, &[1, 3]), next_node: 9 };
        let bytes = ledger.encode();
        assert_eq!(Ledger::decode(&bytes), Ok(ledger.clone()));
        let older = encode_stored(&ledger.stored);
        assert_eq!(Ledger::decode(&older).map(|ledger| ledger.next_node), Ok(4));
        assert_eq!(Ledger::decode(&Ledger::default().encode()), Ok(Ledger::default()));
        for length in (1..bytes.len()).filter(|length| *length != older.len()) {
            let cut = bytes.get(..length).expect("shorter");
            assert!(Ledger::decode(cut).is_err(), "cut at {length}");
        }
    }
}
