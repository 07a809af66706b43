//! Appends that race, and the system calls that make appends durable.

use std::fs;
use std::process::{Command, Stdio};

use quorate_tests::cluster::{Cluster, json_lines};

use super::{check, text};

#[test]
fn of_two_writers_that_race_one_wins_and_the_other_learns_the_version() {
    let cluster = Cluster::start("64MiB");
    for round in 0..10 {
        let expected = round.to_string();
        let arguments = [
            "append", "order-1", "--type", "Noted", "--expect", &expected, "--data", "{}", "--json",
        ];
        let racers = [(), ()].map(|()| {
            let mut command = cluster.command(arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        });
        let mut outputs = racers.map(|racer| racer.wait_with_output().expect("it ends"));
        outputs.sort_by_key(|output| output.status.code());
        let [winner, loser] = outputs;
        check(&winner, 0, "");
        check(&loser, 3, "conflict");
        let won = &json_lines(&winner.stdout)[0];
        assert_eq!(won["versions"]["order-1"], round + 1, "{won}");
        let lost = &json_lines(&loser.stdout)[0];
        assert_eq!(lost["error"], "conflict", "{lost}");
        assert_eq!(lost["outcome"], "not appended", "{lost}");
        assert_eq!(lost["failures"][0]["actual"], round + 1, "{lost}");
        assert!(
            text(&loser.stderr).contains(&format!("`order-1` is at version {}", round + 1)),
            "{}",
            text(&loser.stderr)
        );
    }
    cluster.check_logs();
}

#[test]
fn an_append_is_synced_by_a_majority_before_its_answer() {
    if Command::new("strace").arg("-V").output().is_err() {
        quorate_tests::skipped("strace is not there, so nobody counts what reaches the disks");
        return;
    }
    let cluster = Cluster::start_wrapped("64MiB", |node| {
        let output = node.data.display().to_string().replace("/node-", "/output-");
        // With -D our child is the node and not strace, so that killing our child kills the node.
        let words = ["strace", "-D", "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", &output];
        words.map(str::to_owned).to_vec()
    });
    let syncs = |number: usize| {
        let output = cluster.folder().join(format!("output-{number}"));
        let trace = fs::read_to_string(output).unwrap_or_default();
        trace.lines().filter(|line| line.contains("fdatasync(") && line.contains("= 0")).count()
            + trace.lines().filter(|line| line.contains("fdatasync resumed")).count()
    };
    let appends = 30;
    for number in 0..appends {
        let before: Vec<usize> = (1..=3).map(syncs).collect();
        cluster.must(["append", "order-1", "--type", "T", "--expect", &number.to_string()]);
        let synced = (1..=3).filter(|node| syncs(*node) > before[*node - 1]).count();
        assert!(synced >= 2, "append {number} was answered after {synced} nodes had synced");
    }
    let all: Vec<usize> = (1..=3).map(syncs).collect();
    println!("{appends} appends, one after the other: {all:?} calls of fdatasync");
}
