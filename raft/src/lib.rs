//! Replication: openraft's storage and network, the Raft log on disk, and [`Replica`], which ties them
//! to the store.
//!
//! Nothing here looks inside a command, and none of openraft's types reaches a disk or a wire.

#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod log;
pub mod transport;

mod checkpoint;
mod clocks;
mod config;
mod digests;
mod failure;
mod format;
mod gate;
mod guard;
mod handover;
mod hang;
mod identity;
mod log_purge;
mod machine;
mod maintenance;
mod network;
mod observe;
mod place;
mod proposal;
mod reads;
mod replica;
mod room;
mod running;
mod service;
mod snapshot;
mod space;
mod spread;
mod status;
mod storage;
mod transfers;
mod types;
mod wire;

pub use identity::Identity;
pub use replica::{
    Applying, BootstrapError, Done, ProposeError, Replica, ReplicaOptions, ScavengeError,
    StartError, Stopped, Timing,
};
pub use status::{Clock, Damage, Member, Refusal, Role, Scavenging, Scrub, Status};
