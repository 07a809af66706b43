//! The examples at the ends of the helps: sessions that a test runs.

use clap::Command;

/// A section for each command, in the order in which the test runs them: all of them use one cluster.
const EXAMPLES: &str = include_str!("examples.txt");

/// Returns the session that shows the command at `path`, `stream list` for example.
pub(crate) fn example(path: &str) -> Option<&'static str> {
    sections().find(|(name, _)| *name == path).map(|(_, text)| text)
}

/// Returns the commands that have an example, in the order of the session.
pub fn paths() -> Vec<&'static str> {
    sections().map(|(name, _)| name).collect()
}

fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = EXAMPLES.split("\n## quorate ").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .map(|(name, text)| (name, text.trim_end()))
}

/// Returns the command at `path`, and all below it, with the examples in their helps.
pub(crate) fn with_examples(command: Command, path: &str) -> Command {
    if command.has_subcommands() {
        return command.mut_subcommands(|below| {
            let path = format!("{path} {}", below.get_name());
            with_examples(below, path.trim_start())
        });
    }
    let Some(example) = example(path) else { return command };
    let header = *command.get_styles().get_header();
    let example = format!("{header}Example:{header:#}\n{example}");
    let long =
        command.get_after_long_help().map(|before| format!("{}\n\n{example}", before.ansi()));
    let command = command.after_help(example);
    long.into_iter().fold(command, Command::after_long_help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_an_example_is_broken_on_a_terminal_of_80_columns() {
        for line in EXAMPLES.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
