//! The tables that a projection keeps in an SQL database beside its models: the same in every database.

pub(super) mod parked;

/// Defines the bookkeeping for one database as functions over its connection.
///
/// - `$tables` is the beginning of the tables' names: a prefix or a schema.
/// - `$now` is the database's clock, in milliseconds.
/// - `$lock` is the end of a query whose rows are to be locked until the transaction ends.
macro_rules! books {
    (connection: $Connection:ty, tables: $tables:literal, now: $now:literal, lock: $lock:literal) => {
        use std::time::Duration;

        use sqlx::Row;

        use super::super::{Claim, Creation, Record, Side, Slot, Step, StoreError, Swap};

        super::super::books::parked::parked_books!(connection: $Connection, tables: $tables);

        /// The result of a statement.
        type Result<T> = std::result::Result<T, sqlx::Error>;

        /// Makes the tables that are not there yet.
        pub(super) async fn prepare(connection: &mut $Connection) -> Result<()> {
            for table in [
                concat!(
                    "CREATE TABLE IF NOT EXISTS ",
                    $tables,
                    "projections (",
                    "projection TEXT NOT NULL, side TEXT NOT NULL, definition TEXT NOT NULL, ",
                    "partitioning TEXT NOT NULL, generation BIGINT NOT NULL, owner TEXT, ",
                    "leased_until BIGINT NOT NULL, PRIMARY KEY (projection, side))",
                ),
                concat!(
                    "CREATE TABLE IF NOT EXISTS ",
                    $tables,
                    "bookmarks (",
                    "projection TEXT NOT NULL, side TEXT NOT NULL, partition INTEGER NOT NULL, ",
                    "position BIGINT NOT NULL, owner TEXT, ",
                    "PRIMARY KEY (projection, side, partition))",
                ),
                concat!(
                    "CREATE TABLE IF NOT EXISTS ",
                    $tables,
                    "parked (",
                    "projection TEXT NOT NULL, side TEXT NOT NULL, position BIGINT NOT NULL, ",
                    "stream TEXT NOT NULL, version BIGINT NOT NULL, kind TEXT NOT NULL, ",
                    "attempts BIGINT NOT NULL, reason TEXT NOT NULL, ",
                    "PRIMARY KEY (projection, side, position))",
                ),
            ] {
                sqlx::query(table).execute(&mut *connection).await?;
            }
            Ok(())
        }

        pub(super) async fn record(
            connection: &mut $Connection,
            slot: &Slot,
        ) -> Result<Option<Record>> {
            const HEAD: &str = concat!(
                "SELECT definition, partitioning, generation FROM ",
                $tables,
                "projections ",
                "WHERE projection = $1 AND side = $2",
            );
            const BOOKMARKS: &str = concat!(
                "SELECT position FROM ",
                $tables,
                "bookmarks ",
                "WHERE projection = $1 AND side = $2 ORDER BY partition",
            );
            let head = sqlx::query(HEAD)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .fetch_optional(&mut *connection)
                .await?;
            let Some(head) = head else { return Ok(None) };
            let bookmarks = sqlx::query(BOOKMARKS)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .fetch_all(&mut *connection)
                .await?;
            Ok(Some(Record {
                definition: head.try_get(0)?,
                partitioning: head.try_get(1)?,
                generation: number(head.try_get(2)?)?,
                bookmarks: bookmarks
                    .iter()
                    .map(|bookmark| number(bookmark.try_get(0)?))
                    .collect::<Result<Vec<u64>>>()?,
            }))
        }

        /// Writes the first records of a projection. Returns false if it is there already.
        pub(super) async fn create(
            connection: &mut $Connection,
            creation: &Creation<'_>,
        ) -> Result<bool> {
            const HEAD: &str = concat!(
                "INSERT INTO ",
                $tables,
                "projections VALUES ($1, $2, $3, $4, $5, $6, ",
                $now,
                " + $7) ON CONFLICT DO NOTHING",
            );
            let head = sqlx::query(HEAD)
                .bind(&creation.slot.projection)
                .bind(creation.slot.side.as_str())
                .bind(creation.definition)
                .bind(creation.partitioning)
                .bind(signed(creation.generation)?)
                .bind(creation.owner)
                .bind(milliseconds(creation.lease))
                .execute(&mut *connection)
                .await?;
            if head.rows_affected() == 0 {
                return Ok(false);
            }
            let Creation { slot, owner, partitions, after, .. } = *creation;
            put_bookmarks(connection, slot, owner, partitions, after).await?;
            Ok(true)
        }

        async fn put_bookmarks(
            connection: &mut $Connection,
            slot: &Slot,
            owner: &str,
            partitions: u32,
            position: u64,
        ) -> Result<()> {
            const PUT: &str =
                concat!("INSERT INTO ", $tables, "bookmarks VALUES ($1, $2, $3, $4, $5)");
            for partition in 0..partitions {
                sqlx::query(PUT)
                    .bind(&slot.projection)
                    .bind(slot.side.as_str())
                    .bind(partition as i32)
                    .bind(signed(position)?)
                    .bind(owner)
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(())
        }

        /// Needs a transaction. It sets the owner in the bookmarks too: so the former owner's steps under way end
        /// first, and it can begin none after that.
        pub(super) async fn claim(
            connection: &mut $Connection,
            slot: &Slot,
            owner: &str,
            lease: Duration,
        ) -> Result<Claim> {
            const CLAIM: &str = concat!(
                "UPDATE ",
                $tables,
                "projections SET owner = $3, leased_until = ",
                $now,
                " + $4 ",
                "WHERE projection = $1 AND side = $2 ",
                "AND (owner IS NULL OR owner = $3 OR leased_until <= ",
                $now,
                ")",
            );
            const HELD: &str = concat!(
                "SELECT COALESCE(owner, ''), leased_until FROM ",
                $tables,
                "projections ",
                "WHERE projection = $1 AND side = $2",
            );
            const BOOKMARKS: &str = concat!(
                "UPDATE ",
                $tables,
                "bookmarks SET owner = $3 WHERE projection = $1 AND side = $2",
            );
            let claimed = sqlx::query(CLAIM)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(owner)
                .bind(milliseconds(lease))
                .execute(&mut *connection)
                .await?;
            if claimed.rows_affected() == 0 {
                let held = sqlx::query(HELD)
                    .bind(&slot.projection)
                    .bind(slot.side.as_str())
                    .fetch_optional(&mut *connection)
                    .await?;
                return match held {
                    None => Ok(Claim::Missing),
                    Some(held) => {
                        Ok(Claim::Held { owner: held.try_get(0)?, until: held.try_get(1)? })
                    }
                };
            }
            sqlx::query(BOOKMARKS)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(owner)
                .execute(&mut *connection)
                .await?;
            let record = record(connection, slot).await?;
            Ok(record.map_or(Claim::Missing, Claim::Owned))
        }

        pub(super) async fn renew(
            connection: &mut $Connection,
            slot: &Slot,
            owner: &str,
            lease: Duration,
        ) -> Result<bool> {
            const RENEW: &str = concat!(
                "UPDATE ",
                $tables,
                "projections SET leased_until = ",
                $now,
                " + $4 ",
                "WHERE projection = $1 AND side = $2 AND owner = $3",
            );
            let renewed = sqlx::query(RENEW)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(owner)
                .bind(milliseconds(lease))
                .execute(connection)
                .await?;
            Ok(renewed.rows_affected() > 0)
        }

        pub(super) async fn release(
            connection: &mut $Connection,
            slot: &Slot,
            owner: &str,
        ) -> Result<()> {
            const RELEASE: &str = concat!(
                "UPDATE ",
                $tables,
                "projections SET owner = NULL ",
                "WHERE projection = $1 AND side = $2 AND owner = $3",
            );
            sqlx::query(RELEASE)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(owner)
                .execute(connection)
                .await?;
            Ok(())
        }

        pub(super) async fn bookmark(
            connection: &mut $Connection,
            slot: &Slot,
            partition: u32,
            owner: &str,
        ) -> Result<Option<u64>> {
            const BOOKMARK: &str = concat!(
                "SELECT position FROM ",
                $tables,
                "bookmarks ",
                "WHERE projection = $1 AND side = $2 AND partition = $3 AND owner = $4",
            );
            let bookmark = sqlx::query(BOOKMARK)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(partition as i32)
                .bind(owner)
                .fetch_optional(connection)
                .await?;
            bookmark.map(|bookmark| number(bookmark.try_get(0)?)).transpose()
        }

        /// Needs a transaction. Returns false if a bookmark is at another position, or has another owner.
        pub(super) async fn repartition(
            connection: &mut $Connection,
            slot: &Slot,
            owner: &str,
            partitioning: &str,
            partitions: u32,
            position: u64,
        ) -> Result<bool> {
            const HEAD: &str = concat!(
                "UPDATE ",
                $tables,
                "projections SET partitioning = $4 ",
                "WHERE projection = $1 AND side = $2 AND owner = $3",
            );
            const DIFFER: &str = concat!(
                "SELECT COUNT(*) FROM ",
                $tables,
                "bookmarks ",
                "WHERE projection = $1 AND side = $2 AND (owner <> $3 OR position <> $4)",
            );
            const FORGET: &str =
                concat!("DELETE FROM ", $tables, "bookmarks WHERE projection = $1 AND side = $2");
            let head = sqlx::query(HEAD)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(owner)
                .bind(partitioning)
                .execute(&mut *connection)
                .await?;
            let differ: i64 = sqlx::query(DIFFER)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(owner)
                .bind(signed(position)?)
                .fetch_one(&mut *connection)
                .await?
                .try_get(0)?;
            if head.rows_affected() == 0 || differ > 0 {
                return Ok(false);
            }
            sqlx::query(FORGET)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .execute(&mut *connection)
                .await?;
            put_bookmarks(connection, slot, owner, partitions, position).await?;
            Ok(true)
        }

        /// Needs a transaction. Locks the bookmark, or returns false if it is not where the step begins or has another
        /// owner.
        pub(super) async fn check_step(
            connection: &mut $Connection,
            step: &Step<'_>,
        ) -> Result<bool> {
            const CHECK: &str = concat!(
                "SELECT 1 FROM ",
                $tables,
                "bookmarks WHERE projection = $1 AND side = $2 ",
                "AND partition = $3 AND owner = $4 AND position = $5",
                $lock,
            );
            let found = sqlx::query(CHECK)
                .bind(&step.slot.projection)
                .bind(step.slot.side.as_str())
                .bind(step.partition as i32)
                .bind(step.owner)
                .bind(signed(step.from)?)
                .fetch_optional(connection)
                .await?;
            Ok(found.is_some())
        }

        /// Moves the bookmark. Needs the transaction in which the step was checked.
        pub(super) async fn take_step(
            connection: &mut $Connection,
            slot: &Slot,
            partition: u32,
            to: u64,
        ) -> Result<()> {
            const TAKE: &str = concat!(
                "UPDATE ",
                $tables,
                "bookmarks SET position = $4 ",
                "WHERE projection = $1 AND side = $2 AND partition = $3",
            );
            sqlx::query(TAKE)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(partition as i32)
                .bind(signed(to)?)
                .execute(connection)
                .await?;
            Ok(())
        }

        /// Needs a transaction. Locks both models' bookmarks, so that no step of either is under way, and returns
        /// whether they may be swapped.
        pub(super) async fn check_swap(
            connection: &mut $Connection,
            name: &str,
        ) -> std::result::Result<Swap, StoreError> {
            const LOCK: &str = concat!(
                "SELECT 1 FROM ",
                $tables,
                "bookmarks WHERE projection = $1 ",
                "ORDER BY side, partition",
                $lock,
            );
            sqlx::query(LOCK).bind(name).fetch_all(&mut *connection).await.map_err(to_store_error)?;
            let slot = |side| Slot { projection: name.to_owned(), side };
            let rebuilt = record(connection, &slot(Side::Rebuild)).await.map_err(to_store_error)?;
            let live = record(connection, &slot(Side::Live)).await.map_err(to_store_error)?;
            let rebuilt = rebuilt.ok_or(StoreError::Moved)?;
            match live.is_none_or(|live| rebuilt.is_not_behind(&live)) {
                true => Ok(Swap::Done),
                false => Ok(Swap::Behind),
            }
        }

        /// Needs a transaction. Makes the records of the rebuilt model those of the live one.
        pub(super) async fn swap(connection: &mut $Connection, name: &str) -> Result<()> {
            forget(connection, name, Side::Live).await?;
            for change in [
                concat!(
                    "UPDATE ",
                    $tables,
                    "projections SET side = $2, owner = NULL ",
                    "WHERE projection = $1 AND side = $3",
                ),
                concat!(
                    "UPDATE ",
                    $tables,
                    "bookmarks SET side = $2, owner = NULL ",
                    "WHERE projection = $1 AND side = $3",
                ),
                concat!(
                    "UPDATE ",
                    $tables,
                    "parked SET side = $2 WHERE projection = $1 AND side = $3"
                ),
            ] {
                sqlx::query(change)
                    .bind(name)
                    .bind(Side::Live.as_str())
                    .bind(Side::Rebuild.as_str())
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(())
        }

        /// Deletes the records of a model, but not its tables.
        pub(super) async fn forget(
            connection: &mut $Connection,
            name: &str,
            side: Side,
        ) -> Result<()> {
            for table in [
                concat!("DELETE FROM ", $tables, "bookmarks WHERE projection = $1 AND side = $2"),
                concat!("DELETE FROM ", $tables, "projections WHERE projection = $1 AND side = $2"),
                concat!("DELETE FROM ", $tables, "parked WHERE projection = $1 AND side = $2"),
            ] {
                sqlx::query(table).bind(name).bind(side.as_str()).execute(&mut *connection).await?;
            }
            Ok(())
        }

        /// Converts an error of the database into the store's error.
        pub(super) fn to_store_error(error: sqlx::Error) -> StoreError {
            match super::is_transient(&error) {
                true => StoreError::Lost(error.into()),
                false => StoreError::Refused(error.into()),
            }
        }

        /// Positions and versions are below 2^63: the log counts events.
        fn signed(number: u64) -> Result<i64> {
            i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
        }

        fn number(signed: i64) -> Result<u64> {
            u64::try_from(signed).map_err(|error| sqlx::Error::Decode(error.into()))
        }

        fn milliseconds(time: Duration) -> i64 {
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
        }
    };
}

pub(super) use books;
