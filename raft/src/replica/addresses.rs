//! Compares the addresses at which a cluster knows a node with those in the node's settings.
//!
//! The other nodes connect to the addresses in the membership. A node at other addresses looks alive and never hears
//! of an append; a folder that was started with the settings of another node takes part under the wrong name.

use std::path::Path;

use quorate_proto::Address;
use quorate_store::{Fault, Malformed, Store};

use crate::adapter::membership;
use crate::adapter::types::Addresses;
use crate::log::{EntryKind, RaftLog};

/// The number of bytes of entries that are read at a time.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Returns the node's addresses in the newest membership here, committed or not; none if it does not list the node.
pub(crate) fn known(store: &Store, log: &RaftLog, node: u64) -> Result<Option<Addresses>, Fault> {
    let damaged = |why: Malformed| Fault::damaged(Path::new("membership"), 0, why.to_string());
    let stored = membership::decode_stored(store.attachment()).map_err(damaged)?;
    let mut newest = stored.membership().clone();
    let mut next = store.applied().map_or(0, |applied| applied.index.0 + 1);
    let state = log.state();
    next = next.max(state.purged.map_or(0, |purged| purged.index.0 + 1));
    let end = state.last.map_or(0, |last| last.index.0 + 1);
    while next < end {
        let page = log.read(next, end, PAGE_BYTES)?;
        next += page.len().max(1) as u64;
        for entry in page.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            newest = membership::decode(&entry.payload).map_err(damaged)?;
        }
    }
    Ok(newest.get_node(&node).cloned())
}

/// Describes the addresses that differ between the membership and the settings, for clients and for peers.
pub(crate) fn difference(known: &Addresses, configured: (&str, &str)) -> Option<(String, String)> {
    let pairs = [
        (known.client_address.as_str(), configured.0, "clients"),
        (known.peer_address.as_str(), configured.1, "the other nodes"),
    ];
    let differ = pairs.into_iter().filter(|(known, configured, _)| !are_same(known, configured));
    let named = differ.map(|(known, configured, whom)| {
        (format!("{known} for {whom}"), format!("{configured} for {whom}"))
    });
    let (known, configured): (Vec<_>, Vec<_>) = named.unzip();
    (!known.is_empty()).then(|| (known.join(" and "), configured.join(" and ")))
}

fn are_same(one: &str, other: &str) -> bool {
    let address = |text: &str| text.parse::<Address>().ok();
    one == other || address(one).is_some_and(|one| Some(one) == address(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named_and_what_means_the_same_does_not_differ() {
        let known =
            Addresses { client_address: "[::1]:1".to_owned(), peer_address: "Node:2".to_owned() };
        assert_eq!(difference(&known, ("[0:0::1]:1", "node:2")), None);
        let differ = difference(&known, ("[::1]:1", "node:3")).expect("another port");
        let words = |text: &str| text.to_owned();
        assert_eq!(
            differ,
            (words("Node:2 for the other nodes"), words("node:3 for the other nodes"))
        );
        let (both, _) = difference(&known, ("a:1", "b:1")).expect("others");
        assert_eq!(both, "[::1]:1 for clients and Node:2 for the other nodes");
    }
}
