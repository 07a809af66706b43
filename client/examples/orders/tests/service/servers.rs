//! Database servers that are started for the tests, in a folder of their own, and end with them.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The time that a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that listens on a socket in its folder, and on no network. It ends when its input is closed, so at the
/// latest with this process.
pub(crate) struct Server {
    folder: TempDir,
    _watched: Child,
}

/// Starts PostgreSQL; returns `None`, with a loud message, if it is not installed.
pub(crate) fn postgres() -> Option<Server> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    folders.extend(folders_of_programs());
    let Some(bin) = folders.into_iter().find(|bin| bin.join("initdb").exists()) else {
        skipped("PostgreSQL is not installed");
        return None;
    };
    let script = format!(
        "PATH={}:$PATH
         initdb -D data -U postgres -A trust -E UTF8 --no-sync >log 2>&1 || exit 1
         postgres -D data -k \"$PWD\" -c listen_addresses= -c fsync=off >>log 2>&1 &",
        bin.display()
    );
    Some(Server::start(&script, ".s.PGSQL.5432", "INT", Some("postgres")))
}

/// Starts Redis; returns `None`, with a loud message, if it is not installed.
pub(crate) fn redis() -> Option<Server> {
    if !folders_of_programs().any(|bin| bin.join("redis-server").exists()) {
        skipped("Redis is not installed");
        return None;
    }
    let script = "redis-server --port 0 --unixsocket socket --save '' >log 2>&1 &";
    Some(Server::start(script, "socket", "TERM", None))
}

fn folders_of_programs() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn skipped(why: &str) {
    // Written past the capture of the test's output: the person who runs the tests must see it.
    _ = fs::write("/dev/stderr", format!("SKIPPED: {why}\n"));
}

impl Server {
    /// Starts a server by a script, and waits for its socket. The script runs as `user` if this process is root's,
    /// because PostgreSQL refuses to run as root.
    fn start(script: &str, socket: &str, signal: &str, user: Option<&str>) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!(
            "cd '{}' || exit 1
             {script}
             server=$!
             cat >/dev/null
             kill -{signal} $server
             wait $server
             rm -rf data",
            folder.path().display()
        );
        let user = user.filter(|_| is_root());
        let mut command = match user {
            None => Command::new("sh"),
            Some(user) => {
                let owned = Command::new("chown").arg(user).arg(folder.path()).status();
                assert!(
                    owned.expect("chown runs").success(),
                    "the folder is not given to `{user}`"
                );
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--", "sh"]);
                command
            }
        };
        let mut watched =
            command.args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("a shell");
        let begun = Instant::now();
        while !folder.path().join(socket).exists() {
            let has_ended = watched.try_wait().expect("a child").is_some();
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(
                !has_ended && begun.elapsed() < PATIENCE,
                "the server does not start: {}",
                log()
            );
            // Processes cannot be waited for otherwise.
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { folder, _watched: watched }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}
