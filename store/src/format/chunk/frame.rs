//! Frames: pieces of a chunk, each under a checksum of its own.
//!
//! ```text
//! checksum   4   CRC32C of the chunk's identity, the frame's offset, and all that follows
//! stored     4   bytes of the payload as it stands here
//! plain      4   bytes of the payload once decoded
//! key        4   which key the payload is encrypted with; 0 = it is not
//! section    2   the section that the frame belongs to
//! codec      1   how the payload is packed (see `format::codec`)
//! unused     1   0
//! payload
//! ```

use bytes::Bytes;

use super::{ChunkIdentity, seed};
use crate::format::codec::{self, PLAIN_BYTES_MAX, Packer};
use crate::format::{Input, Malformed, Output};

pub(crate) const FRAME_HEADER_BYTES: u64 = 20;
const CHECKSUM_BYTES: usize = 4;
const NO_KEY: u32 = 0;

/// Puts a frame that will stand at `offset` of the file.
pub(crate) fn encode(
    identity: &ChunkIdentity,
    offset: u64,
    section: u16,
    plain: &[u8],
    packer: &mut Packer,
    out: &mut Vec<u8>,
) {
    debug_assert!(plain.len() <= PLAIN_BYTES_MAX, "it could not be read again");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("frames are cut small");
    let (codec, payload) = packer.pack(section, plain);
    let start = out.len();
    out.put_u32(0);
    out.put_u32(length(payload));
    out.put_u32(length(plain));
    out.put_u32(NO_KEY);
    out.put_u16(section);
    out.put_u8(codec);
    out.put_u8(0);
    out.put(payload);
    let covered = &out[start + CHECKSUM_BYTES..];
    let checksum = crc32c::crc32c_append(seed(identity, offset), covered);
    out[start..start + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Returns the length of a frame in bytes, as its header has it; it is not checked yet.
pub(crate) fn length(header: &Bytes) -> Result<u64, Malformed> {
    let mut input = Input::new(header.clone());
    input.u32()?;
    Ok(FRAME_HEADER_BYTES + u64::from(input.u32()?))
}

/// Returns the payload of the frame that `bytes` are exactly.
pub(crate) fn decode(
    identity: &ChunkIdentity,
    offset: u64,
    section: u16,
    bytes: &Bytes,
) -> Result<Bytes, Malformed> {
    let mut input = Input::new(bytes.clone());
    let checksum = input.u32()?;
    let covered = bytes.get(CHECKSUM_BYTES..).unwrap_or_default();
    if crc32c::crc32c_append(seed(identity, offset), covered) != checksum {
        return Err(Malformed::new("a frame fails its checksum"));
    }
    let (stored, plain, key) = (input.u32()?, input.u32()?, input.u32()?);
    let (found_section, codec) = (input.u16()?, input.u8()?);
    input.u8()?;
    let payload = input.rest();
    if found_section != section {
        let why = format!("a frame of section {found_section} stands in section {section}");
        return Err(Malformed::new(why));
    }
    if key != NO_KEY {
        return Err(Malformed::new(format!("a frame has the key {key}, unknown to this build")));
    }
    if u64::from(stored) != payload.len() as u64 {
        return Err(Malformed::new("a frame has another length than it says"));
    }
    codec::unpack(codec, payload, usize::try_from(plain).unwrap_or(usize::MAX))
}
