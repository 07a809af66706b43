//! The fields of a message as bytes, for messages that are too many to have an object for each.
//!
//! Keys and lengths are as Protocol Buffers have them, <https://protobuf.dev/programming-guides/encoding>.

use crate::Invalid;

const NUMBER: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const BYTES: u32 = 2;
const FOUR_BYTES: u32 = 5;

/// Takes the fields of a message. A field that has its default value is left out, unless it is put as present.
pub(super) trait Sink {
    fn put_varint(&mut self, number: u64);
    fn put(&mut self, bytes: &[u8]);

    fn put_number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            self.put_present(tag, number);
        }
    }

    fn put_present(&mut self, tag: u32, number: u64) {
        self.put_varint(u64::from(tag << 3 | NUMBER));
        self.put_varint(number);
    }

    fn put_bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put_varint(u64::from(tag << 3 | BYTES));
            self.put_varint(bytes.len() as u64);
            self.put(bytes);
        }
    }

    /// Puts the key and the length of a message of this size; its fields follow.
    fn put_head(&mut self, tag: u32, size: Size) {
        self.put_varint(u64::from(tag << 3 | BYTES));
        self.put_varint(size.0 as u64);
    }
}

impl Sink for Vec<u8> {
    fn put_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.push(number as u8);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The number of bytes that fields take. The fields of a message in it are not counted with its head: their own size
/// is known before, and the head adds it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size(usize);

impl Sink for Size {
    fn put_varint(&mut self, number: u64) {
        // Seven bits a byte, and one byte for 0.
        let bits = u64::BITS - (number | 1).leading_zeros();
        self.0 += bits.div_ceil(7) as usize;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn put_head(&mut self, tag: u32, size: Size) {
        self.put_varint(u64::from(tag << 3 | BYTES));
        self.put_varint(size.0 as u64);
        self.0 += size.0;
    }
}

/// The fields of a message, one after the other. They also end where the message is malformed, which [`Fields::end`]
/// tells: so a field is a few words, without room for a reason.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    is_malformed: bool,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A value of a kind that no field read here has.
    Other,
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message, is_malformed: false }
    }

    /// Fails if a field was malformed.
    #[inline]
    pub(super) fn end(self) -> Result<(), Invalid> {
        if self.is_malformed { Err(malformed("ends in the middle of a field")) } else { Ok(()) }
    }

    #[inline]
    fn take(&mut self) -> Option<(u32, Value<'a>)> {
        let key = u32::try_from(self.varint()?).ok()?;
        let value = match key & 7 {
            NUMBER => Value::Number(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.bytes(length)?)
            }
            EIGHT_BYTES => self.bytes(8).map(|_| Value::Other)?,
            FOUR_BYTES => self.bytes(4).map(|_| Value::Other)?,
            _ => return None,
        };
        let tag = key >> 3;
        (tag > 0).then_some((tag, value))
    }

    #[inline]
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Takes a number; most of them, keys and short lengths, are a single byte.
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (first, rest) = self.rest.split_first()?;
        if *first < 0x80 {
            self.rest = rest;
            return Some(u64::from(*first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && *byte > 1 {
                return None;
            }
            number |= bits << (7 * at);
            if *byte < 0x80 {
                self.rest = self.rest.get(at + 1..)?;
                return Some(number);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<(u32, Value<'a>)> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            (self.rest, self.is_malformed) = (&[], true);
        }
        field
    }
}

impl<'a> Value<'a> {
    pub(super) fn number(self) -> Result<u64, Invalid> {
        match self {
            Value::Number(number) => Ok(number),
            Value::Bytes(_) | Value::Other => Err(malformed("has something else for a number")),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Invalid> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Number(_) | Value::Other => Err(malformed("has something else for bytes")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Invalid> {
        text(self.bytes()?)
    }
}

/// Returns bytes as the text that they must be.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|_| malformed("has a text that is not UTF-8"))
}

fn malformed(why: &str) -> Invalid {
    Invalid::new("message", why)
}
