//! Values as people write them on a command line and in a settings file, and as they are shown: spans of time, sizes,
//! queries.

pub(crate) mod query;
pub(crate) mod size;
pub(crate) mod span;
