//! Values as people write them on a command line and in a settings file, and as they are shown: times and spans of time,
//! sizes, expectations, queries, JSON.

pub(crate) mod expectation;
pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod size;
pub(crate) mod span;
pub(crate) mod time;
