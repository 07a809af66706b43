//! What application writers build on: projections, process managers and sinks over the client library.

pub mod projection;

#[cfg(feature = "redis")]
pub use redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sqlx;
