//! Every byte that `store` puts on disk is encoded and decoded here; little endian throughout.
//!
//! The modules are pure: bytes in, values out. Decoders take any bytes: they return [`Malformed`] and never
//! panic, and never allocate more than the input is long.
//!
//! The room opens no file. The values that it encodes are its own, but for the verdicts of a command.

mod bytes;
pub(crate) mod catalog;
pub(crate) mod chunk;
pub(crate) mod codec;
pub mod command;
pub(crate) mod current;
pub(crate) mod event;
pub(crate) mod group;
mod key;
pub(crate) mod manifest;
pub(crate) mod outcome;
pub(crate) mod retention;
mod stored_event;

pub(crate) use self::bytes::Output;
pub use self::bytes::{Input, Malformed, text};
pub use self::key::Key;
pub use self::stored_event::StoredEvent;
pub(crate) use self::stored_event::{EventParts, Identity};
