//! The wire: generated gRPC code, and its conversions to and from the words.
//!
//! Everything that comes in is checked on the way: what converts is within the limits.

mod append;
mod append_bytes;
mod batch;
mod borrowed;
mod codec;
mod event;
mod fields;
mod group;
mod lifecycle;
mod list;
mod message;
mod problem;
mod read;
mod runner;
mod session;
mod snapshot;

/// Messages and services for clients.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        reason = "generated; the .proto files are the documentation"
    )]
    #![allow(clippy::all, reason = "generated")]
    tonic::include_proto!("quorate.v1");
}

/// Messages and services between nodes.
pub mod peer {
    /// The first version.
    pub mod v1 {
        #![allow(
            missing_docs,
            unreachable_pub,
            reason = "generated; the .proto files are the documentation"
        )]
        #![allow(clippy::all, reason = "generated")]
        tonic::include_proto!("quorate.peer.v1");
    }
}

/// The descriptors of all services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate.bin"));

pub use append_bytes::append_bytes;
pub use batch::{BatchDecoder, BatchEncoder};
pub use borrowed::read_append;
pub use codec::Codec;
pub use group::{begun_of, settlements_of};
pub use message::{message_bytes, message_of};
pub use problem::problem_of;
pub use read::{LIFE_SIGN_EVERY, SILENCE_MAX};
pub use session::{SESSION_LIFE, deadline_ms};
