//! The toolkit for applications: projections, process managers and sinks over the client library.

#![deny(missing_debug_implementations)]

/// Implements `Debug` for types with connections, secrets or an application's code: it shows only their names.
macro_rules! opaque_debug {
    ($name:ident $(<$($parameter:ident),+>)?) => {
        impl $(<$($parameter),+>)? std::fmt::Debug for $name $(<$($parameter),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

mod clock;
mod context;
pub mod decider;
pub mod decision;
pub mod evolution;
pub mod process;
pub mod projection;
pub mod reception;
mod report;
mod scenario;
pub mod sink;
mod source;
mod status;

pub use clock::{Clock, SystemClock};
#[cfg(feature = "redis")]
pub use redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sqlx;
