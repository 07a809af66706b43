//! Every decoder of this crate, for a fuzzer: there with the feature `fuzz` alone, which tests ask for.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapter::membership;
use crate::adapter::types::{Addresses, Membership};
use crate::identity::format::{self as identity, Started};
use crate::identity::{Identity, JoinSecret};
use crate::log;

pub use crate::log::fuzz::Target;

/// Returns all targets.
pub fn targets() -> Vec<Target> {
    let mut targets: Vec<Target> = log::fuzz::TARGETS.to_vec();
    targets.push(("the identity of a node", decode_identity, identities));
    targets.push(("a membership", decode_membership, memberships));
    targets
}

fn decode_identity(bytes: &[u8]) {
    let _ = identity::decode(bytes);
    let _ = identity::decode_boot(bytes);
    let _ = identity::decode(&identity::seal(bytes.to_vec()));
    let _ = identity::decode_boot(&identity::seal(bytes.to_vec()));
}

fn identities() -> Vec<Vec<u8>> {
    let secret = JoinSecret::default();
    let identity = Identity { cluster: [7; 16], log: 0, node: 2, chunk_bytes: 1 << 26, secret };
    let whole = identity::encode(&identity);
    let covered = whole[..whole.len() - 4].to_vec();
    let started = Started { times: 4, reach: log::Reach { batch: 9, segment: 2, boot: 4 } };
    vec![whole, covered, identity::encode_boot(&started)]
}

fn decode_membership(bytes: &[u8]) {
    let _ = membership::decode(bytes);
    let _ = membership::decode_stored(bytes);
    let _ = membership::Ledger::decode(bytes);
}

fn memberships() -> Vec<Vec<u8>> {
    let addresses = |port: u16| Addresses {
        client_address: format!("127.0.0.1:{port}"),
        peer_address: format!("127.0.0.1:{}", port + 100),
    };
    let nodes: BTreeMap<u64, Addresses> =
        (1..4).map(|node| (node, addresses(7700 + node as u16))).collect();
    let voters: BTreeSet<u64> = nodes.keys().copied().collect();
    let members = Membership::new(vec![voters], nodes).expect("each voter is a node");
    let plain = membership::encode(&members).to_vec();
    vec![plain.clone(), [vec![1; 16], plain].concat()]
}
