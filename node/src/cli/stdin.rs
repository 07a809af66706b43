//! Standard input in the place of a file or a value: `-`.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;

use super::Exit;

/// Returns true if standard input is meant.
pub(crate) fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// Returns the name of a file, or of standard input, for a person.
pub(crate) fn name_of(file: &Path) -> Cow<'_, str> {
    if is_stdin(file) { "standard input".into() } else { file.to_string_lossy() }
}

/// Reads as many bytes as can be sent, and one more, so that larger input is refused as too large.
pub(crate) fn read_data(bytes_max: usize) -> Result<Bytes, Exit> {
    let mut data = Vec::new();
    io::stdin().lock().take(bytes_max as u64 + 1).read_to_end(&mut data)?;
    Ok(data.into())
}
