//! The parts of the tests: histories of what clients saw, the checker of histories, a simulated cluster in
//! one thread, real clusters of processes, and sessions that documents show.

pub mod checker;
pub mod cluster;
pub mod data;
pub mod fuzz;
pub mod history;
pub mod postgres;
pub mod random;
pub mod session;
pub mod simulation;
mod skip;
pub mod targets;

pub use skip::skipped;
