//! What application writers build on: projections, process managers and sinks over the client library.

mod clock;
pub mod process;
pub mod projection;
pub mod sink;

pub use clock::{Clock, SystemClock};
#[cfg(feature = "redis")]
pub use redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sqlx;
