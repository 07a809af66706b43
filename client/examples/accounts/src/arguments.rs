//! The arguments of the program.

use std::path::PathBuf;

use accounts::name::AccountName;
use clap::{Args, Parser, Subcommand};

/// Accounts in which no money is ever made or lost: an example for Quorate.
#[derive(Debug, Parser)]
#[command(name = "accounts")]
pub(crate) struct Arguments {
    /// The nodes of the cluster, as `quorate dev` prints them.
    #[arg(
        long,
        env = "QUORATE_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:7701,127.0.0.1:7702,127.0.0.1:7703"
    )]
    pub(crate) endpoints: Vec<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Opens an account, such as `ann` or, at the tenant `acme`, `acme/ann`.
    Open { account: AccountName, owner: String },
    /// Closes an account that is empty.
    Close { account: AccountName },
    /// Puts money into an account.
    Deposit {
        account: AccountName,
        amount: i64,
        /// The id of the command: whoever repeats it with the same id deposits once.
        #[arg(long)]
        id: Option<String>,
    },
    /// Takes money out of an account.
    Withdraw {
        account: AccountName,
        amount: i64,
        /// The id of the command.
        #[arg(long)]
        id: Option<String>,
    },
    /// Moves money to another account, in one transaction.
    Transfer {
        from: AccountName,
        to: AccountName,
        amount: i64,
        /// The id of the transfer; a random one by default.
        #[arg(long)]
        id: Option<String>,
    },
    /// Sends money to an account of another tenant; `serve` delivers it, or returns it.
    Pay {
        from: AccountName,
        to: AccountName,
        amount: i64,
        /// The id of the command.
        #[arg(long)]
        id: Option<String>,
    },
    /// Shows the balance of an account, from its events.
    Balance { account: AccountName },
    /// Tells what happened in an account, and who did it.
    History { account: AccountName },
    /// Lists balances, from the read model that `serve` keeps.
    Balances {
        /// The file of the read model.
        #[arg(long, default_value = "accounts.sqlite")]
        file: PathBuf,
        /// The accounts of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
        /// Waits until the model has everything up to a position: that of your own command.
        #[arg(long)]
        at_least: Option<u64>,
    },
    /// Keeps the read models, delivers payments, and publishes the events, until Ctrl-C.
    Serve(Destinations),
    /// Lets workers move money between random accounts, for a while or until Ctrl-C, and audits the result.
    Run(Trial),
    /// Checks at every position that no money was made or lost.
    Audit {
        /// Goes on with what is appended from now on.
        #[arg(long)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Destinations {
    /// The SQLite file of the balances.
    #[arg(long, default_value = "accounts.sqlite")]
    pub(crate) file: PathBuf,
    /// A Redis server for the balances, as in `redis://127.0.0.1`.
    #[arg(long)]
    pub(crate) redis: Option<String>,
    /// A NATS server with JetStream for the events, as in `nats://127.0.0.1:4222`.
    #[arg(long)]
    pub(crate) nats: Option<String>,
    /// Kafka brokers for the events, as in `127.0.0.1:9092`; the topic `accounts` must exist.
    #[arg(long, value_delimiter = ',')]
    pub(crate) kafka: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Trial {
    /// The number of workers.
    #[arg(long, default_value_t = 16)]
    pub(crate) workers: u64,
    /// The number of accounts.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) accounts: u32,
    /// The tenants that the accounts are shared among; between tenants workers send payments, which `serve` delivers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) tenants: Vec<String>,
    /// The longest duration; Ctrl-C ends it before.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
}
