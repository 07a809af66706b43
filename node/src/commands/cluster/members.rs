//! `quorate cluster add`, `remove` and the like: changes of the members, and of the leader.

use std::fmt;
use std::io;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::MemberProgress;
use quorate_proto::Address;
use serde::Serialize;

use crate::cli::{Asking, Exit, Global, Nothing, Shared, connect};
use crate::output::{write_json, write_line};

#[derive(Debug, Subcommand)]
pub(super) enum MembersCommand {
    /// Print the join token: a new node is started with it, so that this cluster alone can take it in.
    Token(Asking<Nothing>),
    /// Take in a node that waits on an empty folder, started with the join token.
    ///
    /// It first gets the events, then a vote. The command can be repeated after any failure, and when it was stopped:
    /// the node keeps its id.
    Add(Asking<AddArgs>),
    /// Take in a node in the place of another, which is removed when the new one has caught up.
    ///
    /// This is the way out for a node that lost its disk: it must not come back under its id without what it had.
    Replace(Asking<ReplaceArgs>),
    /// Give a learner a vote, when it has caught up.
    Promote(Asking<NodeArgs>),
    /// Take the vote of a node: it goes on serving reads.
    ///
    /// Refused if the majority of those that would remain does not answer.
    Demote(Asking<NodeArgs>),
    /// Remove a node for good: it stops, and its id is never used again.
    ///
    /// Refused if the majority of those that would remain does not answer. The node may be lost already.
    Remove(Asking<NodeArgs>),
    /// Let another node lead: writers wait for a few round trips.
    Transfer(Asking<TransferArgs>),
}

#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// The address at which the node listens for the other nodes.
    peer_address: Address,
    /// Leave it without a vote: it serves reads, replays and subscriptions, and no append waits for it.
    #[arg(long)]
    learner: bool,
}

#[derive(Args, Debug)]
pub(super) struct ReplaceArgs {
    /// The id of the node that goes.
    id: u64,
    /// The address at which the new node listens for the other nodes.
    peer_address: Address,
}

#[derive(Args, Debug)]
pub(super) struct NodeArgs {
    /// The node's id, as `quorate cluster status` shows it.
    id: u64,
}

#[derive(Args, Debug)]
pub(super) struct TransferArgs {
    /// The node that is to lead [default: the one that can best take over].
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
}

/// The result of a change, as a JSON line.
#[derive(Serialize)]
struct DoneLine<'a> {
    node: u64,
    done: &'a str,
}

/// Runs the command.
pub(super) async fn run(command: MembersCommand) -> Result<(), Exit> {
    match command {
        MembersCommand::Token(args) => args.run(token).await,
        MembersCommand::Add(args) => args.run(add).await,
        MembersCommand::Replace(args) => args.run(replace).await,
        MembersCommand::Promote(args) => args.run(promote).await,
        MembersCommand::Demote(args) => args.run(demote).await,
        MembersCommand::Remove(args) => args.run(remove).await,
        MembersCommand::Transfer(args) => args.run(transfer).await,
    }
}

async fn token(_args: Nothing, global: &Global) -> Result<(), Exit> {
    #[derive(Serialize)]
    struct TokenLine<'a> {
        token: &'a str,
    }
    let token = connect(global).await?.join_token().await?;
    let mut output = io::stdout().lock();
    let written = match global.json() {
        true => write_json(&mut output, &TokenLine { token: &token }),
        false => write_line(&mut output, format_args!("{token}")),
    };
    Exit::after_report(Ok(()), written)
}

async fn add(args: AddArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let bar = CatchUpBar::new()?;
    let added = client.add_member(args.peer_address.to_string(), args.learner, |now| bar.show(now));
    let added = added.await;
    bar.end();
    let node = added?;
    let done = if args.learner { "learner" } else { "voter" };
    let sentence = format_args!("node {node} at {} is a {done}", args.peer_address);
    report(global, &DoneLine { node, done }, sentence)
}

async fn replace(args: ReplaceArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let bar = CatchUpBar::new()?;
    let address = args.peer_address.to_string();
    let replaced = client.replace_member(args.id, address, |now| bar.show(now)).await;
    bar.end();
    let node = replaced?;
    let (old, address) = (args.id, &args.peer_address);
    let sentence = format_args!("node {node} at {address} is in the place of node {old}");
    report(global, &DoneLine { node, done: "replaced" }, sentence)
}

async fn promote(args: NodeArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let bar = CatchUpBar::new()?;
    let promoted = client.promote_member(args.id, |now| bar.show(now)).await;
    bar.end();
    promoted?;
    let node = args.id;
    report(global, &DoneLine { node, done: "voter" }, format_args!("node {node} has a vote"))
}

async fn demote(args: NodeArgs, global: &Global) -> Result<(), Exit> {
    connect(global).await?.demote_member(args.id).await?;
    let node = args.id;
    let sentence = format_args!("node {node} has no vote any more");
    report(global, &DoneLine { node, done: "learner" }, sentence)
}

async fn remove(args: NodeArgs, global: &Global) -> Result<(), Exit> {
    connect(global).await?.remove_member(args.id).await?;
    let node = args.id;
    report(global, &DoneLine { node, done: "removed" }, format_args!("node {node} is removed"))
}

async fn transfer(args: TransferArgs, global: &Global) -> Result<(), Exit> {
    let node = connect(global).await?.transfer_leadership(args.to).await?;
    report(global, &DoneLine { node, done: "leader" }, format_args!("node {node} leads"))
}

fn report(global: &Global, done: &DoneLine<'_>, sentence: fmt::Arguments<'_>) -> Result<(), Exit> {
    let mut output = io::stdout().lock();
    let written = match global.json() {
        true => write_json(&mut output, done),
        false => write_line(&mut output, sentence),
    };
    Exit::after_report(Ok(()), written)
}

/// Shows how far a new node is: the chunks first, then the log.
struct CatchUpBar(ProgressBar);

impl CatchUpBar {
    fn new() -> Result<CatchUpBar, Exit> {
        let style = ProgressStyle::with_template("{msg}  {bar:30}  {percent} %  {elapsed}");
        let bar = ProgressBar::new(0).with_style(style.map_err(Exit::failed)?);
        Ok(CatchUpBar(bar))
    }

    fn show(&self, now: &MemberProgress) {
        let (what, done, all) = match now.chunks {
            0 => ("log", now.matched, now.committed),
            chunks => ("chunks", now.chunks_sent, chunks),
        };
        self.0.set_length(all);
        self.0.set_position(done);
        self.0.set_message(format!("node {}: {what} {done} of {all}", now.node));
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
