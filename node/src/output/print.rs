//! Prints what arrives, and flushes whenever nothing more is ready.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::pin::pin;

use futures_util::FutureExt;
use quorate_client::EventStream;

use super::write_event;
use crate::cli::Exit;

/// The bytes that are collected before they are written, as long as more is ready.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// Returns standard output with a buffer for what [`next_or_flush`] awaits.
pub(crate) fn buffered() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock())
}

/// Waits for the next item. If it is not ready, everything printed so far is flushed before the wait.
pub(crate) async fn next_or_flush<T>(
    output: &mut impl Write,
    next: impl Future<Output = T>,
) -> io::Result<T> {
    let mut next = pin!(next);
    if let Some(next) = next.as_mut().now_or_never() {
        return Ok(next);
    }
    output.flush()?;
    Ok(next.await)
}

/// Prints all events of a stream to standard output; returns their number.
pub(crate) async fn print_events(events: &mut EventStream, json: bool) -> Result<u64, Exit> {
    let mut output = buffered();
    let mut count = 0;
    while let Some(event) = next_or_flush(&mut output, events.try_next()).await?? {
        count += 1;
        write_event(&mut output, &event, json)?;
    }
    output.flush()?;
    Ok(count)
}
