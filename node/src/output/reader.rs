//! The reader of standard output: a program that follows something ends when its reader is gone, as `tail -f` does.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, fstat};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

/// The reader of a pipe; empty if standard output is no pipe.
pub(crate) struct Reader {
    pipe: Option<Sender>,
}

impl Reader {
    /// Returns the reader of standard output. To be called within a tokio runtime.
    pub(crate) fn of_output() -> Reader {
        let output = io::stdout();
        let is_pipe = fstat(output.as_fd())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        // The copy serves only to wait for the end of the pipe; the output is written as usual.
        let copy = is_pipe.then(|| output.as_fd().try_clone_to_owned().ok()).flatten();
        Reader { pipe: copy.and_then(|copy| Sender::from_owned_fd_unchecked(copy).ok()) }
    }

    /// Returns true if standard output is a pipe.
    pub(crate) fn is_piped(&self) -> bool {
        self.pipe.is_some()
    }

    /// Completes when the reader has closed the pipe; never completes if there is no pipe.
    pub(crate) async fn gone(&self) {
        let Some(pipe) = &self.pipe else { return std::future::pending().await };
        if pipe.ready(Interest::ERROR).await.is_err() {
            std::future::pending().await
        }
    }
}
