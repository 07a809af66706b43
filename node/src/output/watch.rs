//! Output that is renewed until Ctrl-C: drawn on a terminal, or in lines where something changed.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::Reader;

/// The interval at which the output is renewed.
const EVERY: Duration = Duration::from_secs(1);
/// Goes to the first line and empties the screen of a terminal.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// A standard output on which something is watched.
pub(crate) struct Watch {
    reader: Reader,
    is_drawn: bool,
}

impl Watch {
    pub(crate) fn new(json: bool) -> Watch {
        Watch { reader: Reader::of_output(), is_drawn: io::stdout().is_terminal() && !json }
    }

    /// Returns true if the whole output is drawn each time; if not, lines are added when something changed.
    pub(crate) fn is_drawn(&self) -> bool {
        self.is_drawn
    }

    /// Shows the output as it is now.
    pub(crate) fn show(&self, now: &[u8]) -> io::Result<()> {
        let mut output = io::stdout().lock();
        if self.is_drawn {
            output.write_all(CLEAR)?;
        }
        output.write_all(now)?;
        output.flush()
    }

    /// Waits until it is time to ask again; returns false if nobody reads any more.
    pub(crate) async fn goes_on(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => true,
            () = self.reader.gone() => false,
        }
    }
}
