//! Conditions, settings, the end of streams and snapshots, with real processes.

mod applications;
mod commands;
mod enrolment;
