//! The terminal that standard output may be: how wide it is, and what of a line fits.

use std::borrow::Cow;
use std::io;

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthChar;

/// As much of a line as fits on the terminal; the whole line if standard output is none.
pub(crate) fn fitting(line: &str) -> Cow<'_, str> {
    match terminal_size_of(io::stdout()) {
        Some((Width(columns), _)) => cut(line, columns.into()),
        None => line.into(),
    }
}

/// As much of a line as fits in so many columns; `…` stands for what does not.
fn cut(line: &str, columns: usize) -> Cow<'_, str> {
    let mut used = 0;
    // Where the line ends if the `…` must find room too.
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
