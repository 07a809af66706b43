//! The balances in an SQLite file, with the owners.

use std::path::Path;

use quorate_app::evolution::EventSet;
use quorate_app::projection::{Handler, HandlerError, Projection, Sqlite, SqliteModel, StoreError};
use quorate_app::sqlx::sqlite::SqliteRow;
use quorate_app::sqlx::{self, Row};
use quorate_client::{Query, RecordedEvent};

use crate::account::CATEGORY;
use crate::event::AccountEvent;
use crate::name::AccountName;

/// Applies events to the table `balances`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqlBalances;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The name of the account.
    pub account: String,
    /// The person to whom it belongs.
    pub owner: String,
    /// The money in it.
    pub balance: i64,
}

/// Makes the projection in an SQLite file.
///
/// # Errors
/// The file cannot be opened.
pub async fn sql_balances(
    file: impl AsRef<Path>,
) -> Result<Projection<Sqlite, SqlBalances>, StoreError> {
    let store = Sqlite::open(file).await?;
    Ok(Projection::new("balances", Query::category(CATEGORY), store, SqlBalances))
}

impl Handler<SqliteModel> for SqlBalances {
    async fn set_up(&self, model: &mut SqliteModel) -> Result<(), HandlerError> {
        let table = model.table("balances");
        let create = format!(
            "CREATE TABLE {table} (account TEXT PRIMARY KEY, tenant TEXT NOT NULL, owner TEXT NOT NULL, \
             balance INTEGER NOT NULL CHECK (balance >= 0))"
        );
        sqlx::query(&create).execute(&mut **model).await?;
        Ok(())
    }

    async fn apply(
        &self,
        model: &mut SqliteModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let decoded = AccountEvent::decode(event)?;
        let (Some(name), Some(decoded)) = (AccountName::of_stream(&event.stream), decoded) else {
            return Ok(());
        };
        let (table, account) = (model.table("balances"), name.to_string());
        if let AccountEvent::AccountOpened { owner } = decoded {
            let insert = format!("INSERT INTO {table} VALUES ($1, $2, $3, 0)");
            let insert = sqlx::query(&insert).bind(account).bind(name.tenant()).bind(owner);
            insert.execute(&mut **model).await?;
        } else {
            let update = format!("UPDATE {table} SET balance = balance + $2 WHERE account = $1");
            let update = sqlx::query(&update).bind(account).bind(decoded.change());
            update.execute(&mut **model).await?;
        }
        Ok(())
    }
}

impl SqlBalances {
    /// Returns the balances of a tenant's accounts, or of all, the largest first.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn list(store: &Sqlite, tenant: Option<&str>) -> Result<Vec<Balance>, sqlx::Error> {
        let select = "SELECT account, owner, balance FROM balances \
                      WHERE $1 IS NULL OR tenant = $1 ORDER BY balance DESC, account";
        let rows = sqlx::query(select).bind(tenant).fetch_all(store.readers()).await?;
        rows.iter().map(Balance::of).collect()
    }
}

impl Balance {
    fn of(row: &SqliteRow) -> Result<Balance, sqlx::Error> {
        Ok(Balance {
            account: row.try_get("account")?,
            owner: row.try_get("owner")?,
            balance: row.try_get("balance")?,
        })
    }
}
