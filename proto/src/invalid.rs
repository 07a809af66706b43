//! The rules that requests break.

use std::fmt;

/// A rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Invalid {
    /// The name of the field.
    pub field: &'static str,
    /// The fault of the field; a predicate that follows the field's name.
    pub why: String,
    /// The limit that was passed; 0 if there is none.
    pub limit: u64,
    /// True if the request is too large rather than wrong.
    pub too_large: bool,
}

impl Invalid {
    /// Returns the error of a field that breaks a rule.
    pub fn new(field: &'static str, why: impl Into<String>) -> Invalid {
        Invalid { field, why: why.into(), limit: 0, too_large: false }
    }

    /// The field whose value is refused while it lies in the future, until the log has reached it.
    pub const FUTURE: &'static str = "after";

    /// Returns the error of a position or version not reached yet; `end` says where the log or stream ends.
    pub fn from_the_future(after: u64, end: impl fmt::Display) -> Invalid {
        let why = format!("is from the future: it is {after}, but {end}");
        Invalid::new(Invalid::FUTURE, why)
    }

    /// Returns the error of a field that passes a limit of its form.
    pub fn limit(field: &'static str, why: impl Into<String>, limit: u64) -> Invalid {
        Invalid { limit, ..Invalid::new(field, why) }
    }

    /// Returns the error of a request that must be made smaller.
    pub fn too_large(field: &'static str, why: impl Into<String>, limit: u64) -> Invalid {
        Invalid { too_large: true, ..Invalid::limit(field, why, limit) }
    }
}
