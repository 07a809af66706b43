//! Consumers of a group beside other programs: slow handlers, missing handlers, processes that handlers leave behind,
//! signals, and readers that go.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use quorate_tests::cluster::{Cluster, PATIENCE, json_lines, wait_for};
use serde_json::Value;

/// Longer than any wait here may take, and shorter than the handlers would take if they were not ended.
const SOON: Duration = Duration::from_secs(30);

/// Starts a cluster with this many events of the category `order`, each in a stream of its own.
fn cluster_of(events: usize) -> Cluster {
    let cluster = Cluster::start("64MiB");
    let lines: String = (1..=events)
        .map(|number| format!("{{\"stream\":\"order-{number}\",\"type\":\"Made\"}}\n"))
        .collect();
    let file = cluster.folder().join("orders.ndjson");
    std::fs::write(&file, lines).expect("a file");
    cluster.must(["import", file.to_str().expect("a path")]);
    cluster
}

fn create(cluster: &Cluster, group: &str, settings: &[&str]) {
    let arguments = ["group", "create", group, "--query", "category:order"];
    cluster.must(arguments.iter().chain(settings));
}

fn show(cluster: &Cluster, group: &str) -> Value {
    let shown = cluster.must(["group", "show", group, "--json"]);
    json_lines(&shown).remove(0)
}

fn parked(cluster: &Cluster, group: &str) -> Vec<(u64, String)> {
    let parked = json_lines(&cluster.must(["group", "parked", group, "--json"]));
    let summary = |line: &Value| {
        let reason = line["reason"].as_str().unwrap_or_default().to_owned();
        (line["position"].as_u64().unwrap_or_default(), reason)
    };
    parked.iter().map(summary).collect()
}

fn spawn(cluster: &Cluster, arguments: &[&str]) -> Child {
    let mut command = cluster.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

fn terminate(process: &Child) {
    let pid = process.id().to_string();
    let status = std::process::Command::new("kill").args(["-TERM", &pid]).status();
    assert!(status.expect("kill runs").success());
}

/// Waits until a process has ended by itself.
fn end(mut process: Child) -> Output {
    wait_for("the end of a consumer", SOON, || process.try_wait().expect("it can be waited for"));
    process.wait_with_output().expect("it has ended")
}

fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_slow_event_parks_no_other_and_is_ended_when_its_time_is_over() {
    let cluster = cluster_of(12);
    create(&cluster, "slow", &["--timeout", "1s", "--attempts", "2", "--retry-delay", "0ms"]);
    let log = cluster.folder().join("ran");
    let handler = format!(
        "echo $QUORATE_POSITION >> {}; [ $QUORATE_POSITION = 2 ] && sleep 600; exit 0",
        log.display()
    );
    // There are twelve events, and one is tried twice; the window is wider than the number of jobs.
    let consume = ["group", "consume", "slow", "--exec", &handler, "--limit", "13"];
    let jobs = ["--jobs", "2", "--window", "8"];
    let ended = end(spawn(&cluster, &[&consume[..], &jobs[..]].concat()));
    assert!(ended.status.success(), "{}", errors_of(&ended));
    assert_eq!(parked(&cluster, "slow"), [(2, "timed out after 1s".to_owned())]);
    let shown = show(&cluster, "slow");
    assert_eq!((&shown["failed"], &shown["lag"]), (&0.into(), &0.into()), "{shown}");
    let mut ran: Vec<u64> = std::fs::read_to_string(&log)
        .expect("what ran")
        .lines()
        .map(|line| line.parse().expect("a position"))
        .collect();
    ran.sort_unstable();
    let expected: Vec<u64> = [1, 2].into_iter().chain(2..=12).collect();
    assert_eq!(ran, expected, "each once, and the slow one twice");

    // Work that takes longer than the timeout is finished if the consumer may take the time.
    cluster.must(["group", "create", "long", "--query", "category:order", "--timeout", "500ms"]);
    let consume = ["group", "consume", "long", "--exec", "sleep 2", "--run-time", "1m"];
    cluster.must(consume.iter().chain(&["--jobs", "4", "--limit", "4"]));
    let shown = show(&cluster, "long");
    assert_eq!((&shown["failed"], &shown["floor"]), (&0.into(), &4.into()), "{shown}");
    cluster.check_logs();
}

#[test]
fn a_handler_that_cannot_be_run_ends_the_consumer_and_costs_no_event_anything() {
    let cluster = cluster_of(20);
    create(&cluster, "typo", &["--attempts", "1", "--retry-delay", "0ms"]);
    let file = cluster.folder().join("handler.sh");
    std::fs::write(&file, "#!/bin/sh\nexit 0\n").expect("a file");
    let not_executable = file.to_str().expect("a path");
    for (handler, code) in [("./no-such-handler", "127"), (not_executable, "126")] {
        let consume = ["group", "consume", "typo", "--exec", handler, "--jobs", "4"];
        let ended = end(spawn(&cluster, &consume));
        assert_eq!(ended.status.code(), Some(1), "{}", errors_of(&ended));
        let message = errors_of(&ended);
        assert!(message.contains(&format!("exit code {code}")), "{message}");
    }
    // The consumer also ends if the shell itself cannot be started.
    let mut command = cluster.command(["group", "consume", "typo", "--exec", "true"]);
    let ended = command.env("PATH", cluster.folder()).output().expect("it runs");
    assert_eq!(ended.status.code(), Some(1), "{}", errors_of(&ended));
    let shown = show(&cluster, "typo");
    let progress = (&shown["floor"], &shown["failed"], &shown["parked"]);
    assert_eq!(progress, (&0.into(), &0.into(), &0.into()), "{shown}");
    cluster.must(["group", "consume", "typo", "--exec", "true", "--limit", "20"]);
    assert_eq!(show(&cluster, "typo")["parked"], 0);
    cluster.check_logs();
}

/// Returns a `PATH` whose `sh` accepts every command but cannot start a process: it prints `says` and exits with
/// `code`, as such a shell does.
fn path_of_a_shell_that_cannot_fork(cluster: &Cluster, says: &str, code: u8) -> String {
    let folder = cluster.folder().join(format!("shell-{code}"));
    std::fs::create_dir(&folder).expect("a folder");
    let shell = folder.join("sh");
    let script = format!("#!/bin/sh\n[ \"$1\" = -n ] && exit 0\necho '{says}' >&2\nexit {code}\n");
    std::fs::write(&shell, script).expect("a file");
    std::fs::set_permissions(&shell, Permissions::from_mode(0o755)).expect("it may be run");
    folder.to_str().expect("a path").to_owned()
}

#[test]
fn a_shell_that_cannot_fork_ends_the_consumer_and_the_same_exit_code_of_a_handler_is_a_failure() {
    let cluster = cluster_of(4);
    create(&cluster, "fork", &["--attempts", "1", "--retry-delay", "0ms"]);
    for (says, code) in [("sh: 0: Cannot fork", 2), ("fork: Resource unavailable", 254)] {
        let path = path_of_a_shell_that_cannot_fork(&cluster, says, code);
        let consume = ["group", "consume", "fork", "--exec", "true; true", "--jobs", "2"];
        let ended = cluster.command(consume).env("PATH", path).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(1), "{}", errors_of(&ended));
        assert!(
            errors_of(&ended).contains(&format!("{says} (exit code {code})")),
            "{}",
            errors_of(&ended)
        );
        let shown = show(&cluster, "fork");
        let progress = (&shown["floor"], &shown["failed"], &shown["parked"]);
        assert_eq!(progress, (&0.into(), &0.into(), &0.into()), "{shown}");
    }
    // The same exit code of the command is a failure of the handler, whatever it prints.
    for (handler, why) in [
        ("echo 'sh: 0: Cannot fork' >&2; exit 2", "sh: 0: Cannot fork"),
        ("exit 2", "exit code 2"),
        ("exit 254", "exit code 254"),
        ("echo 'quorate: the command begins' >&2; exit 1", "quorate: the command begins"),
    ] {
        let consume = ["group", "consume", "fork", "--exec", handler, "--limit", "1"];
        let ended = end(spawn(&cluster, &consume));
        assert!(ended.status.success(), "{}", errors_of(&ended));
        let reasons: Vec<String> = parked(&cluster, "fork").into_iter().map(|one| one.1).collect();
        assert_eq!(reasons.last().map(String::as_str), Some(why));
    }
    cluster.check_logs();
}

#[test]
fn a_command_that_is_no_shell_script_is_refused_before_an_event_is_asked_for() {
    let cluster = cluster_of(1);
    create(&cluster, "script", &["--attempts", "1"]);
    let consume = ["group", "consume", "script", "--exec", "if true; then echo"];
    let ended = end(spawn(&cluster, &consume));
    assert_eq!(ended.status.code(), Some(2), "{}", errors_of(&ended));
    assert!(
        errors_of(&ended).contains("not a command that `sh` understands"),
        "{}",
        errors_of(&ended)
    );
    let shown = show(&cluster, "script");
    let progress = (&shown["floor"], &shown["failed"], &shown["parked"]);
    assert_eq!(progress, (&0.into(), &0.into(), &0.into()), "{shown}");
    cluster.check_logs();
}

#[test]
fn what_a_handler_leaves_behind_holds_nobody_and_a_signal_ends_what_runs() {
    let cluster = cluster_of(3);
    create(&cluster, "left", &["--timeout", "2s"]);
    let pids = cluster.folder().join("pids");
    // The remaining process holds standard error open, which the consumer reads.
    let handler = format!("sleep 600 > /dev/null & echo $! >> {}; exit 0", pids.display());
    let consume = ["group", "consume", "left", "--exec", &handler, "--limit", "3"];
    let ended = end(spawn(&cluster, &consume));
    assert!(ended.status.success(), "{}", errors_of(&ended));
    let shown = show(&cluster, "left");
    assert_eq!((&shown["failed"], &shown["floor"]), (&0.into(), &3.into()), "{shown}");
    for pid in std::fs::read_to_string(&pids).expect("what was left").lines() {
        let killed = std::process::Command::new("kill").arg(pid).status();
        assert!(killed.expect("kill runs").success(), "what was left behind is let live");
    }

    create(&cluster, "signal", &["--attempts", "1", "--timeout", "10m"]);
    let begun = cluster.folder().join("begun");
    let stubborn =
        format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", begun.display());
    for handler in [format!("echo $$ > {}; sleep 600", begun.display()), stubborn] {
        let _ = std::fs::remove_file(&begun);
        let consume = ["group", "consume", "signal", "--exec", &handler, "--grace", "1s"];
        let consumer = spawn(&cluster, &consume);
        let pid = wait_for("a handler", PATIENCE, || {
            std::fs::read_to_string(&begun).ok().filter(|pid| pid.ends_with('\n'))
        });
        terminate(&consumer);
        let ended = end(consumer);
        assert!(ended.status.success(), "{}", errors_of(&ended));
        let process = format!("/proc/{}", pid.trim());
        assert!(!std::path::Path::new(&process).exists(), "the handler was ended");
        let shown = show(&cluster, "signal");
        let progress = (&shown["floor"], &shown["failed"], &shown["parked"]);
        assert_eq!(progress, (&0.into(), &0.into(), &0.into()), "{shown}");
    }
    cluster.check_logs();
}

#[test]
fn a_reader_that_goes_ends_what_it_read_from_and_little_more_than_it_read_is_settled() {
    let cluster = cluster_of(300);
    create(&cluster, "pipe", &[]);
    let mut consumer = spawn(&cluster, &["group", "consume", "pipe", "--window", "1"]);
    let mut reader = BufReader::with_capacity(1, consumer.stdout.take().expect("a pipe"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    drop(reader);
    end(consumer);
    let floor = show(&cluster, "pipe")["floor"].as_u64().unwrap_or_default();
    assert!(floor < 300, "all of it was settled, and one line was read");

    let mut consumer = spawn(&cluster, &["group", "consume", "pipe"]);
    drop(consumer.stdout.take());
    end(consumer);
    let shown = show(&cluster, "pipe");
    let progress = (&shown["floor"], &shown["failed"]);
    assert_eq!(progress, (&floor.into(), &0.into()), "nobody could read anything");

    for follower in [
        &["subscribe", "--category", "nothing"][..],
        &["read", "--category", "nothing", "--follow"],
        &["group", "show", "pipe", "--watch"],
    ] {
        let mut follower = spawn(&cluster, follower);
        drop(follower.stdout.take());
        let ended = end(follower);
        assert!(ended.status.success(), "{}", errors_of(&ended));
    }
    cluster.check_logs();
}
