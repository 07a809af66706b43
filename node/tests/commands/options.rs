//! Options of commands: what is read and followed, how long is waited, what is asked before it is done.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use super::{Node, lines_of, stderr_of};

/// Six events: of two categories, one with a tag, and the last one in a stream of its own.
fn filled() -> Node {
    let node = Node::start();
    let line = |stream, kind| format!("{{\"stream\":\"{stream}\",\"type\":\"{kind}\"}}\n");
    let tagged = "{\"stream\":\"bill-1\",\"type\":\"Sent\",\"tags\":[\"customer:7\"]}\n";
    let lines = [
        line("order-1", "Placed"),
        line("order-2", "Placed"),
        tagged.to_owned(),
        line("order-1", "Paid"),
        line("order-2", "Paid"),
        line("other-1", "Noted"),
    ];
    node.must(&["import", &node.file("all.ndjson", lines.concat())]);
    node
}

fn positions(node: &Node, arguments: &[&str]) -> Vec<u64> {
    let lines = node.must(arguments);
    lines.iter().filter_map(|line| line["position"].as_u64()).collect()
}

#[test]
fn reads_take_a_query_the_last_events_or_one() {
    let node = filled();
    let query = "type:Paid,stream:order-1 or tag:customer:7";
    assert_eq!(positions(&node, &["read", "--query", query]), [3, 4]);
    assert_eq!(positions(&node, &["read", "--query", query, "--tail", "1"]), [4]);
    assert_eq!(positions(&node, &["subscribe", "--query", query, "--limit", "2"]), [3, 4]);
    assert_eq!(positions(&node, &["read", "--tail", "2"]), [5, 6]);
    assert_eq!(positions(&node, &["read", "--tail", "0"]), [0; 0]);
    assert_eq!(positions(&node, &["read", "--tail", "100"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(positions(&node, &["read", "--category", "order", "--tail", "3"]), [2, 4, 5]);
    assert_eq!(positions(&node, &["read", "--type", "Placed", "--tail", "1"]), [2]);
    assert_eq!(positions(&node, &["read", "order-1", "--tail", "1"]), [4]);
    assert_eq!(positions(&node, &["read", "order-1", "--before", "2", "--tail", "1"]), [1]);
    assert_eq!(positions(&node, &["read", "nothing-1", "--tail", "1"]), [0; 0]);
    assert_eq!(positions(&node, &["read", "--position", "3"]), [3]);

    node.must(&["stream", "delete", "other-1"]);
    assert_eq!(positions(&node, &["read", "--position", "7"]), [7], "an event of the system");
    for (arguments, code, why) in [
        (vec!["read", "--position", "8"], 1, "no event is at position 8: the log ends at 7"),
        (vec!["read", "--position", "6"], 1, "the event at position 6 was removed"),
        (vec!["read", "--position", "0"], 2, "--position"),
        (vec!["read", "order-1", "--position", "1"], 2, "cannot be used with"),
        (vec!["read", "order-1", "--query", "*"], 2, "cannot be used with"),
        (vec!["read", "--query", "colour:red"], 2, "--query"),
        (vec!["read", "--tail", "1", "--limit", "1"], 2, "cannot be used with"),
        (vec!["subscribe", "--backwards"], 2, "--backwards"),
        (vec!["subscribe", "--new", "--after", "1"], 2, "cannot be used with"),
    ] {
        let output = node.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(stderr_of(&output).contains(why), "{arguments:?}: {}", stderr_of(&output));
    }
}

#[test]
fn a_new_subscription_gets_only_what_comes_from_now_on() {
    let node = filled();
    for what in [&["order-1"][..], &["--query", "category:order"]] {
        let arguments =
            [&["subscribe", "--new", "--limit", "1", "--output", "text"], what].concat();
        let mut command = node.command(&arguments);
        let mut follower =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut marks = BufReader::new(follower.stderr.take().expect("a pipe"));
        let mut mark = String::new();
        marks.read_line(&mut mark).expect("a line");
        assert!(mark.starts_with("caught up at"), "{mark}");
        node.must(&["append", "order-1", "--type", "Returned"]);
        let output = follower.wait_with_output().expect("it ends");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("Returned") && printed.lines().count() == 1, "{printed}");
        node.must(&["append", "order-1", "--type", "Closed"]);
    }
}

#[test]
fn an_append_of_several_events_comes_through_a_pipe() {
    let node = Node::start();
    let lines = b"{\"type\":\"A\"}\n{\"type\":\"B\"}\n";
    let done = node.run_with_input(&["append", "order-1", "--file", "-"], lines);
    assert_eq!(lines_of(&done.stdout)[0]["versions"]["order-1"], 2, "{done:?}");
    let refused =
        node.run_with_input(&["append", "order-1", "--file", "-"], b"{\"type\":\"A\"}\n{");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(stderr_of(&refused).contains("standard input:2: "), "{}", stderr_of(&refused));
}

#[test]
fn a_command_waits_no_longer_than_its_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let node = Node::start();
    for arguments in [
        &["read", "order-1"][..],
        &["append", "order-1", "--type", "T"],
        &["stream", "list"],
        &["cluster", "status"],
    ] {
        let began_at = Instant::now();
        let timed = [arguments, &["--node", &address, "--timeout", "200ms"]].concat();
        let output = node.run(&timed);
        assert!(!output.status.success(), "{output:?}");
        // Without the option, the shortest of them would take 3 s and the others 10 s.
        assert!(began_at.elapsed() < Duration::from_millis(2_900), "{arguments:?}");

        let began_at = Instant::now();
        let mut command = node.command(&[arguments, &["--node", &address]].concat());
        let output = command.env("QUORATE_TIMEOUT", "200ms").output().expect("it runs");
        assert!(!output.status.success(), "{output:?}");
        assert!(began_at.elapsed() < Duration::from_millis(2_900), "{arguments:?}");
    }
}

#[test]
fn a_log_of_the_client_goes_to_standard_error() {
    let node = filled();
    let logged = node.run(&["read", "order-1", "--log", "trace"]);
    assert!(logged.status.success(), "{logged:?}");
    assert!(stderr_of(&logged).contains("TRACE"), "{}", stderr_of(&logged));
    assert_eq!(lines_of(&logged.stdout).len(), 2);
    let mut command = node.command(&["read", "order-1"]);
    let logged = command.env("QUORATE_CLIENT_LOG", "trace").output().expect("it runs");
    assert!(stderr_of(&logged).contains("TRACE"), "{}", stderr_of(&logged));
    let mut command = node.command(&["read", "order-1"]);
    let quiet = command.env("QUORATE_LOG", "trace").output().expect("it runs");
    assert_eq!(stderr_of(&quiet), "", "that is a node's");
    assert_eq!(stderr_of(&node.run(&["read", "order-1"])), "");
    let wrong = node.run(&["read", "order-1", "--log", "a=b=c"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn what_cannot_be_taken_back_is_not_done_without_a_word() {
    let node = filled();
    node.must(&["group", "create", "billing"]);
    for (arguments, what) in [
        (vec!["stream", "tombstone", "order-1"], "closes `order-1` for good"),
        (vec!["group", "delete", "billing"], "removes the group `billing`"),
    ] {
        let refused = node.run(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let errors = stderr_of(&refused);
        assert!(errors.contains(what) && errors.contains("say --yes"), "{errors}");
    }
    assert_eq!(node.must(&["group", "list"]).len(), 1);
    assert_eq!(positions(&node, &["read", "order-1"]), [1, 4]);
    node.must(&["stream", "tombstone", "order-1", "--yes"]);
    node.must(&["group", "delete", "billing", "--yes"]);
    assert_eq!(node.must(&["group", "list"]).len(), 0);
    assert_eq!(positions(&node, &["read", "order-1"]), [0; 0]);
}

#[test]
fn a_variable_that_is_empty_says_nothing_and_no_error_shows_as_typed_what_nobody_typed() {
    let node = filled();
    let mut command = node.command(&["read", "order-1", "--json"]);
    for name in ["QUORATE_OUTPUT", "QUORATE_TIMEOUT", "QUORATE_CLIENT_LOG"] {
        command.env(name, "");
    }
    let output = command.output().expect("it runs");
    assert_eq!(lines_of(&output.stdout).len(), 2, "{output:?}");
    let mut nowhere = node.command(&["read", "order-1"]);
    let output = nowhere.env("QUORATE_OUTPUT", "xml").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr_of(&output).contains("'xml'"), "{}", stderr_of(&output));
    let incomplete = node.run(&["append", "order-1"]);
    assert_eq!(incomplete.status.code(), Some(2));
    let errors = stderr_of(&incomplete);
    assert!(errors.contains("--type <TYPE>") && !errors.contains("--endpoints"), "{errors}");
}

#[test]
fn a_read_or_an_export_that_begins_after_the_end_says_so_beside_its_output() {
    let node = filled();
    for (arguments, reported_end) in [
        (&["read", "--after", "7"][..], Some(6)),
        (&["export", "--after", "7"], Some(6)),
        (&["read", "order-1", "--after", "3"], Some(2)),
        (&["read", "--after", "6"], None),
        (&["export", "--after", "6"], None),
        (&["read", "order-1", "--after", "2"], None),
    ] {
        let output = node.run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{output:?}");
        match reported_end {
            Some(end) => {
                let why = format!("is from the future: what was read ends at {end}");
                assert!(stderr_of(&output).contains(&why), "{arguments:?}: {}", stderr_of(&output));
            }
            None => assert_eq!(stderr_of(&output), "", "{arguments:?}"),
        }
    }
}

#[test]
fn a_condition_that_begins_in_the_future_is_refused_unless_the_append_was_made_before() {
    let node = filled();
    let id = "11111111-2222-4333-8444-555555555555";
    let unless = |stream, after| {
        let append = ["append", stream, "--type", "Frozen", "--unless", "type:Frozen"];
        let arguments = [&append[..], &["--after", after, "--id", id]].concat();
        node.run(&arguments)
    };
    let early = unless("limits-7", "7");
    assert_eq!(early.status.code(), Some(3), "{early:?}");
    let line = lines_of(&early.stdout).remove(0);
    let reported = (&line["error"], &line["outcome"], &line["field"]);
    assert_eq!(reported, (&"invalid".into(), &"not appended".into(), &"after".into()), "{line}");
    let why =
        "`after` is from the future: it is 7, but the log ends at position 6; nothing was appended";
    assert_eq!(stderr_of(&early), format!("error: {why}\n"));
    for after in ["6", "100"] {
        let done = unless("limits-7", after);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert_eq!(lines_of(&done.stdout)[0]["position"], 7, "the second is a repetition");
    }
}
