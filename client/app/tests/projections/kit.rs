//! What the suite needs of each store: a place to keep models, a handler, and what the model holds.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use quorate_app::projection::{
    Handler, HandlerError, Memory, MemoryModel, Sqlite, SqliteModel, Store,
};
use quorate_app::sqlx::{self, Row};
use quorate_client::RecordedEvent;
use tempfile::TempDir;

/// What a model holds: of each stream the versions that were applied, in the order in which they were. Whatever is
/// lost, repeated or out of order shows.
pub(crate) type Rows = BTreeMap<String, Vec<u64>>;

/// One place for models.
pub(crate) trait Kit: Send + Sync + 'static {
    type Store: Store + Clone;

    /// Opens the place, in this runtime.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// What the live model of a projection holds; `None` if it is not there.
    fn rows(
        &self,
        store: &Self::Store,
        projection: &str,
    ) -> impl Future<Output = Option<Rows>> + Send;
}

/// What may go wrong with an event after the model was changed.
type Spoil = dyn Fn(&RecordedEvent) -> Result<(), HandlerError> + Send + Sync;

/// The handler of all tests: notes each event, then lets the test spoil it.
#[derive(Clone)]
pub(crate) struct Notes {
    projection: String,
    spoil: Arc<Spoil>,
}

impl Notes {
    pub(crate) fn new(projection: &str) -> Notes {
        Notes { projection: projection.to_owned(), spoil: Arc::new(|_| Ok(())) }
    }

    pub(crate) fn spoilt(
        projection: &str,
        spoil: impl Fn(&RecordedEvent) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Notes {
        Notes { projection: projection.to_owned(), spoil: Arc::new(spoil) }
    }
}

pub(crate) struct MemoryKit(Memory<Rows>);

impl MemoryKit {
    pub(crate) fn new() -> MemoryKit {
        MemoryKit(Memory::new())
    }
}

impl Kit for MemoryKit {
    type Store = Memory<Rows>;

    async fn open(&self) -> Memory<Rows> {
        self.0.clone()
    }

    async fn rows(&self, store: &Memory<Rows>, projection: &str) -> Option<Rows> {
        store.state(projection).map(|rows| rows.as_ref().clone())
    }
}

impl Handler<MemoryModel<Rows>> for Notes {
    async fn set_up(&self, model: &mut MemoryModel<Rows>) -> Result<(), HandlerError> {
        assert!(model.is_empty(), "a model is set up once");
        (self.spoil)(&set_up())
    }

    async fn apply(
        &self,
        model: &mut MemoryModel<Rows>,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        model.entry(event.stream.to_string()).or_default().push(event.version);
        (self.spoil)(event)
    }
}

/// A set-up is told to the test as an event of the stream `set-up`.
fn set_up() -> RecordedEvent {
    let script = super::script::Script::new();
    script.append("set-up");
    script.first()
}

pub(crate) struct SqliteKit(TempDir);

impl SqliteKit {
    pub(crate) fn new() -> SqliteKit {
        SqliteKit(tempfile::tempdir().expect("a folder"))
    }
}

impl Kit for SqliteKit {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        Sqlite::open(self.0.path().join("models.sqlite")).await.expect("a file")
    }

    async fn rows(&self, store: &Sqlite, projection: &str) -> Option<Rows> {
        let select = format!("SELECT stream, version FROM notes_{projection} ORDER BY rowid");
        let found = sqlx::query(&select).fetch_all(store.readers()).await.ok()?;
        let mut rows = Rows::new();
        for row in found {
            let (stream, version): (String, i64) = (row.get(0), row.get(1));
            rows.entry(stream).or_default().push(version as u64);
        }
        Some(rows)
    }
}

impl Handler<SqliteModel> for Notes {
    async fn set_up(&self, model: &mut SqliteModel) -> Result<(), HandlerError> {
        let table = model.table(&format!("notes_{}", self.projection));
        let index = model.table(&format!("notes_{}_by_stream", self.projection));
        for create in [
            format!("CREATE TABLE {table} (stream TEXT NOT NULL, version INTEGER NOT NULL)"),
            format!("CREATE INDEX {index} ON {table} (stream)"),
        ] {
            sqlx::query(&create).execute(&mut **model).await?;
        }
        (self.spoil)(&set_up())
    }

    async fn apply(
        &self,
        model: &mut SqliteModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let table = model.table(&format!("notes_{}", self.projection));
        let insert = format!("INSERT INTO {table} VALUES ($1, $2)");
        let insert = sqlx::query(&insert).bind(event.stream.as_str()).bind(event.version as i64);
        insert.execute(&mut **model).await?;
        (self.spoil)(event)
    }
}
