//! The manifest of a checkpoint: the data that a node needs before it fetches the checkpoint.
//!
//! ```text
//! version 2 (1), state 4 + n, contents 4 + n, count 8, chunks, CRC32C 4 over all before
//! chunk: number 8, first position 8, last 8, first recorded_at 8, last 8, digest 16
//! ```
//!
//! State and contents are encoded as the catalog has them.

use bytes::Bytes;
use quorate_proto::{LogId, Position, Timestamp};

use super::catalog::{
    CheckpointState, Contents, decode_contents, decode_state, encode_contents, encode_state,
};
use super::chunk::ChunkSummary;
use super::{Input, Malformed, Output};

const VERSION: u16 = 1;
const CHUNK_BYTES: usize = 56;

/// The manifest: the state of a checkpoint, and its chunks by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: LogId,
    pub(crate) state: CheckpointState,
    /// The contents of the tables: a catalog with rows missing is refused.
    pub(crate) contents: Contents,
    pub(crate) chunks: Vec<ChunkSummary>,
}

/// Encodes the manifest.
pub(crate) fn encode(manifest: &Manifest) -> Bytes {
    let Manifest { state, contents, chunks, .. } = manifest;
    let mut out = Vec::with_capacity(256 + state.attachment.len() + chunks.len() * CHUNK_BYTES);
    out.put_u16(VERSION);
    out.put_long(&encode_state(state));
    out.put_long(&encode_contents(contents));
    out.put_u64(chunks.len() as u64);
    for chunk in chunks {
        out.put_u64(chunk.number);
        out.put_u64(chunk.first_position.0);
        out.put_u64(chunk.last_position.0);
        out.put_i64(chunk.first_recorded_at.0);
        out.put_i64(chunk.last_recorded_at.0);
        out.put_u128(chunk.digest);
    }
    let checksum = crc32c::crc32c(&out);
    out.put_u32(checksum);
    Bytes::from(out)
}

/// Decodes a manifest.
pub(crate) fn decode(bytes: &Bytes) -> Result<Manifest, Malformed> {
    let body = bytes.len().checked_sub(4).ok_or_else(|| Malformed::new("ends too early"))?;
    let checksum = Input::new(bytes.slice(body..)).u32()?;
    let body = bytes.slice(..body);
    if crc32c::crc32c(&body) != checksum {
        return Err(Malformed::new("fails its checksum"));
    }
    let mut input = Input::new(body);
    let version = input.u16()?;
    if version != VERSION {
        return Err(Malformed::new(format!("version {version} is unknown")));
    }
    let state = decode_state(input.long_bytes()?)?;
    let contents = decode_contents(input.long_bytes()?)?;
    let log_id = state.log_id.ok_or_else(|| Malformed::new("is of no checkpoint"))?;
    let count = input.u64()?;
    let room = usize::try_from(count).unwrap_or(usize::MAX).min(input.remaining() / CHUNK_BYTES);
    let mut chunks = Vec::with_capacity(room);
    for _ in 0..count {
        chunks.push(take_chunk(&mut input)?);
    }
    input.end()?;
    Ok(Manifest { log_id, state, contents, chunks })
}

fn take_chunk(input: &mut Input) -> Result<ChunkSummary, Malformed> {
    Ok(ChunkSummary {
        number: input.u64()?,
        first_position: Position(input.u64()?),
        last_position: Position(input.u64()?),
        first_recorded_at: Timestamp(input.i64()?),
        last_recorded_at: Timestamp(input.i64()?),
        digest: input.u128()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let log_id = LogId::new(3, 700);
        let chunk = |number| ChunkSummary {
            number,
            first_position: Position(number * 10),
            last_position: Position(number * 10 + 9),
            first_recorded_at: Timestamp(-4),
            last_recorded_at: Timestamp(9),
            digest: u128::MAX - 5,
        };
        let state = CheckpointState {
            cluster: [7; 16],
            log: 0,
            chunk_bytes: 65536,
            log_id: Some(log_id),
            attachment: Bytes::from_static(b"members"),
            position: Position(29),
            recorded_at: Timestamp(9),
            digest: 5,
            next_chunk: 3,
        };
        let contents = Contents { stream_records: 7, ..Contents::default() };
        Manifest { log_id, state, contents, chunks: vec![chunk(1), chunk(2)] }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(decode(&encode(&manifest())), Ok(manifest()));
    }

    #[test]
    fn a_manifest_with_a_flipped_or_missing_byte_is_malformed() {
        let good = encode(&manifest());
        for at in 0..good.len() {
            let mut changed = good.to_vec();
            changed[at] ^= 4;
            assert!(decode(&Bytes::from(changed)).is_err(), "byte {at}");
            assert!(decode(&good.slice(..at)).is_err(), "cut at {at}");
        }
    }
}
