//! The commands and queries for single accounts.

use std::path::Path;
use std::time::Duration;

use accounts::account::{Account, AccountCommand};
use accounts::models::{SqlBalances, sql_balances};
use accounts::name::AccountName;
use accounts::transfer::Transfer;
use anyhow::{Result, ensure};
use quorate_app::decider::Repository;
use quorate_app::decision::Decisions;
use quorate_client::Client;

/// The time within which a read model must catch up.
const CATCH_UP: Duration = Duration::from_secs(10);

pub(crate) async fn open(client: Client, account: &AccountName, owner: String) -> Result<()> {
    handle(client, account, AccountCommand::Open { owner }, None).await
}

pub(crate) async fn close(client: Client, account: &AccountName) -> Result<()> {
    handle(client, account, AccountCommand::Close, None).await
}

pub(crate) async fn deposit(
    client: Client,
    account: &AccountName,
    amount: i64,
    id: Option<String>,
) -> Result<()> {
    handle(client, account, AccountCommand::Deposit { amount }, id).await
}

pub(crate) async fn withdraw(
    client: Client,
    account: &AccountName,
    amount: i64,
    id: Option<String>,
) -> Result<()> {
    handle(client, account, AccountCommand::Withdraw { amount }, id).await
}

pub(crate) async fn pay(
    client: Client,
    from: &AccountName,
    to: &AccountName,
    amount: i64,
    id: Option<String>,
) -> Result<()> {
    ensure!(from.tenant() != to.tenant(), "both accounts are of one tenant: use `transfer`");
    handle(client, from, AccountCommand::Pay { to: to.stream(), amount }, id).await
}

async fn handle(
    client: Client,
    account: &AccountName,
    command: AccountCommand,
    id: Option<String>,
) -> Result<()> {
    let accounts = Repository::<Account>::new(client);
    let command_id = id.unwrap_or_else(random_id);
    let handling = accounts.handle(account.id(), &command).tenant(account.tenant());
    let done = handling.command_id(command_id).created_by(user()).await?;
    let repeated = if done.is_repetition { " (it was done before)" } else { "" };
    println!("done at position {}, balance {}{repeated}", done.position, done.state.balance);
    Ok(())
}

pub(crate) async fn transfer(
    client: Client,
    from: AccountName,
    to: AccountName,
    amount: i64,
    id: Option<String>,
) -> Result<()> {
    ensure!(from.tenant() == to.tenant(), "the accounts are of two tenants: use `pay`");
    let transfer = Transfer { id: id.unwrap_or_else(random_id), from, to, amount };
    let decisions = Decisions::new(client);
    let making = decisions.make(&transfer).command_id(&transfer.id).created_by(user());
    let made = making.tenant(transfer.from.tenant()).await?;
    let repeated = if made.is_repetition { " (it was done before)" } else { "" };
    println!("transfer {} done at position {}{repeated}", transfer.id, made.position);
    Ok(())
}

pub(crate) async fn balance(client: Client, account: &AccountName) -> Result<()> {
    let accounts = Repository::<Account>::new(client);
    let loaded = accounts.load(account.id()).tenant(account.tenant()).await?;
    ensure!(loaded.state.is_open, "there is no account `{account}`");
    println!("{}", loaded.state.balance);
    Ok(())
}

pub(crate) async fn history(client: Client, account: &AccountName) -> Result<()> {
    let accounts = Repository::<Account>::new(client);
    let history = accounts.history(account.id()).tenant(account.tenant()).with_changes();
    for entry in history.await? {
        println!("{entry}");
    }
    Ok(())
}

pub(crate) async fn balances(
    file: &Path,
    tenant: Option<&str>,
    at_least: Option<u64>,
) -> Result<()> {
    let projection = sql_balances(file).await?;
    if let Some(position) = at_least {
        projection.reached(position, CATCH_UP).await?;
    }
    for row in SqlBalances::list(projection.store(), tenant).await? {
        println!("{:>12}  {}  ({})", row.balance, row.account, row.owner);
    }
    Ok(())
}

/// Returns the name under which the history shows who did something.
fn user() -> String {
    std::env::var("USER").unwrap_or_default()
}

fn random_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}
