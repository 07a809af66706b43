//! Conditions, settings, the end of streams, snapshots and consumer groups, with real processes.

mod applications;
mod commands;
mod enrolment;
mod groups;
