//! Every byte that `store` puts on disk is encoded and decoded here; little endian throughout.
//!
//! The modules are pure: bytes in, values out. Decoders take any bytes: they return [`Malformed`] and never
//! panic, and never allocate more than the input is long.
//!
//! The room opens no file. It knows the values that it encodes: some are its own, others are those of events, keys,
//! verdicts, groups and settings.

mod bytes;
pub(crate) mod catalog;
pub(crate) mod chunk;
pub(crate) mod codec;
pub mod command;
pub(crate) mod current;
pub(crate) mod event;
pub(crate) mod group;
pub(crate) mod manifest;
pub(crate) mod outcome;
pub(crate) mod retention;

pub(crate) use self::bytes::Output;
pub use self::bytes::{Input, Malformed, text};
