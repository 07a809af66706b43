//! `quorate completions` and `quorate manual`: descriptions of the commands for shells and for `man`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Exit, example};
use crate::output::count_of;

/// Print what a shell needs to complete the commands and options of `quorate`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Write the manual pages, one for each command, into a folder.
#[derive(Args, Debug)]
pub struct ManualArgs {
    /// The folder; it is made if it is not there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Runs `completions` for the whole command line.
pub fn run(args: &CompletionsArgs, mut whole: Command) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut whole, "quorate", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Runs `manual` for the whole command line, without examples in its helps.
pub fn manual(args: &ManualArgs, whole: Command) -> Result<(), Exit> {
    let directory = &args.directory;
    let failed = |error: io::Error| Exit::failed(format!("{}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    let mut whole = whole.disable_help_subcommand(true);
    whole.build();
    let pages = write_pages(directory, &whole, "").map_err(failed)?;
    let written = writeln!(io::stdout(), "{}: {}", directory.display(), count_of(pages, "page"));
    Exit::after_report(Ok(()), written)
}

/// Writes the pages of a command and of all its subcommands; returns the number of pages.
fn write_pages(directory: &Path, command: &Command, path: &str) -> io::Result<u64> {
    let name = command.get_display_name().unwrap_or("quorate");
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    if let Some(example) = example(path) {
        page.extend_from_slice(as_printed(example).as_bytes());
    }
    fs::write(directory.join(format!("{name}.1")), page)?;
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = format!("{path} {}", below.get_name());
        pages += write_pages(directory, below, path.trim_start())?;
    }
    Ok(pages)
}

/// Returns a section of a page whose lines are printed unchanged.
fn as_printed(example: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', r"\e").replace('-', r"\-");
        // `man` would take a line that begins with one of these characters for a request.
        let guard = if line.starts_with(['.', '\'']) { r"\&" } else { "" };
        format!("{guard}{line}\n")
    };
    let lines: String = example.lines().map(line).collect();
    format!(".SH EXAMPLE\n.nf\n{lines}.fi\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_keeps_its_lines_in_a_page() {
        let section = as_printed("$ a -b\n.c \\ d\n'e");
        assert_eq!(section, ".SH EXAMPLE\n.nf\n$ a \\-b\n\\&.c \\e d\n\\&'e\n.fi\n");
    }
}
