//! Commands at a terminal: colours, questions, what fits on a line, and what is drawn again.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::time::Instant;

use super::{BINARY, Node, PATIENCE, lines_of};

/// The width of a terminal here.
const COLUMNS: u16 = 50;
/// The beginning of a colour, and of everything else that a terminal does not print.
const ESCAPE: char = '\x1b';
/// It goes to the first line and empties the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The variables that decide about colours beside `TERM`; whoever runs the tests may have set them.
const DECIDING_ABOUT_COLOURS: [&str; 4] = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"];

/// A command that runs at a terminal of its own.
struct Session {
    process: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    watching: std::thread::JoinHandle<()>,
}

/// Both ends of a new terminal: the one of who looks at it, and the one of the programs.
fn terminal() -> (OwnedFd, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("it may be opened");
    let size = Winsize { ws_row: 40, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).expect("it has a size");
    let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlags::NOCTTY.bits() as i32);
    (ours, options.open(name).expect("the programs' end"))
}

impl Session {
    /// Begins a command; `setsid` makes the terminal its own, so that Ctrl-C reaches it.
    #[allow(
        clippy::disallowed_methods,
        reason = "a terminal is no host, and no simulation runs it"
    )]
    fn begin(node: &Node, arguments: &[&str], environment: &[(&str, &str)]) -> Session {
        let (ours, theirs) = terminal();
        let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        // A job in the background of a script ignores Ctrl-C, and so would all that it starts.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT", "setsid", "--ctty", BINARY])
            .args(arguments)
            .env("QUORATE_ENDPOINTS", &node.address);
        for name in DECIDING_ABOUT_COLOURS {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").envs(environment.iter().copied());
        let process = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        // The screen ends when the last program has gone: this one must not keep it.
        drop(command);
        drop(theirs);
        let keyboard = File::from(ours);
        let mut eye = keyboard.try_clone().expect("a descriptor");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let seen = screen.clone();
        let watching = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = eye.read(&mut bytes) {
                seen.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            }
        });
        Session { process: process.expect("setsid runs"), keyboard, screen, watching }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic")).into_owned()
    }

    /// Waits until the screen has shown this so often.
    fn shows(&self, text: &str, times: usize) {
        let began_at = Instant::now();
        while self.screen().matches(text).count() < times {
            assert!(began_at.elapsed() < PATIENCE, "no {text:?}: {:?}", self.screen());
            std::thread::yield_now();
        }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    /// Waits for the end of the command; its exit code, and all that the screen has shown.
    fn end(mut self) -> (Option<i32>, String) {
        let began_at = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(began_at.elapsed() < PATIENCE, "no end: {:?}", self.screen());
            std::thread::yield_now();
        };
        self.watching.join().expect("no panic");
        let screen = self.screen.lock().expect("no panic");
        (status.code(), String::from_utf8_lossy(&screen).into_owned())
    }
}

/// Everything that a command shows, which must end with 0.
fn shown(node: &Node, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let (code, screen) = Session::begin(node, arguments, environment).end();
    assert_eq!(code, Some(0), "{arguments:?}: {screen:?}");
    screen
}

/// Everything that a command prints into a pipe, and says beside it.
fn piped(node: &Node, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = node.command(arguments);
    for name in DECIDING_ABOUT_COLOURS {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().expect("it runs");
    let bytes = [output.stdout, output.stderr].concat();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn colours_are_where_a_terminal_is_and_nobody_said_no() {
    let node = Node::start();
    for arguments in [
        &["cluster", "status", "--output", "text"][..],
        &["--help"],
        &["read", "--help"],
        &["read", "order-1", "--log", "trace", "--output", "text"],
    ] {
        assert!(shown(&node, arguments, &[]).contains(ESCAPE), "{arguments:?}");
        for without in
            [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")], &[("TERM", "dumb"), ("CI", "true")]]
        {
            let screen = shown(&node, arguments, without);
            assert!(!screen.contains(ESCAPE), "{arguments:?} with {without:?}: {screen:?}");
        }
        assert!(!piped(&node, arguments, &[]).contains(ESCAPE), "{arguments:?} into a pipe");
    }
    let status = ["cluster", "status", "--output", "text"];
    assert!(piped(&node, &status, &[("CLICOLOR_FORCE", "1")]).contains(ESCAPE));
    let wrong = ["read", "--position", "7"];
    let (code, screen) = Session::begin(&node, &wrong, &[]).end();
    assert!(code == Some(1) && screen.contains(ESCAPE), "{screen:?}");
    let (_, screen) = Session::begin(&node, &wrong, &[("NO_COLOR", "1")]).end();
    assert!(!screen.contains(ESCAPE), "{screen:?}");
    assert!(!piped(&node, &wrong, &[]).contains(ESCAPE));
}

/// A node whose lists have lines longer than the terminal is wide.
fn with_long_lines() -> Node {
    let node = Node::start();
    let long = "long".repeat(15);
    let stream = format!("order-{long}");
    let data = format!("{{\"note\":\"{long}\"}}");
    let event = ["--type", "Placed", "--data", &data, "--correlation", "c-1"];
    let done = node.must(&[&["append", &stream], &event[..]].concat());
    assert_eq!(done[0]["position"], 1);
    let group = format!("group-{long}");
    node.must(&["group", "create", "g", "--query", "category:order", "--attempts", "1"]);
    node.must(&["group", "create", &group, "--query", &format!("stream:{stream}")]);
    let handler = format!("printf 'no \\033[2J {long}' >&2; exit 1");
    node.run(&["group", "consume", "g", "--exec", &handler, "--limit", "1"]);
    node.must(&["group", "show", &group]);
    let id = "11111111-1111-4111-8111-111111111111";
    let cause = r#""cause":{"event":{"position":1,"id":"","stream":"order-1","type":"Placed"}}"#;
    let data = format!(r#"{{"instance":"1",{cause},"reason":"no \u001b[2J {long}"}}"#);
    let (kind, tag) = ("TriggerParked", format!("parked:{id}"));
    node.must(&["append", "g$parked", "--type", kind, "--id", id, "--tag", &tag, "--data", &data]);
    node
}

#[test]
fn the_lines_of_lists_end_where_the_terminal_does_and_what_is_piped_is_whole() {
    let node = with_long_lines();
    let long = "long".repeat(15);
    let group = format!("group-{long}");
    for arguments in [
        &["read"][..],
        &["read", "--correlation", "c-1"],
        &["subscribe", "--limit", "1"],
        &["stream", "list"],
        &["group", "list"],
        &["group", "parked", "g"],
        &["process", "parked", "g"],
    ] {
        let screen = shown(&node, arguments, &[("NO_COLOR", "1")]);
        assert!(screen.contains('…'), "{arguments:?}: {screen}");
        assert!(!screen.contains(ESCAPE), "{arguments:?}: {screen:?}");
        for line in screen.lines() {
            assert!(line.chars().count() <= COLUMNS.into(), "{arguments:?}: {line}");
        }
        let text = piped(&node, &[arguments, &["--output", "text"]].concat(), &[]);
        assert!(text.contains(&long) && !text.contains('…'), "{arguments:?}: {text}");
        let json = shown(&node, &[arguments, &["--json"]].concat(), &[]);
        assert!(json.contains(&long) && !lines_of(json.as_bytes()).is_empty(), "{json}");
    }
    let screen = shown(&node, &["group", "show", &group], &[]);
    let query = screen.lines().find(|line| line.starts_with("query")).expect("its query");
    assert_eq!(query.chars().count(), usize::from(COLUMNS), "{query}");
}

#[test]
fn a_question_is_answered_by_yes_and_by_nothing_else() {
    let node = Node::start();
    node.must(&["append", "order-1", "--type", "Placed"]);
    node.must(&["group", "create", "billing"]);
    for (arguments, is_there) in [
        (["stream", "tombstone", "order-1"], ["read", "order-1"]),
        (["group", "delete", "billing"], ["group", "list"]),
    ] {
        for answer in ["n\n", "\n", "\x04", "yes please\n"] {
            let mut session = Session::begin(&node, &arguments, &[("NO_COLOR", "1")]);
            session.shows("Go on? [y/N] ", 1);
            session.types(answer);
            let (code, screen) = session.end();
            assert_eq!(code, Some(1), "{answer:?}: {screen:?}");
            assert!(screen.contains("\nerror: nothing was changed"), "{answer:?}: {screen:?}");
        }
        let mut session = Session::begin(&node, &arguments, &[]);
        session.shows("Go on? [y/N] ", 1);
        session.types("\x03");
        let (code, screen) = session.end();
        assert_eq!(code, None, "Ctrl-C ends it: {screen:?}");
        assert_eq!(node.must(&is_there).len(), 1, "it is there still");
        let mut session = Session::begin(&node, &arguments, &[]);
        session.shows("Go on? [y/N] ", 1);
        session.types("y\n");
        assert_eq!(session.end().0, Some(0));
        assert_eq!(node.must(&is_there).len(), 0);
    }
}

#[test]
fn a_group_that_is_watched_is_drawn_again_where_it_was() {
    let node = Node::start();
    node.must(&["append", "order-1", "--type", "Placed"]);
    node.must(&["group", "create", "billing", "--query", "category:order"]);
    let mut session = Session::begin(&node, &["group", "show", "billing", "--watch"], &[]);
    session.shows(&format!("{CLEAR}group `billing` is at position 0, 1 behind"), 1);
    node.must(&["append", "order-1", "--type", "Paid"]);
    session.shows(&format!("{CLEAR}group `billing` is at position 0, 2 behind"), 1);
    session.types("\x03");
    let (_, screen) = session.end();
    let drawn = screen.split(CLEAR).nth(1).expect("the first");
    assert!(
        drawn.contains("query      category:order") && drawn.contains("0 consumers"),
        "{drawn:?}"
    );
}
