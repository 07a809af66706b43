//! JSON on a command line.

use quorate_proto::json::check;

/// Reads a value that may begin with a hyphen, as -5 does, but is not the next option in the place of a value.
pub(crate) fn parse_argument(text: &str) -> Result<String, String> {
    match text.starts_with("--") {
        true => Err("is an option and no value".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// Reads JSON that every common reader takes.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    match check(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(why.to_string()),
    }
}
