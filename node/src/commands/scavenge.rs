//! `quorate scavenge`: gives back the disk space of events that are gone.

use std::io::{self, Write};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use quorate_client::{Client, Scavenged};
use serde::Serialize;

use crate::cli::{Exit, Global, inspect};
use crate::output::{count_of, write_json};

/// Give back the disk space of events that are gone: deleted, truncated, too old or too many.
///
/// Asks every node, one after the other, or the one of --node. Nodes need not do it at the same time: what can
/// be read is the same everywhere, before and after. Appends and reads go on meanwhile. A node makes a checkpoint
/// first, and takes out what was gone at the checkpoint: each line says up to which position a deletion counted.
///
/// The log, which is beside the chunks, holds what was appended lately for longer: until about three chunk sizes and
/// 256 MiB more were appended. docs/deletion.md says more.
///
/// A node goes on with its scavenge when this command is stopped with Ctrl-C: `cluster status` shows how far it is.
#[derive(Args, Debug)]
pub struct ScavengeArgs {}

/// The JSON line of a node whose scavenge failed.
#[derive(Serialize)]
struct FailedLine<'a> {
    address: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct NodeLine<'a> {
    address: &'a str,
    #[serde(flatten)]
    done: &'a Scavenged,
    /// The position up to which removals have taken effect in the node's chunks; 0 if none has, because the node has
    /// no checkpoint.
    gone_up_to: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_position: Option<u64>,
}

/// Runs the command.
pub async fn run(_args: ScavengeArgs, global: &Global) -> Result<(), Exit> {
    let addresses = match &global.node {
        Some(node) => vec![node.to_string()],
        None => {
            let nodes = inspect::best_answer(global).await?.nodes;
            nodes.into_iter().map(|node| node.address).collect()
        }
    };
    let mut failures = Vec::new();
    // The remaining nodes are asked too when a line could not be written.
    let mut written = Ok(());
    for address in addresses {
        let line = match scavenge(&address).await {
            Ok((gone, done)) => report(global, &address, gone, done),
            Err(exit) => {
                let line = report_failure(global, &address, &exit);
                // The message of a node that cannot be reached names the node already.
                let rest = exit.message.strip_prefix(&format!("{address}: "));
                failures.push(format!("{address}: {}", rest.unwrap_or(&exit.message)));
                line
            }
        };
        written = written.and(line);
    }
    let verdict = if failures.is_empty() { Ok(()) } else { Err(Exit::failed(failures.join("; "))) };
    Exit::after_report(verdict, written)
}

fn report_failure(global: &Global, address: &str, exit: &Exit) -> io::Result<()> {
    match global.json() {
        true => write_json(&mut io::stdout(), &FailedLine { address, error: &exit.message }),
        false => Ok(()),
    }
}

async fn scavenge(address: &str) -> Result<(Option<u64>, Scavenged), Exit> {
    let node = Client::builder().endpoints([address]).pinned(true).connect().await?;
    // Requested before the scavenge begins: what is appended meanwhile is no concern of it.
    let last = last_position(&node, address).await;
    // Only the node knows the number of its chunks; it reports how many it has looked at.
    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}  {elapsed}");
    let bar = ProgressBar::new_spinner().with_style(style.map_err(Exit::failed)?);
    bar.set_prefix(address.to_owned());
    let done = node.scavenge(|now| {
        bar.set_message(describe(now));
        bar.tick();
    });
    let done = done.await;
    bar.finish_and_clear();
    Ok((last, done?))
}

/// Returns the position of the newest event that the node has; none if it does not report it.
async fn last_position(node: &Client, address: &str) -> Option<u64> {
    let status = node.status().await.ok()?;
    let asked = status.nodes.into_iter().find(|node| node.address == address)?;
    Some(asked.last_position)
}

fn describe(done: &Scavenged) -> String {
    let Scavenged { chunks, rewritten, events_removed, bytes_freed, .. } = *done;
    let (looked_at, events) = (count_of(chunks, "chunk"), count_of(events_removed, "event"));
    let freed = HumanBytes(bytes_freed);
    format!("{looked_at} looked at, {rewritten} written anew, {events} removed, {freed} freed")
}

fn report(
    global: &Global,
    address: &str,
    last_position: Option<u64>,
    done: Scavenged,
) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let gone_up_to = done.checkpointed_position;
    if global.json() {
        let line = NodeLine { address, done: &done, gone_up_to, last_position };
        return write_json(&mut output, &line);
    }
    writeln!(output, "{address}  {}", describe(&done))?;
    writeln!(output, "{}", describe_gone(gone_up_to, last_position))
}

/// Describes to a person the extent to which removals have taken effect.
fn describe_gone(up_to: u64, last: Option<u64>) -> String {
    match last {
        Some(0) => return "  there are no events yet".to_owned(),
        _ if up_to == 0 => {
            return "  nothing is gone from its chunks yet, because it has no checkpoint and could make none now: try \
                    again when the cluster has a leader and the node has room on its disk"
                .to_owned();
        }
        _ => {}
    }
    let chunks = format!("  what was removed up to position {up_to} is gone from its chunks");
    match last {
        Some(last) if up_to < last => format!(
            "{chunks}; a checkpoint of the rest, up to {last}, could not be made now: try again when the cluster has a \
             leader and the node has room on its disk"
        ),
        _ => chunks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scavenge_says_what_is_gone_from_the_disk_and_what_is_not_yet() {
        let all = "  what was removed up to position 9 is gone from its chunks";
        assert_eq!(describe_gone(9, Some(9)), all);
        assert_eq!(describe_gone(9, Some(7)), all, "more was appended since");
        assert_eq!(describe_gone(9, None), all);
        let part = describe_gone(9, Some(12));
        assert!(part.contains("up to position 9 is gone"), "{part}");
        assert!(part.contains("the rest, up to 12, could not be made now"), "{part}");
        let none = describe_gone(0, Some(12));
        assert!(none.contains("nothing is gone") && !none.contains("position 0"), "{none}");
        assert_eq!(describe_gone(0, Some(0)), "  there are no events yet");
    }
}
