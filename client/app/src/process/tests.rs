//! A process manager on an event log in memory: crashes at every step, races, due times and trouble.

mod crashes;
mod fake;
mod parked;
mod replays;
mod several;
pub(crate) mod shop;
mod trouble;
