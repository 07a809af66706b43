//! Runs the sessions that the README and the helps show, and compares their output.

use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_tests::cluster::binary;
use quorate_tests::session::{Session, console_blocks, prompts};

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

#[test]
fn the_sessions_of_the_helps_run_as_they_are_shown() {
    let mut session = Session::new();
    for path in quorate_node::cli::paths() {
        let help = Command::new(binary()).args(path.split(' ')).arg("--help").output();
        let help = String::from_utf8(help.expect("it runs").stdout).expect("text");
        let steps = prompts(&help);
        assert!(!steps.is_empty(), "the help of `{path}` has no example");
        // `verify` needs a node that does not run.
        if path == "verify" {
            session.stop_clusters();
        }
        for step in &steps {
            session.run(step);
        }
    }
}
