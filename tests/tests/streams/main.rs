//! Conditions, settings, the end of streams, snapshots, consumer groups and what is built on them, with real processes.

mod applications;
mod commands;
mod consumers;
mod deciders;
mod decisions;
mod enrolment;
mod groups;
mod parked;
mod progress;
mod reactions;
