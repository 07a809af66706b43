//! A cursor that takes numbers and strings from bytes, and its counterpart that puts them there.

use ::bytes::{Buf, Bytes};
use quorate_proto::EventId;

/// The reason why bytes do not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    why: String,
    is_unknown: bool,
}

impl Malformed {
    /// Makes an error of bytes that are not what was written.
    pub fn new(why: impl Into<String>) -> Malformed {
        Malformed { why: why.into(), is_unknown: false }
    }

    /// Makes an error of bytes that are whole, but whose meaning this build does not know.
    pub fn unknown(why: impl Into<String>) -> Malformed {
        Malformed { why: why.into(), is_unknown: true }
    }

    /// Returns true if [`Malformed::unknown`] made the error.
    pub fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// Makes an error of the refusal of a checked type of `proto`.
    pub(crate) fn invalid(invalid: quorate_proto::Invalid) -> Malformed {
        Malformed::new(invalid.to_string())
    }
}

/// Bytes that a cursor takes parts of: borrowed ones, or [`Bytes`], whose parts share one allocation.
pub trait Buffer: Buf {
    /// Splits the first `length` bytes off, which must be there.
    fn split_to(&mut self, length: usize) -> Self;
}

impl Buffer for Bytes {
    fn split_to(&mut self, length: usize) -> Bytes {
        Bytes::split_to(self, length)
    }
}

impl Buffer for &[u8] {
    fn split_to(&mut self, length: usize) -> Self {
        let (part, rest) = self.split_at(length);
        *self = rest;
        part
    }
}

/// A cursor over bytes; the bytes that it returns are parts of them.
#[derive(Clone, Debug)]
pub struct Input<B = Bytes> {
    bytes: B,
}

macro_rules! take_number {
    ($($name:ident),*) => {$(
        /// Takes a number.
        pub fn $name(&mut self) -> Result<$name, Malformed> {
            self.array().map($name::from_le_bytes)
        }
    )*};
}

impl<B: Buffer> Input<B> {
    /// Returns a cursor at the beginning of these bytes.
    pub fn new(bytes: B) -> Input<B> {
        Input { bytes }
    }

    /// Takes the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let array = *self.bytes.chunk().first_chunk::<N>().ok_or_else(too_short)?;
        self.bytes.advance(N);
        Ok(array)
    }

    take_number!(u8, u16, u32, u64, i64, u128);

    /// Returns the number of bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    /// Takes the next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<B, Malformed> {
        if length > self.remaining() {
            return Err(too_short());
        }
        Ok(self.bytes.split_to(length))
    }

    /// Takes the id of an event.
    pub(crate) fn event_id(&mut self) -> Result<EventId, Malformed> {
        EventId::from_bytes(self.array()?).map_err(Malformed::invalid)
    }

    /// Returns all bytes that are left.
    pub fn rest(self) -> B {
        self.bytes
    }

    /// Takes a length in one byte, and so many bytes.
    pub(crate) fn short_bytes(&mut self) -> Result<B, Malformed> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Takes a length in four bytes, and so many bytes.
    pub(crate) fn long_bytes(&mut self) -> Result<B, Malformed> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| too_short())?)
    }

    /// Takes a length in one byte, and so many bytes of UTF-8.
    pub(crate) fn short_text(&mut self) -> Result<String, Malformed> {
        text(self.short_bytes()?.chunk()).map(str::to_owned)
    }

    /// Takes an unsigned number in 1 to 10 bytes, 7 bits each, lowest first (LEB128).
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.chunk().first() {
            Some(byte) if *byte < 0x80 => {
                let number = u64::from(*byte);
                self.bytes.advance(1);
                Ok(number)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        const BYTES_MAX: usize = 10;
        let bytes = self.bytes.chunk();
        let mut number = 0_u64;
        for (at, byte) in bytes.iter().take(BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at + 1 == BYTES_MAX && bits > 1 {
                break;
            }
            number |= bits << (at * 7);
            if byte & 0x80 == 0 {
                self.bytes.advance(at + 1);
                return Ok(number);
            }
        }
        let is_too_long = bytes.len() >= BYTES_MAX;
        let why = if is_too_long { "a number is longer than 64 bits" } else { TOO_SHORT };
        Err(Malformed::new(why))
    }

    /// Passes over numbers that [`Input::varint`] takes, without a look at their size.
    pub(crate) fn skip_varints(&mut self, count: u32) -> Result<(), Malformed> {
        let mut left = count as usize;
        let mut length = 0;
        for bytes in self.bytes.chunk().chunks(8) {
            // The last byte of each number has no highest bit. Whole runs are counted at once.
            let ends = bytes.iter().filter(|byte| **byte < 0x80).count();
            if ends >= left {
                break;
            }
            left -= ends;
            length += bytes.len();
        }
        for byte in self.bytes.chunk().get(length..).unwrap_or_default() {
            if left == 0 {
                break;
            }
            left -= usize::from(*byte < 0x80);
            length += 1;
        }
        if left > 0 {
            return Err(too_short());
        }
        self.bytes.advance(length);
        Ok(())
    }

    /// Returns the capacity for `count` items, but never more than the bytes that are left could hold.
    pub(crate) fn capacity(&self, count: u64) -> usize {
        const ITEM_BYTES_MIN: usize = 32;
        usize::try_from(count).unwrap_or(usize::MAX).min(self.remaining() / ITEM_BYTES_MIN + 1)
    }

    /// Returns an error if bytes are left.
    pub fn end(self) -> Result<(), Malformed> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(Malformed::new(format!("{left} bytes are left over"))),
        }
    }
}

const TOO_SHORT: &str = "ends too early";

fn too_short() -> Malformed {
    Malformed::new(TOO_SHORT)
}

/// Returns bytes as text.
pub fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::new("a text is not UTF-8"))
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
