//! `quorate scavenge`: gives back the disk space of events that are gone.

use std::io::{self, Write};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use quorate_client::{Client, Scavenged};
use serde::Serialize;

use crate::cli::Global;
use crate::commands::cluster::{ScavengedLine, first_answer};
use crate::exit::Exit;
use crate::output::{count_of, write_json};

/// Give back the disk space of events that are gone: deleted, truncated, too old or too many.
///
/// Asks every node, one after the other, or the one of --node. Nodes need not do it at the same time: what can
/// be read is the same everywhere, before and after. Appends and reads go on meanwhile. What is removed is what
/// was gone at the node's newest checkpoint.
///
/// A node goes on with its scavenge when this command is stopped with Ctrl-C: `cluster status` shows how far it is.
#[derive(Args, Debug)]
pub struct ScavengeArgs {}

/// A node that did not do it.
#[derive(Serialize)]
struct FailedLine<'a> {
    address: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct NodeLine<'a> {
    address: &'a str,
    #[serde(flatten)]
    done: ScavengedLine,
}

/// Runs the command.
pub async fn run(_args: ScavengeArgs, global: &Global) -> Result<(), Exit> {
    let addresses = match &global.node {
        Some(node) => vec![node.to_string()],
        None => {
            let nodes = first_answer(global).await?.nodes;
            nodes.into_iter().map(|node| node.address).collect()
        }
    };
    let mut failures = Vec::new();
    // The nodes after it are asked too when a line could not be written.
    let mut written = Ok(());
    for address in addresses {
        let line = match scavenge(&address).await {
            Ok(done) => report(global, &address, done),
            Err(exit) => {
                let line = report_failure(global, &address, &exit);
                failures.push(format!("{address}: {}", exit.message));
                line
            }
        };
        written = written.and(line);
    }
    let verdict = if failures.is_empty() { Ok(()) } else { Err(Exit::failed(failures.join("; "))) };
    Exit::told(verdict, written)
}

fn report_failure(global: &Global, address: &str, exit: &Exit) -> io::Result<()> {
    match global.json() {
        true => write_json(&mut io::stdout(), &FailedLine { address, error: &exit.message }),
        false => Ok(()),
    }
}

async fn scavenge(address: &str) -> Result<Scavenged, Exit> {
    let node = Client::builder().endpoints([address]).pinned(true).connect().await?;
    // How many chunks there are is the node's affair; it says how many it has looked at.
    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}  {elapsed}");
    let bar = ProgressBar::new_spinner().with_style(style.map_err(Exit::failed)?);
    bar.set_prefix(address.to_owned());
    let done = node.scavenge(|now| {
        bar.set_message(told(now));
        bar.tick();
    });
    let done = done.await;
    bar.finish_and_clear();
    Ok(done?)
}

fn told(done: &Scavenged) -> String {
    let Scavenged { chunks, rewritten, events_removed, bytes_freed } = *done;
    let (looked_at, events) = (count_of(chunks, "chunk"), count_of(events_removed, "event"));
    let freed = HumanBytes(bytes_freed);
    format!("{looked_at} looked at, {rewritten} written anew, {events} removed, {freed} freed")
}

fn report(global: &Global, address: &str, done: Scavenged) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match global.json() {
        true => write_json(&mut output, &NodeLine { address, done: done.into() }),
        false => writeln!(output, "{address}  {}", told(&done)),
    }
}
