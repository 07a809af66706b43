//! The examples at the ends of the helps: sessions that a test runs.

use clap::{Command, CommandFactory};

use super::Arguments;

/// A section for each command, in the order in which the test runs them: all of them use one cluster.
const EXAMPLES: &str = include_str!("examples.txt");

/// Returns the command line with the examples in its helps.
pub(crate) fn command() -> Command {
    with_examples(Arguments::command(), "")
}

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

fn with_examples(command: Command, path: &str) -> Command {
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
    use std::collections::BTreeSet;

    use super::*;

    fn leaves(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        if !command.has_subcommands() {
            found.insert(path.trim_start().to_owned());
        }
        for below in command.get_subcommands() {
            leaves(below, &format!("{path} {}", below.get_name()), found);
        }
    }

    #[test]
    fn every_command_has_an_example_at_the_end_of_its_help() {
        let mut commands = BTreeSet::new();
        leaves(&Arguments::command(), "", &mut commands);
        let shown: BTreeSet<String> = paths().into_iter().map(str::to_owned).collect();
        assert_eq!(commands, shown);
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn check(command: &Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn no_line_of_an_example_is_broken_on_a_terminal_of_80_columns() {
        for line in EXAMPLES.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
