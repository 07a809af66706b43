//! Reads lines ahead on a thread, so that a paused pipe does not hold up the lines that were sent.

use std::io;
use std::thread;

use tokio::sync::mpsc;

use super::source::{BadLine, Line, Lines};

/// The number of lines that are read ahead.
const LINES_AHEAD: usize = 32;

type Next = Result<Option<Line>, BadLine>;

/// Lines that come from a thread.
pub(crate) struct Ahead {
    lines: mpsc::Receiver<Next>,
}

impl Ahead {
    /// Starts the thread. Nothing waits for the thread: it may hang in a read, and ends with the process.
    pub(crate) fn start(mut lines: Lines) -> io::Result<Ahead> {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD);
        let read = move || {
            loop {
                let next = lines.next();
                let goes_on = matches!(next, Ok(Some(_)));
                if sender.blocking_send(next).is_err() || !goes_on {
                    return;
                }
            }
        };
        thread::Builder::new().name("lines".to_owned()).spawn(read)?;
        Ok(Ahead { lines: receiver })
    }

    /// Returns the next line, or none at the end. Nothing is lost if the future is dropped early.
    pub(crate) async fn next(&mut self) -> Next {
        let gone = || BadLine { number: 0, why: "the thread that reads lines is gone".to_owned() };
        self.lines.recv().await.unwrap_or_else(|| Err(gone()))
    }
}
