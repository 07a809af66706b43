//! Replication: openraft's storage and network, the Raft log on disk, and [`Replica`], which ties them
//! to the store.
//!
//! Nothing here looks inside a command, and none of openraft's types reaches a disk or a wire.

#[doc(hidden)]
pub mod fuzz;
pub mod host;
pub mod log;
pub mod transport;

mod adapter;
mod checkpoint;
mod clocks;
mod disk_space;
mod failure;
mod format;
mod identity;
mod leadership;
mod machine;
mod maintenance;
mod peers;
mod replica;
mod status;

pub use identity::Identity;
pub use replica::{
    Applying, BootstrapError, Done, ProposeError, Replica, ReplicaOptions, ScavengeError,
    StartError, Stopped, Timing,
};
pub use status::{Clock, Damage, Member, Refusal, Role, Scavenging, Scrub, Status};
