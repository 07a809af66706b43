//! The room on the disks of this node and of its peers.
//!
//! It uses no other room; the rooms that write to the disk ask it first.

mod peers;
mod space;

pub(crate) use peers::Rooms;
pub(crate) use space::{Measurement, Room, Space};
