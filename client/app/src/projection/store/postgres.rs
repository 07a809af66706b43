//! Read models in PostgreSQL, each in a schema of its own, with their bookmarks beside them.

use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Row, Transaction};
use tokio::sync::OnceCell;

use self::books::to_store_error;
use super::{Claim, Creation, Parked, Record, Side, Slot, Step, Store, StoreError, Swap};

mod books {
    //! The bookkeeping in PostgreSQL: tables in a schema of their own.

    super::super::books::books! {
        connection: sqlx::PgConnection,
        tables: "quorate.",
        now: "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        lock: " FOR UPDATE"
    }
}

/// The number of connections of a store that makes its own: for a few partitions, and for queries about them.
const CONNECTIONS: u32 = 8;
/// The time for which a swap waits for readers of the old model, in PostgreSQL's notation.
const SWAP_LOCK_TIMEOUT: &str = "2s";
/// The lock that is held while the tables are made: any number that nobody else uses.
const PREPARE_LOCK: i64 = 0x71756f72;

/// Read models in PostgreSQL. The bookmarks are in the schema `quorate`; the model of a projection is in the schema
/// of the projection's name, which must not be there before: everything in this schema is the projection's, and is
/// replaced when a rebuilt model is swapped in. Then views in other schemas that use it are dropped (`CASCADE`).
///
/// A handler's transaction has that schema first in its `search_path` (then `public`), so that plain names are the
/// model's own: `orders` is in the live model or in the rebuilt one. Rights that others need are granted when
/// the model is [set up](super::super::Handler::set_up), with [`PostgresModel::schema`] for the schema's name.
///
/// The durability of a transaction is configured in PostgreSQL: with `synchronous_commit = off` a crash may take back
/// the newest transactions, models and bookmarks alike, and their events are applied again.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, Postgres, PostgresModel, Projection};
/// # async fn example(orders: impl Handler<PostgresModel>) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_app::sqlx;
/// let store = Postgres::connect("postgres://shop@localhost/shop").await?;
/// let orders = Projection::new("orders", quorate_client::Query::category("order"), store, orders);
///
/// // The model is read as any table is, in the schema of the projection.
/// let unpaid = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders.orders WHERE NOT paid");
/// println!("{} orders are not paid", unpaid.fetch_one(orders.store().pool()).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    prepared: Arc<OnceCell<()>>,
}

opaque_debug!(Postgres);

impl Postgres {
    /// Connects to a database, as in `postgres://user:password@host/database`.
    pub async fn connect(url: &str) -> Result<Postgres, StoreError> {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await;
        Ok(Postgres::with(pool.map_err(to_store_error)?))
    }

    /// Uses the given connections: it needs one for each partition, and at least one more.
    pub fn with(pool: PgPool) -> Postgres {
        Postgres { pool, prepared: Arc::default() }
    }

    /// Returns the connections, for example to query the models.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    async fn transaction(&self) -> Result<Transaction<'static, sqlx::Postgres>, StoreError> {
        self.pool.begin().await.map_err(to_store_error)
    }

    /// Returns a model whose names are looked up in its schema first.
    async fn model(
        mut transaction: Transaction<'static, sqlx::Postgres>,
        slot: &Slot,
        step: Option<(u32, u64)>,
    ) -> Result<PostgresModel, StoreError> {
        let schema = schema(&slot.projection, slot.side);
        sqlx::query("SELECT set_config('search_path', $1, true)")
            .bind(format!("{schema}, public"))
            .execute(&mut *transaction)
            .await
            .map_err(to_store_error)?;
        Ok(PostgresModel { transaction, slot: slot.clone(), schema, step })
    }
}

/// Returns the schema of a model, quoted: the names of projections contain no quotes.
fn schema(projection: &str, side: Side) -> String {
    match side {
        Side::Live => format!("\"{projection}\""),
        Side::Rebuild => format!("\"{projection}__rebuild\""),
    }
}

/// Checks that a projection may use the schema of its name.
fn check(projection: &str) -> Result<(), StoreError> {
    let is_taken = projection.starts_with("pg_")
        || matches!(projection, "public" | "quorate" | "information_schema");
    if is_taken {
        let why = format!("`{projection}` names a schema that is no projection's");
        return Err(StoreError::Refused(why.into()));
    }
    Ok(())
}

/// A model in PostgreSQL within a transaction. It is used like a connection, as in `.execute(&mut **model)`. The
/// handler must leave the transaction open.
///
/// After a failed statement PostgreSQL refuses all others of the transaction: pass the error on.
///
/// ```
/// use quorate_app::projection::{HandlerError, PostgresModel};
/// use quorate_app::sqlx;
/// use quorate_client::RecordedEvent;
///
/// async fn paid(model: &mut PostgresModel, event: &RecordedEvent) -> Result<(), HandlerError> {
///     let update = sqlx::query("UPDATE orders SET paid = true WHERE stream = $1");
///     update.bind(event.stream.as_str()).execute(&mut **model).await?;
///     Ok(())
/// }
/// # let _ = paid;
/// ```
pub struct PostgresModel {
    transaction: Transaction<'static, sqlx::Postgres>,
    slot: Slot,
    schema: String,
    /// The partition and the position of the bookmark that the commit moves.
    step: Option<(u32, u64)>,
}

opaque_debug!(PostgresModel);

impl PostgresModel {
    /// Returns the name of a table (or an index, a type, a view) of this model with its schema, quoted: for places that
    /// the `search_path` does not reach.
    pub fn table(&self, name: &str) -> String {
        format!("{}.\"{}\"", self.schema, name.replace('"', "\"\""))
    }

    /// Returns the name of this model's schema, quoted.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns whether this is the live or the rebuilt model.
    pub fn side(&self) -> Side {
        self.slot.side
    }
}

impl Deref for PostgresModel {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for PostgresModel {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

impl Store for Postgres {
    type Model = PostgresModel;

    async fn prepare(&self) -> Result<(), StoreError> {
        let create = async {
            let mut transaction = self.transaction().await?;
            make_tables(&mut transaction).await.map_err(to_store_error)?;
            transaction.commit().await.map_err(to_store_error)
        };
        self.prepared.get_or_try_init(|| create).await.copied()
    }

    async fn record(&self, slot: &Slot) -> Result<Option<Record>, StoreError> {
        // The transaction reads the head and the bookmarks as of one moment.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut transaction = self.pool.begin_with(begin).await.map_err(to_store_error)?;
        books::record(&mut transaction, slot).await.map_err(to_store_error)
    }

    async fn create(&self, creation: &Creation<'_>) -> Result<PostgresModel, StoreError> {
        let slot = creation.slot;
        check(&slot.projection)?;
        let mut transaction = self.transaction().await?;
        if !books::create(&mut transaction, creation).await.map_err(to_store_error)? {
            return Err(StoreError::Moved);
        }
        let create = format!("CREATE SCHEMA {}", schema(&slot.projection, slot.side));
        sqlx::query(&create).execute(&mut *transaction).await.map_err(to_store_error)?;
        Postgres::model(transaction, slot, None).await
    }

    async fn claim(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        let mut transaction = self.transaction().await?;
        let claim =
            books::claim(&mut transaction, slot, owner, lease).await.map_err(to_store_error)?;
        transaction.commit().await.map_err(to_store_error)?;
        Ok(claim)
    }

    async fn renew(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(to_store_error)?;
        books::renew(&mut connection, slot, owner, lease).await.map_err(to_store_error)
    }

    async fn release(&self, slot: &Slot, owner: &str) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(to_store_error)?;
        books::release(&mut connection, slot, owner).await.map_err(to_store_error)
    }

    async fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> Result<Option<u64>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(to_store_error)?;
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

    async fn begin(&self, step: &Step<'_>) -> Result<PostgresModel, StoreError> {
        let mut transaction = self.transaction().await?;
        if !books::check_step(&mut transaction, step).await.map_err(to_store_error)? {
            return Err(StoreError::Moved);
        }
        Postgres::model(transaction, step.slot, Some((step.partition, step.to))).await
    }

    async fn park(&self, model: &mut PostgresModel, parked: &Parked) -> Result<(), StoreError> {
        books::park(&mut model.transaction, &model.slot, parked).await.map_err(to_store_error)
    }

    async fn unpark(
        &self,
        slot: &Slot,
        _generation: u64,
        position: u64,
    ) -> Result<PostgresModel, StoreError> {
        let mut transaction = self.transaction().await?;
        match books::drop_parked(&mut transaction, slot, position).await.map_err(to_store_error)? {
            true => Postgres::model(transaction, slot, None).await,
            false => Err(StoreError::Moved),
        }
    }

    async fn commit(&self, mut model: PostgresModel) -> Result<(), StoreError> {
        let PostgresModel { transaction, slot, step, .. } = &mut model;
        // After a failed statement COMMIT rolls back without an error; another statement before it gives one.
        match *step {
            Some((partition, to)) => books::take_step(transaction, slot, partition, to).await,
            None => sqlx::query("SELECT 1").execute(&mut **transaction).await.map(|_| ()),
        }
        .map_err(to_store_error)?;
        model.transaction.commit().await.map_err(to_store_error)
    }

    async fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(to_store_error)?;
        books::parked(&mut connection, slot, after, limit).await.map_err(to_store_error)
    }

    async fn count_parked(&self, slot: &Slot) -> Result<usize, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(to_store_error)?;
        books::count_parked(&mut connection, slot).await.map_err(to_store_error)
    }

    async fn drop_parked(&self, slot: &Slot, position: u64) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(to_store_error)?;
        books::drop_parked(&mut connection, slot, position).await.map_err(to_store_error)
    }

    async fn swap(&self, name: &str) -> Result<Swap, StoreError> {
        let mut transaction = self.transaction().await?;
        if books::check_swap(&mut transaction, name).await? == Swap::Behind {
            return Ok(Swap::Behind);
        }
        let (live, rebuilt) = (schema(name, Side::Live), schema(name, Side::Rebuild));
        for change in [
            format!("SET LOCAL lock_timeout = '{SWAP_LOCK_TIMEOUT}'"),
            format!("DROP SCHEMA IF EXISTS {live} CASCADE"),
            format!("ALTER SCHEMA {rebuilt} RENAME TO {live}"),
        ] {
            sqlx::query(&change).execute(&mut *transaction).await.map_err(to_store_error)?;
        }
        books::swap(&mut transaction, name).await.map_err(to_store_error)?;
        transaction.commit().await.map_err(to_store_error)?;
        Ok(Swap::Done)
    }

    async fn discard_rebuild(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.transaction().await?;
        let slot = Slot { projection: name.to_owned(), side: Side::Rebuild };
        // A schema without the record of a rebuild belongs to somebody else.
        if books::record(&mut transaction, &slot).await.map_err(to_store_error)?.is_none() {
            return Ok(());
        }
        books::forget(&mut transaction, name, Side::Rebuild).await.map_err(to_store_error)?;
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", schema(name, Side::Rebuild));
        sqlx::query(&drop).execute(&mut *transaction).await.map_err(to_store_error)?;
        transaction.commit().await.map_err(to_store_error)
    }

    fn is_transient(error: &(dyn Error + 'static)) -> bool {
        error.downcast_ref::<sqlx::Error>().is_some_and(is_transient)
    }
}

/// Makes the schema and its tables unless they are there: then a user without the right to make them can go on.
async fn make_tables(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(PREPARE_LOCK)
        .execute(&mut *connection)
        .await?;
    let there = sqlx::query("SELECT to_regclass('quorate.parked') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if there.try_get(0)? {
        return Ok(());
    }
    sqlx::query("CREATE SCHEMA IF NOT EXISTS quorate").execute(&mut *connection).await?;
    books::prepare(connection).await
}

/// Returns true if the database could not be reached, or could not do this now.
fn is_transient(error: &sqlx::Error) -> bool {
    /// Codes of PostgreSQL: serialization failure, deadlock, lock not available, read-only (a standby), I/O error.
    const TRANSIENT: [&str; 5] = ["40001", "40P01", "55P03", "25006", "58030"];
    /// Connection exceptions, insufficient resources, operator intervention.
    const TRANSIENT_CLASSES: [&str; 3] = ["08", "53", "57P"];
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            TRANSIENT.contains(&code.as_ref())
                || TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}
