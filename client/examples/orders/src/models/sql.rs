//! SQL that SQLite and PostgreSQL both understand, so that each read model is written once.

use std::future::Future;
use std::num::TryFromIntError;

use quorate_app::projection::{Postgres, PostgresModel, Sqlite, SqliteModel};
use quorate_app::sqlx::postgres::PgRow;
use quorate_app::sqlx::sqlite::SqliteRow;
use quorate_app::sqlx::{self, Row};

/// A value of a statement.
pub(super) enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(number)
    }
}

/// Returns a number in the form of both databases, which know no unsigned ones.
pub(super) fn signed(number: u64) -> Result<i64, TryFromIntError> {
    i64::try_from(number)
}

/// Returns a query of a database with its values.
macro_rules! bound {
    ($database:ty, $statement:expr, $values:expr) => {{
        let mut query = sqlx::query::<$database>($statement);
        for value in $values {
            query = match value {
                Value::Text(text) => query.bind(text.as_str()),
                Value::Number(number) => query.bind(*number),
            };
        }
        query
    }};
}

/// A read model within the transaction that also moves its bookmark.
pub(super) trait SqlModel: Send + 'static {
    /// Returns the name of a table of the model, quoted: another one while the model is rebuilt.
    fn table(&self, name: &str) -> String;

    /// Returns the name of an index of the model, for its creation.
    fn index(&self, name: &str) -> String;

    /// Runs a statement.
    fn run(
        &mut self,
        statement: &str,
        values: &[Value],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl SqlModel for SqliteModel {
    fn table(&self, name: &str) -> String {
        SqliteModel::table(self, name)
    }

    fn index(&self, name: &str) -> String {
        SqliteModel::table(self, name)
    }

    async fn run(&mut self, statement: &str, values: &[Value]) -> Result<(), sqlx::Error> {
        bound!(sqlx::Sqlite, statement, values).execute(&mut **self).await.map(|_| ())
    }
}

impl SqlModel for PostgresModel {
    fn table(&self, name: &str) -> String {
        PostgresModel::table(self, name)
    }

    /// An index lies in the schema of its table, and its name is given without it.
    fn index(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    async fn run(&mut self, statement: &str, values: &[Value]) -> Result<(), sqlx::Error> {
        bound!(sqlx::Postgres, statement, values).execute(&mut **self).await.map(|_| ())
    }
}

/// The columns of a row.
pub(super) trait Columns {
    fn text(&self, name: &str) -> Result<String, sqlx::Error>;
    fn number(&self, name: &str) -> Result<i64, sqlx::Error>;

    /// Returns a number that is never negative.
    fn count(&self, name: &str) -> Result<u64, sqlx::Error> {
        u64::try_from(self.number(name)?).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

macro_rules! columns {
    ($($row:ty),*) => {
        $(impl Columns for $row {
            fn text(&self, name: &str) -> Result<String, sqlx::Error> {
                self.try_get(name)
            }

            fn number(&self, name: &str) -> Result<i64, sqlx::Error> {
                self.try_get(name)
            }
        })*
    };
}

columns!(SqliteRow, PgRow);

/// The database of the read models, for queries.
pub(super) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Database {
    /// Returns the name of a table of a projection's live model.
    pub(super) fn table(&self, projection: &str, name: &str) -> String {
        match self {
            Database::Sqlite(_) => format!("\"{name}\""),
            Database::Postgres(_) => format!("\"{projection}\".\"{name}\""),
        }
    }

    /// Returns the rows that a query finds, each as `read` reads it.
    pub(super) async fn fetch<T>(
        &self,
        statement: &str,
        values: &[Value],
        read: fn(&dyn Columns) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Database::Sqlite(store) => {
                let query = bound!(sqlx::Sqlite, statement, values);
                let rows = query.fetch_all(store.readers()).await?;
                rows.iter().map(|row| read(row)).collect()
            }
            Database::Postgres(store) => {
                let query = bound!(sqlx::Postgres, statement, values);
                let rows = query.fetch_all(store.pool()).await?;
                rows.iter().map(|row| read(row)).collect()
            }
        }
    }
}
