//! Asks a person before an action that cannot be taken back.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use crate::cli::Exit;

// The word that stands for a person's answer.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Confirmation {
    /// Do not ask. Needed where nobody can be asked: without a terminal.
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Goes on if the flag was given, or if the person at the terminal answers yes.
    pub(crate) fn ask(self, what: &str) -> Result<(), Exit> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let message = format!("this {what}, and there is no terminal to ask on: say --yes");
            return Err(Exit::usage(message));
        }
        write!(io::stderr(), "This {what}. Go on? [y/N] ")?;
        match agrees(&mut io::stdin().lock())? {
            true => Ok(()),
            false => Err(Exit::failed("nothing was changed")),
        }
    }
}

fn agrees(answers: &mut impl BufRead) -> io::Result<bool> {
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        // The next output is not to stand beside the question.
        let _ = writeln!(io::stderr());
    }
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_a_yes() {
        for (answer, agreed) in
            [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("no\n", false)]
        {
            assert_eq!(agrees(&mut answer.as_bytes()).expect("memory"), agreed, "{answer:?}");
        }
    }
}
