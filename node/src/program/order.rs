//! Shared options may stand before the command's name too, as those of `git`, `kubectl` and `docker` do.

use std::ffi::OsString;

use clap::Command;

/// The shared options that take a value. An option that no command shares stays in its place, so that clap
/// names it in its error.
const WITH_VALUE: [&str; 6] =
    ["--endpoints", "--node", "--consistency", "--timeout", "--log", "--output"];
/// The shared options without a value.
const ALONE: [&str; 1] = ["--json"];

/// Moves the shared options at the beginning of the command line behind the command's name, where the command
/// decides whether it accepts them.
pub(super) fn options_behind_the_command(
    line: impl IntoIterator<Item = OsString>,
    root: &Command,
) -> Vec<OsString> {
    let mut words = line.into_iter().peekable();
    let mut ordered: Vec<OsString> = words.next().into_iter().collect();
    let mut options = Vec::new();
    while let Some(word) = words.next_if(is_shared) {
        let value_follows = WITH_VALUE.iter().any(|option| word == *option);
        options.push(word);
        if value_follows {
            options.extend(words.next());
        }
    }
    let mut command = root;
    while let Some(inner) =
        words.peek().and_then(|word| command.find_subcommand(word.to_str().unwrap_or_default()))
    {
        command = inner;
        ordered.extend(words.next());
    }
    ordered.extend(options);
    ordered.extend(words);
    ordered
}

fn is_shared(word: &OsString) -> bool {
    let name = word.to_str().unwrap_or_default();
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    WITH_VALUE.contains(&name) || ALONE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    fn ordered(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        let ordered = options_behind_the_command(words, &command());
        ordered.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn shared_options_before_the_command_are_the_commands() {
        for (typed, meant) in [
            ("quorate read s --node a:1", "quorate read s --node a:1"),
            ("quorate --node a:1 read s", "quorate read --node a:1 s"),
            (
                "quorate --endpoints=a:1,b:2 --json cluster status",
                "quorate cluster status --endpoints=a:1,b:2 --json",
            ),
            ("quorate --node a:1 stream show -- x", "quorate stream show --node a:1 -- x"),
            ("quorate --node", "quorate --node"),
            ("quorate --nodes 3 dev", "quorate --nodes 3 dev"),
            ("quorate --json nonsense", "quorate --json nonsense"),
            ("quorate", "quorate"),
        ] {
            assert_eq!(ordered(typed), meant);
        }
    }

    #[test]
    fn an_option_before_a_command_that_does_not_take_it_is_refused() {
        let line = ordered("quorate --node a:1 demo");
        let refused = command().try_get_matches_from(line.split(' ')).expect_err("takes none");
        assert_eq!(refused.kind(), clap::error::ErrorKind::UnknownArgument);
    }
}
