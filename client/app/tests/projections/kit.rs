//! The parts of the suite that differ by store: a place for models, a handler, and the contents of a model.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use quorate_app::projection::{
    Handler, HandlerError, Memory, MemoryModel, Sqlite, SqliteModel, Store,
};
#[cfg(feature = "postgres")]
use quorate_app::projection::{Postgres, PostgresModel};
#[cfg(feature = "redis")]
use quorate_app::projection::{Redis, RedisModel};
#[cfg(feature = "redis")]
use quorate_app::redis;
use quorate_app::sqlx::{self, Row};
use quorate_client::RecordedEvent;
use tempfile::TempDir;

/// The contents of a model: for each stream the versions that were applied, in the order in which they were. An event
/// that is lost, repeated or out of order shows.
pub(crate) type Rows = BTreeMap<String, Vec<u64>>;

/// One place for models.
pub(crate) trait Kit: Send + Sync + 'static {
    type Store: Store + Clone;

    /// Opens the place, in this runtime.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Returns the contents of a projection's live model; `None` if there is no model.
    fn rows(
        &self,
        store: &Self::Store,
        projection: &str,
    ) -> impl Future<Output = Option<Rows>> + Send;
}

/// A function of the test that may fail an event after the model was changed.
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

    /// Makes a handler that fails at one event.
    pub(crate) fn poisoned_at(projection: &str, position: u64) -> Notes {
        Notes::spoilt(projection, move |event| match event.position.0 == position {
            true => Err("a poisoned event".into()),
            false => Ok(()),
        })
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
        model.entry(event.stream.to_string()).or_default().push(event.version.0);
        (self.spoil)(event)
    }
}

/// Returns the event, of the stream `set-up`, that stands for a set-up when the test may spoil it.
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
        let insert = sqlx::query(&insert).bind(event.stream.as_str()).bind(event.version.0 as i64);
        insert.execute(&mut **model).await?;
        (self.spoil)(event)
    }
}

#[cfg(feature = "postgres")]
pub(crate) struct PostgresKit(String);

#[cfg(feature = "postgres")]
impl PostgresKit {
    /// A database of its own on the server of all tests; `None` if there is no server.
    pub(crate) fn new() -> Option<PostgresKit> {
        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicUsize, Ordering};

        static SERVER: OnceLock<Option<super::server::Server>> = OnceLock::new();
        static DATABASES: AtomicUsize = AtomicUsize::new(1);
        let server = SERVER.get_or_init(super::server::postgres).as_ref()?;
        let url = |name: &str| format!("postgres:///{name}?user=postgres&host={}", server.path(""));
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::SeqCst));
        super::harness::run(async {
            let create = format!("CREATE DATABASE {name}");
            super::harness::eventually("a connection", || async {
                let store = Postgres::connect(&url("postgres")).await.ok()?;
                sqlx::query(&create).execute(store.pool()).await.ok()
            })
            .await;
        });
        Some(PostgresKit(url(&name)))
    }
}

#[cfg(feature = "postgres")]
impl Kit for PostgresKit {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.0).await.expect("a connection")
    }

    async fn rows(&self, store: &Postgres, projection: &str) -> Option<Rows> {
        let select = format!("SELECT stream, version FROM \"{projection}\".notes ORDER BY number");
        let found = sqlx::query(&select).fetch_all(store.pool()).await.ok()?;
        let mut rows = Rows::new();
        for row in found {
            let (stream, version): (String, i64) = (row.get(0), row.get(1));
            rows.entry(stream).or_default().push(version as u64);
        }
        Some(rows)
    }
}

#[cfg(feature = "postgres")]
impl Handler<PostgresModel> for Notes {
    async fn set_up(&self, model: &mut PostgresModel) -> Result<(), HandlerError> {
        for create in [
            "CREATE TABLE notes (number BIGSERIAL, stream TEXT NOT NULL, version BIGINT NOT NULL)",
            "CREATE INDEX notes_by_stream ON notes (stream)",
        ] {
            sqlx::query(create).execute(&mut **model).await?;
        }
        (self.spoil)(&set_up())
    }

    async fn apply(
        &self,
        model: &mut PostgresModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let insert = sqlx::query("INSERT INTO notes (stream, version) VALUES ($1, $2)");
        insert
            .bind(event.stream.as_str())
            .bind(event.version.0 as i64)
            .execute(&mut **model)
            .await?;
        (self.spoil)(event)
    }
}

#[cfg(feature = "redis")]
pub(crate) struct RedisKit(String);

#[cfg(feature = "redis")]
impl RedisKit {
    /// A database of its own on the server of all tests; `None` if there is no server.
    pub(crate) fn new() -> Option<RedisKit> {
        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicUsize, Ordering};

        static SERVER: OnceLock<Option<super::server::Server>> = OnceLock::new();
        static DATABASES: AtomicUsize = AtomicUsize::new(1);
        let server = SERVER.get_or_init(super::server::redis).as_ref()?;
        let number = DATABASES.fetch_add(1, Ordering::SeqCst);
        Some(RedisKit(format!("redis+unix://{}?db={number}", server.path("socket"))))
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let client = redis::Client::open(self.0.as_str()).expect("an address");
        let connection = client.get_multiplexed_async_connection().await;
        command.query_async(&mut connection.expect("a connection")).await.expect("an answer")
    }

    /// Cuts all connections to this database; other tests use other databases of the same server.
    pub(crate) async fn cut_connections(&self) {
        let (_, database) = self.0.rsplit_once('=').expect("the number of the database");
        let connections: String = self.ask(redis::cmd("CLIENT").arg("LIST")).await;
        for line in connections.lines() {
            let mut words = line.split(' ');
            let id = words.clone().find_map(|word| word.strip_prefix("id=")).expect("an id");
            if words.any(|word| word.strip_prefix("db=") == Some(database)) {
                let mut kill = redis::cmd("CLIENT");
                self.ask::<u64>(kill.arg("KILL").arg("ID").arg(id)).await;
            }
        }
    }

    /// Returns the seconds until a key expires; negative if it is not there, or never expires.
    pub(crate) async fn seconds_left(&self, key: &str) -> i64 {
        self.ask(redis::cmd("TTL").arg(key)).await
    }
}

#[cfg(feature = "redis")]
impl Kit for RedisKit {
    type Store = Redis;

    async fn open(&self) -> Redis {
        Redis::connect(&self.0).await.expect("a connection")
    }

    async fn rows(&self, store: &Redis, projection: &str) -> Option<Rows> {
        let prefix = store.prefix(projection).await.expect("an answer")?;
        let mut rows = Rows::new();
        let keys: Vec<String> = self.ask(redis::cmd("KEYS").arg(format!("{prefix}*"))).await;
        for key in keys {
            let versions = self.ask(redis::cmd("LRANGE").arg(&key).arg(0).arg(-1)).await;
            let stream = key.strip_prefix(&prefix).expect("a key of the model").to_owned();
            rows.insert(stream, versions);
        }
        Some(rows)
    }
}

#[cfg(feature = "redis")]
impl Handler<RedisModel> for Notes {
    async fn set_up(&self, _model: &mut RedisModel) -> Result<(), HandlerError> {
        (self.spoil)(&set_up())
    }

    async fn apply(
        &self,
        model: &mut RedisModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let key = model.key(event.stream.as_str());
        model.run(redis::cmd("RPUSH").arg(key).arg(event.version.0).to_owned());
        (self.spoil)(event)
    }
}
