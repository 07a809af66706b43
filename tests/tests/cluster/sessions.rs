//! The sessions that documents show, typed through.

use std::fs;
use std::path::Path;

use quorate_tests::session::{Session, console_blocks};

#[test]
fn the_session_of_the_readme_runs_as_it_is_shown() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let steps = console_blocks(&fs::read_to_string(readme).expect("the README"));
    assert!(steps.len() > 20, "the README shows a session");
    let mut session = Session::new();
    for step in &steps {
        session.run(step);
    }
}
