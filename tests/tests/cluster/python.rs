//! Runs the Python program of the documentation against a real cluster.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use quorate_tests::cluster::Cluster;

use super::text;

const PACKAGES: &str = "import grpc, grpc_tools, grpc_status";

/// Returns the Python that `QUORATE_PYTHON` names, or `python3`; `None` if it lacks the packages.
fn python() -> Option<OsString> {
    let python = env::var_os("QUORATE_PYTHON").unwrap_or_else(|| "python3".into());
    let probe = Command::new(&python).args(["-c", PACKAGES]).output();
    probe.is_ok_and(|probe| probe.status.success()).then_some(python)
}

/// Returns the fenced blocks of a language in a Markdown text, joined.
fn blocks(markdown: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let begun = markdown.split(&fence).skip(1);
    begun.filter_map(|block| block.split("```").next()).collect()
}

/// Returns the output of a program that must succeed.
fn output_of(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_python_program_of_the_documentation_appends_meets_a_conflict_reads_and_follows() {
    let Some(python) = python() else {
        eprintln!(
            "SKIPPED: no Python with grpcio, grpcio-status and grpcio-tools (see QUORATE_PYTHON)"
        );
        return;
    };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let markdown = fs::read_to_string(repository.join("docs/python.md")).expect("the page");
    let commands = blocks(&markdown, "sh");
    let compile = commands.lines().find_map(|line| line.strip_prefix("python3 -m grpc_tools"));
    let compile = compile.expect("the page says how the protocol is compiled");
    let folder = tempfile::tempdir().expect("a folder");
    let proto = repository.join("proto");
    let compile = compile.split_whitespace().map(|word| match word {
        "proto" => proto.clone().into_os_string(),
        ".protoc" => "grpc_tools.protoc".into(),
        word => word.into(),
    });
    let mut compiler = Command::new(&python);
    compiler.arg("-m").args(compile).current_dir(folder.path());
    output_of(&compiler.output().expect("it runs"));
    let program = folder.path().join("program.py");
    fs::write(&program, blocks(&markdown, "python")).expect("a file");

    let mut cluster = Cluster::start("1MiB");
    let follower = (cluster.wait_for_leader() + 1) % 3;
    let mut command = Command::new(&python);
    command.arg(&program).arg(&cluster.nodes[follower].address).current_dir(folder.path());
    let printed = output_of(&command.output().expect("it runs"));
    let expected = [
        "appended version 1",
        "conflict: order-42 is at version 1",
        "appended version 2",
        "position 1 order-42 OrderPlaced {\"total\":50}",
        "position 2 order-42 OrderPaid {\"total\":50}",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
    cluster.check_logs();
}
