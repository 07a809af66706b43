//! The stores that are compared, one file each.

mod etcd;
mod nats;
mod postgres;
mod quorate;
mod redis;
mod umadb;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::peer::{About, Peer};

/// The programs that were named on the command line; the others are looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) quorate: Option<PathBuf>,
    pub(crate) umadb: Option<PathBuf>,
}

/// A store that may be installed: what it promises, and how its programs are found.
pub(crate) type Candidate = (&'static About, fn(&Programs) -> Result<Box<dyn Peer>>);

/// All stores, in the order of the table.
pub(crate) const CANDIDATES: [Candidate; 8] = [
    (&quorate::THREE, quorate::three),
    (&quorate::ONE, quorate::one),
    (&umadb::ABOUT, umadb::find),
    (&redis::ABOUT, redis::find),
    (&postgres::ABOUT, postgres::find),
    (&etcd::ABOUT, etcd::find),
    (&nats::THREE, nats::three),
    (&nats::ONE, nats::one),
];

/// Returns the path of a program: the named one, or the one that the shell would find.
fn program(name: &str, named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return named.canonicalize().with_context(|| named.display().to_string());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let also = [PathBuf::from("/usr/sbin")];
    let found = env::split_paths(&path).chain(also).map(|folder| folder.join(name));
    found
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("`{name}` is not installed"))
}

/// Returns the first line that a program prints of its version.
fn version(program: &Path, option: &str) -> Result<String> {
    let output = Command::new(program).arg(option).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
