//! The other nodes of the cluster: the connections to them, the messages, and what is remembered of each.
//!
//! It may use the adapter, the machine's checkpoints and the disk space.

pub(crate) mod adopt;
pub(crate) mod guard;
mod heartbeats;
mod link;
mod links;
mod network;
mod riding;
mod send_checkpoint;
pub(crate) mod spread;
pub(crate) mod transfers;
mod unanswered;
pub(crate) mod wire;

pub(crate) use link::{Connection, Link, LocalNode, within};
pub(crate) use links::Peers;
pub(crate) use network::Factory;
pub(crate) use send_checkpoint::STALLED;
