//! The terminal that standard output and standard error may be: its width, its colours, and bars of progress on it.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthChar;

/// Sets for the whole program that a terminal without colours gets none. The library that decides about colours
/// believes in them wherever `CI` is set, and `TERM` says better what the terminal can show. A person who sets
/// `CLICOLOR` or `CLICOLOR_FORCE` decides for themselves.
pub(crate) fn believe_the_terminal() {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_colours = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    if !has_colours && !is_set("CLICOLOR") && !is_set("CLICOLOR_FORCE") {
        anstream::ColorChoice::Never.write_global();
    }
}

/// Returns true if standard error takes colours: it is a terminal that has them, and `NO_COLOR` is not set; or
/// `CLICOLOR_FORCE` is set.
pub(crate) fn errors_in_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Returns the bar with a template, on standard error; a hidden one if standard error is no terminal.
pub(crate) fn progress_bar(bar: ProgressBar, template: &str, task: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = bar.with_style(style).with_message(task);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Writes a line of a list: as much of it as fits on the terminal, or the whole line if standard output is none.
pub(crate) fn write_line(output: &mut impl Write, line: impl Display) -> io::Result<()> {
    match terminal_size_of(io::stdout()) {
        Some((Width(columns), _)) => {
            writeln!(output, "{}", cut(&harmless(&line.to_string()), columns.into()))
        }
        None => writeln!(output, "{line}"),
    }
}

/// Returns a line that moves nothing on the terminal: its text may come from whoever appended it.
fn harmless(line: &str) -> Cow<'_, str> {
    if !line.contains(char::is_control) {
        return line.into();
    }
    let shown = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    line.chars().map(shown).collect()
}

/// Returns as much of a line as fits in so many columns; `…` stands for the rest.
fn cut(line: &str, columns: usize) -> Cow<'_, str> {
    let mut used = 0;
    // The end of the line if the `…` must find room too.
    let mut end = 0;
    for (at, c) in line.char_indices() {
        if used < columns {
            end = at;
        }
        used += c.width().unwrap_or(0);
        if used > columns {
            return format!("{}…", &line[..end]).into();
        }
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_commands_no_terminal() {
        let line = "a\x1b[2J\tb\r\nc\u{9b}d";
        assert_eq!(harmless(line), "a\u{fffd}[2J b  c\u{fffd}d");
        assert!(matches!(harmless("├─ ä"), Cow::Borrowed("├─ ä")));
    }

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        for (line, columns, fits) in [
            ("", 0, ""),
            ("abcde", 5, "abcde"),
            ("abcdef", 5, "abcd…"),
            ("äöüäöü", 5, "äöüä…"),
            ("日本語", 6, "日本語"),
            ("日本語語", 6, "日本…"),
            ("日本語", 5, "日本…"),
            ("abc", 1, "…"),
        ] {
            assert_eq!(cut(line, columns), fits, "{line} in {columns}");
        }
    }
}
