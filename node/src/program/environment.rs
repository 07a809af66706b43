//! Variables of the environment that stand for options: an empty one counts as absent, and no error mentions one.

use std::env::var_os;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::ContextKind;
use clap::{ArgMatches, Command};

/// Reads the command line. A variable that is empty counts as one that is not there.
pub(super) fn matches(root: Command, line: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
    let says_something = |name: &OsStr| var_os(name).is_some_and(|value| !value.is_empty());
    let filled = keeping(root.clone(), &says_something);
    filled.try_get_matches_from(line.clone()).map_err(|error| plain(error, root, line))
}

/// Returns the same error as without the environment, if it is the same: else its usage would show as typed what
/// nobody typed.
fn plain(error: clap::Error, root: Command, line: Vec<OsString>) -> clap::Error {
    let about = |error: &clap::Error| {
        (error.kind(), error.get(ContextKind::InvalidArg).map(ToString::to_string))
    };
    match keeping(root, &|_| false).try_get_matches_from(line) {
        Err(plain) if about(&plain) == about(&error) => plain,
        _ => error,
    }
}

/// Returns the command without the variables that are set and not to be kept.
fn keeping(command: Command, keeps: &dyn Fn(&OsStr) -> bool) -> Command {
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if !keeps(name) && is_set(name) => arg.env(Resettable::Reset),
        _ => arg,
    });
    command.mut_subcommands(|below| keeping(below, keeps))
}

fn is_set(name: &OsStr) -> bool {
    var_os(name).is_some()
}
