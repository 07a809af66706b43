//! Tests of the client when sessions, reads and nodes fail, against nodes whose answers are given by hand.

mod fake;
mod fake_cluster;
mod fake_groups;
mod groups;
mod leases;
mod members;
mod names;
mod reads;
mod sessions;
mod silence;
mod subscriptions;
