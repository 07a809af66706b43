//! The formats of the files `identity` (the node's identity) and `boot` (the number of its starts,
//! and a point up to which its log was durable at least).
//!
//! ```text
//! magic      8   "QUORIDNT" / "QUORBOOT"
//! version    2   identity: 2; boot: 1
//! body           identity: cluster 16, log 4, node 8, chunk bytes 8, secret 16 (version 1 lacks it; it is the cluster's
//!                id there); boot: number 8, log: batch 8, segment 8, the start that wrote it 8
//! checksum   4   CRC32C of all before
//! ```
//!
//! `boot` has two such places, 4096 bytes apart, that are written in turn: the greater number counts; of two equal
//! numbers, the place whose log reaches further counts.

use quorate_store::{Input, Malformed};

use super::{Identity, JoinSecret};
use crate::log::Reach;

const IDENTITY: &[u8; 8] = b"QUORIDNT";
const BOOT: &[u8; 8] = b"QUORBOOT";
/// The newest version of each file.
const IDENTITY_VERSION: u16 = 2;
const BOOT_VERSION: u16 = 1;
/// The length of one place of `boot`.
pub(crate) const BOOT_BYTES: usize = 8 + 2 + 4 * 8 + 4;

/// The contents of the file `boot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Started {
    /// The number of times that the node was started.
    pub(crate) times: u64,
    /// A point up to which the node's log was durable at least.
    pub(crate) reach: Reach,
}

/// Encodes an identity.
pub(crate) fn encode(identity: &Identity) -> Vec<u8> {
    let mut bytes = begin(IDENTITY, IDENTITY_VERSION);
    bytes.extend_from_slice(&identity.cluster);
    bytes.extend_from_slice(&identity.log.to_le_bytes());
    bytes.extend_from_slice(&identity.node.to_le_bytes());
    bytes.extend_from_slice(&identity.chunk_bytes.to_le_bytes());
    bytes.extend_from_slice(&identity.secret.0);
    seal(bytes)
}

/// Decodes an identity.
pub(crate) fn decode(bytes: &[u8]) -> Result<Identity, Malformed> {
    let (version, mut input) = open(IDENTITY, IDENTITY_VERSION, bytes)?;
    let cluster = input.array()?;
    let identity = Identity {
        cluster,
        log: input.u32()?,
        node: input.u64()?,
        chunk_bytes: input.u64()?,
        secret: JoinSecret(if version == 1 { cluster } else { input.array()? }),
    };
    input.end()?;
    Ok(identity)
}

/// Encodes one place of `boot`.
pub(crate) fn encode_boot(started: &Started) -> Vec<u8> {
    let mut bytes = begin(BOOT, BOOT_VERSION);
    let Reach { batch, segment, boot } = started.reach;
    for number in [started.times, batch, segment, boot] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    seal(bytes)
}

/// Decodes one place of `boot`.
pub(crate) fn decode_boot(bytes: &[u8]) -> Result<Started, Malformed> {
    let (_, mut input) = open(BOOT, BOOT_VERSION, bytes)?;
    let times = input.u64()?;
    let reach = Reach { batch: input.u64()?, segment: input.u64()?, boot: input.u64()? };
    input.end()?;
    Ok(Started { times, reach })
}

fn begin(magic: &[u8; 8], version: u16) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes
}

pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Returns the version of a file, and its body.
fn open<'a>(
    magic: &[u8; 8],
    newest: u16,
    bytes: &'a [u8],
) -> Result<(u16, Input<&'a [u8]>), Malformed> {
    let (body, checksum) =
        bytes.split_last_chunk::<4>().ok_or_else(|| Malformed::new("ends too early"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(Malformed::new("the checksum does not match"));
    }
    let mut input = Input::new(body);
    if &input.array::<8>()? != magic {
        return Err(Malformed::new("is a file of another kind"));
    }
    let version = input.u16()?;
    if version == 0 || version > newest {
        return Err(Malformed::new(format!("has version {version}; this build knows {newest}")));
    }
    Ok((version, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_no_damage_passes() {
        let secret = JoinSecret([8; 16]);
        let identity = Identity { cluster: [7; 16], log: 0, node: 3, chunk_bytes: 1 << 26, secret };
        let bytes = encode(&identity);
        assert_eq!(decode(&bytes), Ok(identity));
        let started = Started { times: 42, reach: Reach { batch: 7, segment: 3, boot: 41 } };
        assert_eq!(decode_boot(&encode_boot(&started)), Ok(started));
        assert!(decode_boot(&bytes).is_err(), "a file of another kind");
        // The format before nodes could be added.
        let mut older = bytes.get(..bytes.len() - 16 - 4).expect("shorter").to_vec();
        *older.get_mut(8).expect("the version") = 1;
        let secret = JoinSecret([7; 16]);
        assert_eq!(decode(&seal(older)), Ok(Identity { secret, ..identity }));
        for length in 0..bytes.len() {
            assert!(decode(bytes.get(..length).expect("shorter")).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            *damaged.get_mut(at / 8).expect("inside") ^= 1 << (at % 8);
            assert!(decode(&damaged).is_err(), "bit {at}");
        }
    }
}
