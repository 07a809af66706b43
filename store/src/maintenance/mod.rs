//! Work on the chunks beside reading and writing, which somebody else drives step by step.
//!
//! A scavenge removes hidden events, a scrub looks for damage, a repair fetches a damaged chunk from the source of
//! another node, and `verify` checks a store that is not running. The room may use everything else in the crate,
//! the store included; only `lib.rs` uses the room.

mod repair;
mod scavenge;
mod scrub;
mod source;
mod verify;

pub use repair::{Repair, Repaired};
pub use scavenge::{Scavenge, ScavengeStep, Scavenged};
pub use scrub::{Scrub, ScrubStep};
pub use source::ChunkSource;
pub use verify::{Report, verify};
