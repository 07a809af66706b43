//! The program of the example: commands to accounts, and what is made of their events.

mod arguments;
mod commands;
mod serve;
mod trial;

use anyhow::Result;
use clap::Parser;
use quorate_client::Client;

use crate::arguments::{Arguments, Command};

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let Arguments { endpoints, command } = Arguments::parse();
    let client = Client::connect(endpoints).await?;
    match command {
        Command::Open { account, owner } => commands::open(client, &account, owner).await,
        Command::Close { account } => commands::close(client, &account).await,
        Command::Deposit { account, amount, id } => {
            commands::deposit(client, &account, amount, id).await
        }
        Command::Withdraw { account, amount, id } => {
            commands::withdraw(client, &account, amount, id).await
        }
        Command::Transfer { from, to, amount, id } => {
            commands::transfer(client, from, to, amount, id).await
        }
        Command::Pay { from, to, amount, id } => {
            commands::pay(client, &from, &to, amount, id).await
        }
        Command::Balance { account } => commands::balance(client, &account).await,
        Command::History { account } => commands::history(client, &account).await,
        Command::Balances { file, tenant, at_least } => {
            commands::balances(&file, tenant.as_deref(), at_least).await
        }
        Command::Serve(destinations) => serve::serve(client, destinations).await,
        Command::Run(trial) => trial::run(client, trial).await,
        Command::Audit { follow } => trial::audit(&client, follow).await,
    }
}
