//! Tests of replicas in one process, over loopback TCP and real disks.

mod basics;
mod clocks;
mod cluster;
mod digests;
mod faults;
mod guard;
mod hang;
mod members;
mod network;
mod repair;
mod scavenge;
mod slow;
mod snapshot;
mod space;
