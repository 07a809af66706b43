//! The report that a test was skipped.

use std::io::Write;

/// Prints that a test, or a part of it, is skipped because something is missing.
///
/// The line goes past the capture of the test's output, so that whoever runs the tests sees it although the test
/// passes.
pub fn skipped(why: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
