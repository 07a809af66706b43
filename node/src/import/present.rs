//! Counts the lines of a file that are in the log already, from an import that did not finish.

use quorate_client::Client;
use quorate_proto::Problem;

use super::WINDOW_LINES;
use super::source::{Line, Lines};

/// Counts events at the beginning of the file that certainly are in the log, by looking up one event in each
/// [`WINDOW_LINES`]. Other events may be there too: sending them again does no harm.
pub(crate) async fn count_present(client: &Client, mut lines: Lines) -> Result<u64, Problem> {
    let mut present = 0;
    // A bad line is reported when its turn comes.
    while let Ok(Some(line)) = lines.next() {
        if line.index % WINDOW_LINES != 0 {
            continue;
        }
        if !is_present(client, &line).await? {
            break;
        }
        present = line.index.saturating_sub(WINDOW_LINES);
    }
    Ok(present)
}

async fn is_present(client: &Client, line: &Line) -> Result<bool, Problem> {
    let found = client.read(line.stream.clone()).after(line.ordinal - 1).limit(1).collect().await?;
    Ok(found.events.first().is_some_and(|event| event.id == line.id))
}
