//! A PostgreSQL server of a test's own, where PostgreSQL is installed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cluster::{PATIENCE, wait_for};

/// The user that runs the server if the test is run by root, which PostgreSQL refuses.
const NOBODY: &str = "nobody";

/// A server on a port of its own, without data.
#[derive(Debug)]
pub struct Postgres {
    /// The URL of its database.
    pub url: String,
    server: Child,
    _folder: TempDir,
}

impl Postgres {
    /// Starts a server; `None` if PostgreSQL is not installed.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start() -> Option<Postgres> {
        let programs = programs()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        if is_root() {
            let owned = Command::new("chown").arg(NOBODY).arg(folder.path()).status();
            assert!(owned.expect("chown runs").success());
        }
        let mut init = as_nobody(&programs.join("initdb"));
        init.args(["--auth=trust", "--username=test", "--no-sync", "--pgdata"]).arg(&data);
        let made = init.current_dir(folder.path()).output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = quorate_node::free_addresses(1).expect("a free port")[0].port();
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let server = as_nobody(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-k"])
            .arg(folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        let url = format!("postgres://test@127.0.0.1:{port}/postgres");
        let postgres = Postgres { url, server, _folder: folder };
        wait_for("PostgreSQL", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(postgres)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The server is killed at once: nothing of its data is needed any more.
        let _gone = self.server.kill().and_then(|()| self.server.wait());
    }
}

/// Returns the folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").exists()).max()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    // No shell and no second process are between, so that killing the process kills the server.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--clear-groups"]).arg(AsRef::<OsStr>::as_ref(program));
    command
}
