//! The log of a node, on standard error: a line that cannot be written is dropped and counted, and nobody waits for it.

use std::any::Any;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::Exit;
use crate::output::screen;

/// The lines that may wait to be written; more are dropped. The reader of the log may be slow, or stand still.
const LINES_WAITING_MAX: usize = 1024;
/// The time that the end of the process waits for the last lines.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it are written or dropped.
    Ended(SyncSender<()>),
}

/// The way to the log. Writing to it never fails and never waits.
#[derive(Clone)]
pub(crate) struct Log {
    waiting: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Starts the log, and has panics written into it.
pub(crate) fn start(filter: &str) -> Result<Log, Exit> {
    // openraft warns of every attempt to reach a peer that is away; we log the important part ourselves.
    let filter = EnvFilter::try_new(format!("openraft=error,{filter}"))
        .map_err(|error| Exit::usage(format!("`log` is `{filter}`: {error}")))?;
    let log = Log::onto(io::stderr())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .with_ansi(screen::errors_in_colour())
        // On a failed write the subscriber would use `eprintln!`, which panics. Our writer never fails.
        .log_internal_errors(false)
        .init();
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.log_panic(panic)));
    Ok(log)
}

impl Log {
    fn onto(output: impl Write + Send + 'static) -> io::Result<Log> {
        let (waiting, lines) = sync_channel(LINES_WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log { waiting, dropped: dropped.clone() };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&lines, output, &dropped))?;
        Ok(log)
    }

    fn line(&self, line: Vec<u8>) {
        if self.waiting.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits a moment until what was logged is written.
    fn end(&self) {
        let (ended, end) = sync_channel(1);
        if self.waiting.try_send(Message::Ended(ended)).is_ok() {
            // The reader of the log may stand still: then the lines that it did not take are lost.
            let _ = end.recv_timeout(ENDED_WITHIN);
        }
    }

    /// Writes the last word of a process into its log, and waits a moment until it is there.
    pub(crate) fn last_word(&self, ending: Result<(), Exit>) -> Result<(), Exit> {
        let ending = ending.map_err(|exit| {
            if !exit.message.is_empty() {
                self.line(format!("error: {}\n", exit.message).into_bytes());
            }
            Exit { message: String::new(), ..exit }
        });
        self.end();
        ending
    }

    /// Logs a panic. Nothing in here panics, not even when the output is gone.
    fn log_panic(&self, panic: &PanicHookInfo<'_>) {
        let thread = thread::current();
        let thread = thread.name().unwrap_or("?");
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        let why = reason(panic.payload());
        self.line(format!("thread '{thread}' panicked{place}: {why}\n").into_bytes());
        // The process may abort as soon as this returns.
        self.end();
    }
}

fn reason(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

/// Writes all lines, until nobody can send more.
fn write_all(lines: &Receiver<Message>, mut output: impl Write, dropped: &AtomicU64) {
    while let Ok(message) = lines.recv() {
        match message {
            Message::Line(line) => {
                if write(&mut output, &line, dropped).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Ended(ended) => {
                let _ = ended.send(());
            }
        }
    }
}

/// Writes a line, and before it the number of missing lines.
fn write(output: &mut impl Write, line: &[u8], dropped: &AtomicU64) -> io::Result<()> {
    let missing = dropped.load(Ordering::Relaxed);
    if missing > 0 {
        let notice = format!("({missing} lines of this log could not be written)\n");
        output.write_all(notice.as_bytes())?;
        dropped.fetch_sub(missing, Ordering::Relaxed);
    }
    output.write_all(line)
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> &'a Log {
        self
    }
}

/// The subscriber writes each of its lines at once.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// An output that can be broken for a while.
    #[derive(Clone, Default)]
    struct Flaky {
        broken: Arc<AtomicBool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.broken.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().expect("it is whole").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_when_it_works_again() {
        let output = Flaky::default();
        let log = Log::onto(output.clone()).expect("it starts");
        for (broken, line) in
            [(false, "one\n"), (true, "two\n"), (true, "three\n"), (false, "four\n")]
        {
            output.broken.store(broken, Ordering::Relaxed);
            log.line(line.into());
            log.end();
        }
        let written = output.written.lock().expect("it is whole").clone();
        let written = String::from_utf8(written).expect("text");
        assert_eq!(written, "one\n(2 lines of this log could not be written)\nfour\n");
    }
}
