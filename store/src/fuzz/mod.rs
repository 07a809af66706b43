//! Every decoder of this crate, for a fuzzer: there with the feature `fuzz` alone, which tests ask for.
//!
//! A fuzzer gets past no checksum, so bytes under a checksum are sealed anew before they are decoded.

mod catalog;
mod chunk;
mod request;

/// A decoder's name, the decoder itself, and good bytes to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// Returns all targets.
pub fn targets() -> Vec<Target> {
    [request::TARGETS.as_slice(), &chunk::TARGETS, &catalog::TARGETS].concat()
}

/// Puts the CRC32C of all bytes before into the last four bytes.
fn seal(bytes: &mut [u8]) {
    if let Some((covered, place)) = bytes.split_last_chunk_mut::<4>() {
        *place = crc32c::crc32c(covered).to_le_bytes();
    }
}
