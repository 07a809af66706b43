//! Bad input, garbage on the ports, and ports and folders in use: refused with the reason, without harm.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use quorate_tests::cluster::{Cluster, Node, json_lines};
use quorate_tests::random::Random;

use super::{check, exports_are_equal, text};

#[test]
fn bad_input_is_refused_with_the_reason_and_changes_nothing() {
    let cluster = Cluster::start("64MiB");
    let folder = cluster.folder();
    let file = |name: &str, content: &[u8]| -> String {
        let path = folder.join(name);
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    };
    let long = "x".repeat(256);
    let large = file("large", &vec![b'x'; 1024 * 1024 + 1]);
    let cases: [(&[&str], i32, &str); 12] = [
        (&["append", "", "--type", "T"], 2, "is empty"),
        (&["append", &long, "--type", "T"], 2, "at most 255"),
        (&["append", "$order-1", "--type", "T"], 3, "kept for the system"),
        (&["append", "order-1", "--type", "$T"], 3, "kept for the system"),
        (&["append", "order-1", "--type", &long], 2, "at most 255"),
        (&["append", "order-1", "--type", "T", "--id", "no-uuid"], 2, "UUID"),
        (&["append", "order-1", "--type", "T", "--data", "{"], 2, "JSON"),
        (&["append", "order-1", "--type", "T", "--expect", "sometimes"], 2, "exists"),
        (&["append", "order-1", "--type", "T", "--colour", "blue"], 2, "--colour"),
        (&["append", "--file", &file("bad", b"{\"stream\":\"a-1\",\"type\":\"T\"}\n{")], 2, ":2:"),
        (&["append", "--file", &file("none", b"")], 3, "empty"),
        (&["read", "order//1"], 2, "empty part"),
    ];
    for (arguments, code, why) in cases {
        check(&cluster.run(arguments.iter().copied()), code, why);
    }
    let mut command = cluster.command(["append", "order-1", "--type", "T", "--data", "-"]);
    command.stdin(fs::File::open(large).expect("the file"));
    check(&command.output().expect("it runs"), 3, "at most 1048576");
    assert!(cluster.export(0).is_empty(), "something was appended");
    cluster.check_logs();
}

#[test]
fn an_import_stops_at_a_bad_line_with_its_number_and_keeps_what_came_before() {
    let cluster = Cluster::start("64MiB");
    let mut lines: Vec<String> = (1..=50)
        .map(|number| format!("{{\"stream\":\"order-{number}\",\"type\":\"T\"}}"))
        .collect();
    lines[37] = lines[37].replace("\"type\"", "\"tpye\"");
    let path = cluster.folder().join("damaged.ndjson");
    fs::write(&path, lines.join("\n")).expect("a file");
    let path = path.display().to_string();
    let looked = cluster.run(["import", &path, "--check"]);
    assert!(!looked.status.success());
    assert!(
        format!("{}{}", text(&looked.stdout), text(&looked.stderr)).contains("38"),
        "{looked:?}"
    );
    assert!(cluster.export(0).is_empty(), "--check appended something");
    let stopped = cluster.run(["import", &path]);
    assert!(!stopped.status.success());
    assert!(text(&stopped.stderr).contains("38"), "{stopped:?}");
    let exported = exports_are_equal(&cluster, 37);
    assert_eq!(json_lines(&exported).len(), 37);
    lines[37] = lines[37].replace("\"tpye\"", "\"type\"");
    fs::write(&path, lines.join("\n")).expect("a file");
    cluster.must(["import", &path]);
    assert_eq!(json_lines(&exports_are_equal(&cluster, 50)).len(), 50);
}

/// Sends bytes and the end of the stream to a port; returns when the other side has closed or stays silent.
fn send_garbage(address: &str, bytes: &[u8]) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    // The other side may close before everything is sent; that is an answer, too.
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(Shutdown::Write);
    let _ = connection.read_to_end(&mut Vec::new());
}

#[test]
fn garbage_on_either_port_harms_nobody() {
    let mut cluster = Cluster::start("64MiB");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut random = Random::new(1);
    let mut garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        preface.to_vec(),
        [preface.as_slice(), &[0xff; 50_000]].concat(),
        // The start of a frame of headers that announces 16 MiB, which never come.
        [preface.as_slice(), &[0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1]].concat(),
    ];
    for _ in 0..20 {
        let noise: Vec<u8> = (0..2_000).map(|_| random.next() as u8).collect();
        garbage.push([preface.as_slice(), &noise].concat());
        garbage.push(noise);
    }
    for bytes in &garbage {
        send_garbage(&cluster.nodes[0].address, bytes);
        send_garbage(&cluster.nodes[0].peer_address, bytes);
    }
    assert!(cluster.nodes[0].is_running(), "{}", cluster.logs());
    cluster.must(["append", "order-1", "--type", "T", "--expect", "none"]);
    exports_are_equal(&cluster, 1);
    cluster.check_logs();
}

#[test]
fn a_port_in_use_and_a_folder_in_use_are_reported() {
    let cluster = Cluster::start("64MiB");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let folder = cluster.folder().join("other").display().to_string();
    let serve = |data: &str, listen: &str| {
        cluster.run(["serve", "--data", data, "--listen", listen, "--peer-listen", "127.0.0.1:1"])
    };
    let output = serve(&folder, &taken);
    check(&output, 1, "cannot listen on");
    let data = cluster.nodes[0].data.display().to_string();
    let ports = Node::new(cluster.folder(), 9);
    let output = cluster.run([
        "serve",
        "--data",
        &data,
        "--listen",
        &ports.address,
        "--peer-listen",
        &ports.peer_address,
    ]);
    check(&output, 1, "in use by another process");
    check(&serve(&folder, "0.0.0.0:7701"), 2, "--insecure");
    cluster.check_logs();
}
