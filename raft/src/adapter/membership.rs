//! A membership, as entries of the log and checkpoints hold it.
//!
//! ```text
//! version    2   1
//! configs    2   how many (2 while one replaces another), each: count 2, then node 8 each
//! members    2   how many, each: node 8, client address 2 + n, peer address 2 + n
//! ```
//!
//! A checkpoint puts the id of the membership's entry before it: term 8, index 8. A checkpoint without a
//! membership has no bytes at all.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_store::{Input, Malformed, text};

use super::types::{self, Addresses, Membership, StoredMembership};

const VERSION: u16 = 1;

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
    let log_id = types::log_id(input.u64()?, input.u64()?);
    let membership = take(&mut input)?;
    input.end()?;
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
}
