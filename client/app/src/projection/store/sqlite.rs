//! Read models in an SQLite file, with their bookmarks beside them.

use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Row, Transaction};
use tokio::sync::OnceCell;

use self::books::to_store_error;
use super::{Claim, Creation, Parked, Record, Side, Slot, Step, Store, StoreError, Swap};

mod books {
    //! The bookkeeping in SQLite: tables beside those of the models.

    super::super::books::books! {
        connection: sqlx::SqliteConnection,
        tables: "quorate_",
        now: "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        // Our transactions have the whole file to themselves from their beginning.
        lock: ""
    }
}

/// The time for which a transaction waits for another process before it fails; such a failure is retried.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of connections that only read.
const READERS: u32 = 2;

/// Read models in an SQLite file, with their bookmarks beside them in the tables `quorate_projections`,
/// `quorate_bookmarks` and `quorate_parked`.
///
/// The file is in WAL mode: it can be read all the time, by anybody. A power cut may take back the newest
/// transactions, models and bookmarks alike, so what is lost is applied again.
///
/// A handler names its tables and indexes with [`SqliteModel::table`]: a rebuilt model lies in the same file
/// under other names, and is renamed by the transaction that swaps. A table that a new version of a handler does not
/// make any more is left behind.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, Projection, Sqlite, SqliteModel};
/// # async fn example(orders: impl Handler<SqliteModel>) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_app::sqlx;
/// let store = Sqlite::open("shop.sqlite").await?;
/// let orders = Projection::new("orders", quorate_client::Query::category("order"), store, orders);
///
/// let unpaid = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders WHERE paid = 0");
/// println!("{} orders are not paid", unpaid.fetch_one(orders.store().readers()).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sqlite {
    /// The one connection that writes: SQLite allows one writer, and waiting for it here avoids errors.
    writer: SqlitePool,
    readers: SqlitePool,
    prepared: Arc<OnceCell<()>>,
}

opaque_debug!(Sqlite);

impl Sqlite {
    /// Opens a file, or makes it. A database without a file, such as `:memory:`, is refused: for models in memory there
    /// is [`Memory`](super::Memory).
    pub async fn open(path: impl AsRef<Path>) -> Result<Sqlite, StoreError> {
        Sqlite::with(SqliteConnectOptions::new().filename(path).create_if_missing(true)).await
    }

    /// Opens a file with the given options. Those on which the bookmarks depend are set here: WAL, and waiting for
    /// other writers.
    pub async fn with(options: SqliteConnectOptions) -> Result<Sqlite, StoreError> {
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new().max_connections(1);
        let writer = writer.connect_with(options.clone()).await.map_err(to_store_error)?;
        check_journal(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS);
        let readers =
            readers.connect_with(options.read_only(true)).await.map_err(to_store_error)?;
        Ok(Sqlite { writer, readers, prepared: Arc::default() })
    }

    /// Returns connections that read the file, for example to query the models.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    async fn transaction(&self) -> Result<Transaction<'static, sqlx::Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(to_store_error)
    }

    fn model(
        transaction: Transaction<'static, sqlx::Sqlite>,
        slot: &Slot,
        generation: u64,
        step: Option<(u32, u64)>,
    ) -> SqliteModel {
        let suffix = match slot.side {
            Side::Live => String::new(),
            Side::Rebuild => suffix(&slot.projection, generation),
        };
        SqliteModel { transaction, slot: slot.clone(), suffix, step }
    }
}

/// Checks that the database has a WAL, on which readers beside the writer depend. SQLite does not refuse it to a
/// database in memory, of which each connection has its own; it just reports another journal.
async fn check_journal(writer: &SqlitePool) -> Result<(), StoreError> {
    let row = sqlx::query("PRAGMA journal_mode").fetch_one(writer).await.map_err(to_store_error)?;
    let journal: String = row.try_get(0).map_err(to_store_error)?;
    match journal.as_str() {
        "wal" => Ok(()),
        other => Err(StoreError::Refused(
            format!(
                "models need a file in WAL mode, and the journal of this database is `{other}`; \
                 for models in memory use `Memory`"
            )
            .into(),
        )),
    }
}

/// Returns the end of a model's names while it is rebuilt. The name and the number make sure that no index is in the
/// way of the next rebuild: indexes keep their names.
fn suffix(projection: &str, generation: u64) -> String {
    format!("__{projection}__rebuild{generation}")
}

/// A model in SQLite within a transaction. It is used like a connection, as in `.execute(&mut **model)`. The
/// handler must leave the transaction open.
///
/// ```
/// use quorate_app::projection::{HandlerError, SqliteModel};
/// use quorate_app::sqlx;
/// use quorate_client::RecordedEvent;
///
/// async fn paid(model: &mut SqliteModel, event: &RecordedEvent) -> Result<(), HandlerError> {
///     let update = format!("UPDATE {} SET paid = 1 WHERE stream = $1", model.table("orders"));
///     sqlx::query(&update).bind(event.stream.as_str()).execute(&mut **model).await?;
///     Ok(())
/// }
/// # let _ = paid;
/// ```
pub struct SqliteModel {
    transaction: Transaction<'static, sqlx::Sqlite>,
    slot: Slot,
    suffix: String,
    /// The partition and the position of the bookmark that the commit moves.
    step: Option<(u32, u64)>,
}

opaque_debug!(SqliteModel);

impl SqliteModel {
    /// Returns the name of a table (or an index, a trigger, a view) of this model, quoted: `orders` is `"orders"` in
    /// the live model, and another name in a rebuilt one.
    pub fn table(&self, name: &str) -> String {
        quoted(&format!("{name}{}", self.suffix))
    }

    /// Returns whether this is the live or the rebuilt model.
    pub fn side(&self) -> Side {
        self.slot.side
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Deref for SqliteModel {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for SqliteModel {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

impl Store for Sqlite {
    type Model = SqliteModel;

    async fn prepare(&self) -> Result<(), StoreError> {
        let create = async {
            let mut transaction = self.transaction().await?;
            books::prepare(&mut transaction).await.map_err(to_store_error)?;
            transaction.commit().await.map_err(to_store_error)
        };
        self.prepared.get_or_try_init(|| create).await.copied()
    }

    async fn record(&self, slot: &Slot) -> Result<Option<Record>, StoreError> {
        // A transaction sees the head and the bookmarks as of one moment.
        let mut transaction = self.readers.begin().await.map_err(to_store_error)?;
        books::record(&mut transaction, slot).await.map_err(to_store_error)
    }

    async fn create(&self, creation: &Creation<'_>) -> Result<SqliteModel, StoreError> {
        let mut transaction = self.transaction().await?;
        match books::create(&mut transaction, creation).await.map_err(to_store_error)? {
            true => Ok(Sqlite::model(transaction, creation.slot, creation.generation, None)),
            false => Err(StoreError::Moved),
        }
    }

    async fn claim(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        let mut transaction = self.transaction().await?;
        let claim =
            books::claim(&mut transaction, slot, owner, lease).await.map_err(to_store_error)?;
        transaction.commit().await.map_err(to_store_error)?;
        Ok(claim)
    }

    async fn renew(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(to_store_error)?;
        books::renew(&mut connection, slot, owner, lease).await.map_err(to_store_error)
    }

    async fn release(&self, slot: &Slot, owner: &str) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(to_store_error)?;
        books::release(&mut connection, slot, owner).await.map_err(to_store_error)
    }

    async fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> Result<Option<u64>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(to_store_error)?;
        books::bookmark(&mut connection, slot, partition, owner).await.map_err(to_store_error)
    }

    async fn repartition(
        &self,
        slot: &Slot,
        owner: &str,
        partitioning: &str,
        partitions: u32,
        position: u64,
    ) -> Result<(), StoreError> {
        let mut transaction = self.transaction().await?;
        let is_done =
            books::repartition(&mut transaction, slot, owner, partitioning, partitions, position);
        if !is_done.await.map_err(to_store_error)? {
            return Err(StoreError::Moved);
        }
        transaction.commit().await.map_err(to_store_error)
    }

    async fn begin(&self, step: &Step<'_>) -> Result<SqliteModel, StoreError> {
        let mut transaction = self.transaction().await?;
        if !books::check_step(&mut transaction, step).await.map_err(to_store_error)? {
            return Err(StoreError::Moved);
        }
        let bookmark = Some((step.partition, step.to));
        Ok(Sqlite::model(transaction, step.slot, step.generation, bookmark))
    }

    async fn park(&self, model: &mut SqliteModel, parked: &Parked) -> Result<(), StoreError> {
        books::park(&mut model.transaction, &model.slot, parked).await.map_err(to_store_error)
    }

    async fn unpark(
        &self,
        slot: &Slot,
        generation: u64,
        position: u64,
    ) -> Result<SqliteModel, StoreError> {
        let mut transaction = self.transaction().await?;
        match books::drop_parked(&mut transaction, slot, position).await.map_err(to_store_error)? {
            true => Ok(Sqlite::model(transaction, slot, generation, None)),
            false => Err(StoreError::Moved),
        }
    }

    async fn commit(&self, mut model: SqliteModel) -> Result<(), StoreError> {
        if let Some((partition, to)) = model.step {
            let SqliteModel { transaction, slot, .. } = &mut model;
            books::take_step(transaction, slot, partition, to).await.map_err(to_store_error)?;
        }
        model.transaction.commit().await.map_err(to_store_error)
    }

    async fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(to_store_error)?;
        books::parked(&mut connection, slot, after, limit).await.map_err(to_store_error)
    }

    async fn count_parked(&self, slot: &Slot) -> Result<usize, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(to_store_error)?;
        books::count_parked(&mut connection, slot).await.map_err(to_store_error)
    }

    async fn drop_parked(&self, slot: &Slot, position: u64) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(to_store_error)?;
        books::drop_parked(&mut connection, slot, position).await.map_err(to_store_error)
    }

    async fn swap(&self, name: &str) -> Result<Swap, StoreError> {
        let mut transaction = self.transaction().await?;
        if books::check_swap(&mut transaction, name).await? == Swap::Behind {
            return Ok(Swap::Behind);
        }
        rename(&mut transaction, name).await.map_err(to_store_error)?;
        books::swap(&mut transaction, name).await.map_err(to_store_error)?;
        transaction.commit().await.map_err(to_store_error)?;
        Ok(Swap::Done)
    }

    async fn discard_rebuild(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.transaction().await?;
        for (table, _) in rebuilt_tables(&mut transaction, name).await.map_err(to_store_error)? {
            drop_table(&mut transaction, &table).await.map_err(to_store_error)?;
        }
        books::forget(&mut transaction, name, Side::Rebuild).await.map_err(to_store_error)?;
        transaction.commit().await.map_err(to_store_error)
    }

    fn is_transient(error: &(dyn Error + 'static)) -> bool {
        error.downcast_ref::<sqlx::Error>().is_some_and(is_transient)
    }
}

/// Replaces the live tables by those of a rebuilt model.
async fn rename(connection: &mut SqliteConnection, name: &str) -> Result<(), sqlx::Error> {
    // Views over the live tables find the new ones under the same names: they must neither be in the way
    // nor be rewritten. References between tables must not be checked before all tables are there.
    sqlx::query("PRAGMA legacy_alter_table = ON").execute(&mut *connection).await?;
    sqlx::query("PRAGMA defer_foreign_keys = ON").execute(&mut *connection).await?;
    let tables = rebuilt_tables(connection, name).await?;
    for (_, live) in &tables {
        drop_table(connection, live).await?;
    }
    for (rebuilt, live) in &tables {
        let rename = format!("ALTER TABLE {} RENAME TO {}", quoted(rebuilt), quoted(live));
        sqlx::query(&rename).execute(&mut *connection).await?;
    }
    sqlx::query("PRAGMA legacy_alter_table = OFF").execute(connection).await?;
    Ok(())
}

async fn drop_table(connection: &mut SqliteConnection, name: &str) -> Result<(), sqlx::Error> {
    let drop = format!("DROP TABLE IF EXISTS {}", quoted(name));
    sqlx::query(&drop).execute(connection).await?;
    Ok(())
}

/// Returns the tables of a model that is rebuilt, each with the name of the live one.
async fn rebuilt_tables(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let slot = Slot { projection: name.to_owned(), side: Side::Rebuild };
    let Some(record) = books::record(connection, &slot).await? else { return Ok(Vec::new()) };
    let suffix = suffix(name, record.generation);
    let tables = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(connection)
        .await?;
    let names = tables.iter().map(|table| table.try_get::<String, _>(0));
    let names = names.collect::<Result<Vec<String>, sqlx::Error>>()?;
    let rebuilt = names.into_iter().filter_map(|table| {
        let live = table.strip_suffix(&suffix)?.to_owned();
        Some((table, live))
    });
    Ok(rebuilt.collect())
}

/// Returns true if the file could not be used now: another writer, no room, a disk that fails.
fn is_transient(error: &sqlx::Error) -> bool {
    /// The primary codes of SQLite: BUSY, LOCKED, IOERR, FULL, CANTOPEN, PROTOCOL.
    const TRANSIENT: [i64; 6] = [5, 6, 10, 13, 14, 15];
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error
            .code()
            .and_then(|code| code.parse::<i64>().ok())
            .is_some_and(|code| TRANSIENT.contains(&(code & 0xff))),
        _ => false,
    }
}
