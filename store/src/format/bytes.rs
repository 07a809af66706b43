//! A cursor that takes numbers and strings from bytes, and its counterpart that puts them there.

use ::bytes::{Buf, Bytes};
use quorate_proto::EventId;

/// The reason why bytes do not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl Malformed {
    pub(crate) fn new(why: impl Into<String>) -> Malformed {
        Malformed(why.into())
    }

    /// Makes an error of the refusal of a checked type of `proto`.
    pub(crate) fn invalid(invalid: quorate_proto::Invalid) -> Malformed {
        Malformed(invalid.to_string())
    }
}

/// A cursor over bytes. Everything it returns is a slice of the same allocation.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    bytes: Bytes,
}

macro_rules! take_number {
    ($($name:ident: $type:ty),*) => {$(
        pub(crate) fn $name(&mut self) -> Result<$type, Malformed> {
            const LENGTH: usize = size_of::<$type>();
            let (head, _) = self.bytes.split_first_chunk::<LENGTH>().ok_or_else(Input::short)?;
            let number = <$type>::from_le_bytes(*head);
            self.bytes.advance(LENGTH);
            Ok(number)
        }
    )*};
}

impl Input {
    pub(crate) fn new(bytes: Bytes) -> Input {
        Input { bytes }
    }

    take_number!(u8: u8, u16: u16, u32: u32, u64: u64, i64: i64, u128: u128);

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.bytes.len() {
            return Err(Input::short());
        }
        Ok(self.bytes.split_to(length))
    }

    /// Takes the id of an event.
    pub(crate) fn event_id(&mut self) -> Result<EventId, Malformed> {
        let (head, _) = self.bytes.split_first_chunk::<16>().ok_or_else(Input::short)?;
        let id = EventId::from_bytes(*head).map_err(Malformed::invalid)?;
        self.bytes.advance(head.len());
        Ok(id)
    }

    /// Returns all bytes that are left.
    pub(crate) fn rest(self) -> Bytes {
        self.bytes
    }

    /// Takes a length in one byte, and so many bytes.
    pub(crate) fn short_bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Takes a length in four bytes, and so many bytes.
    pub(crate) fn long_bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Input::short())?)
    }

    /// Takes a length in one byte, and so many bytes of UTF-8.
    pub(crate) fn short_text(&mut self) -> Result<String, Malformed> {
        text(&self.short_bytes()?)
    }

    /// Takes an unsigned number in 1 to 10 bytes, 7 bits each, lowest first (LEB128).
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::new("a number is longer than 64 bits"))
    }

    /// Returns the capacity for `count` items, but never more than the bytes that are left could hold.
    pub(crate) fn capacity(&self, count: u64) -> usize {
        const ITEM_BYTES_MIN: usize = 32;
        usize::try_from(count).unwrap_or(usize::MAX).min(self.remaining() / ITEM_BYTES_MIN + 1)
    }

    /// Returns an error if bytes are left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(Malformed::new(format!("{} bytes are left over", self.bytes.len())))
    }

    fn short() -> Malformed {
        Malformed::new("ends too early")
    }
}

/// Returns bytes as text.
pub(crate) fn text(bytes: &Bytes) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::new("a text is not UTF-8"))
}

/// Puts numbers and strings at the end of a buffer; the counterpart of [`Input`].
pub(crate) trait Output {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, number: u8) {
        self.put(&[number]);
    }

    fn put_u16(&mut self, number: u16) {
        self.put(&number.to_le_bytes());
    }

    fn put_u32(&mut self, number: u32) {
        self.put(&number.to_le_bytes());
    }

    fn put_u64(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    fn put_i64(&mut self, number: i64) {
        self.put(&number.to_le_bytes());
    }

    fn put_u128(&mut self, number: u128) {
        self.put(&number.to_le_bytes());
    }

    /// Puts at most 255 bytes behind their length in one byte.
    fn put_short(&mut self, bytes: &[u8]) {
        let length = u8::try_from(bytes.len()).expect("checked against the limits before");
        self.put_u8(length);
        self.put(bytes);
    }

    /// Puts at most 4 GiB behind their length in four bytes.
    fn put_long(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("checked against the limits before");
        self.put_u32(length);
        self.put(bytes);
    }

    fn put_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put_u8((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.put_u8(number as u8);
    }
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
