//! Process managers: the triggers that they parked are listed, replayed and dropped.

mod admin;
pub mod parking;

pub use admin::ProcessManagerRef;
