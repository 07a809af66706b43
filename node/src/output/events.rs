//! Prints events as they arrive, and flushes whenever nothing more is ready.

use std::io::{self, BufWriter, Write};

use futures_util::FutureExt;
use quorate_client::EventStream;

use crate::cli::Exit;
use crate::output::{write_event_json, write_event_plain};

/// The bytes that are collected before they are written, as long as more is ready.
const BUFFER_BYTES: usize = 256 * 1024;

/// Prints all events of a stream to standard output; returns their number.
pub(crate) async fn print_events(events: &mut EventStream, json: bool) -> Result<u64, Exit> {
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut count = 0;
    loop {
        // Before the task waits for the next event, it writes everything that it holds back.
        let next = match events.try_next().now_or_never() {
            Some(next) => next,
            None => {
                output.flush()?;
                events.try_next().await
            }
        };
        let Some(event) = next? else { break };
        count += 1;
        if json {
            write_event_json(&mut output, &event)?;
        } else {
            write_event_plain(&mut output, &event)?;
        }
    }
    output.flush()?;
    Ok(count)
}
