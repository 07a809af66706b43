//! Messages as bytes, for programs that keep them instead of sending them.

use prost::Message;

use crate::Invalid;

/// Returns the bytes of a message as it goes over the wire.
pub fn message_bytes(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// Returns the message of these bytes.
///
/// # Errors
/// The bytes are not those of such a message.
pub fn message_of<M: Message + Default>(bytes: &[u8]) -> Result<M, Invalid> {
    M::decode(bytes).map_err(|error| Invalid::new("message", error.to_string()))
}
