//! Replicas in one process, over loopback TCP and real disks.

mod basics;
mod cluster;
mod faults;
mod guard;
mod network;
mod snapshot;
mod space;
