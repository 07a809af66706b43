//! Replication: openraft's storage and network, the Raft log on disk, and [`Replica`], which ties them
//! to the store.
//!
//! Nothing here looks inside a command, and none of openraft's types reaches a disk or a wire.
//!
//! A room uses only those before it: `histogram`, `log`, `host`, `identity`, `adapter` (openraft's types),
//! `disk_space`, `machine` (the store), `raft` (openraft's handle), `peers`, `leadership`, `clocks`, `checkpoint`,
//! `maintenance`, `members`, `replica`.

#[doc(hidden)]
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod host;
pub mod log;
pub mod transport;

mod adapter;
mod checkpoint;
mod clocks;
mod disk_space;
mod error;
mod failure;
mod histogram;
mod identity;
mod leadership;
mod machine;
mod maintenance;
mod members;
mod options;
mod peers;
mod raft;
mod replica;
mod status;

pub use error::{BootstrapError, ChangeError, ProposeError, ScavengeError, StartError, Stopped};
pub use histogram::{Histogram, Observations};
pub use identity::{Identity, JoinSecret, JoinToken, NoJoinToken};
pub use members::{CatchUp, MemberChange};
pub use options::{ReplicaOptions, Timing};
pub use replica::{Applying, Done, Replica, Timings};
pub use status::{Clock, Damage, Member, Refusal, Role, Scavenging, Scrub, Status};
