//! Conditions, settings, the end of streams and snapshots, with real processes.

mod commands;
mod enrolment;
