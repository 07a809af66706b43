//! What the client does when sessions, reads and nodes fail, against nodes whose answers are given by hand.

mod fake;
mod fake_groups;
mod feeds;
mod groups;
mod names;
mod reads;
mod sessions;
mod silence;
