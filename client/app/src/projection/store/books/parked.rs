//! The parked events of a projection in an SQL database.

/// Defines, beside the rest of the bookkeeping, what is kept of parked events; see [`books`](super::books).
macro_rules! parked_books {
    (connection: $Connection:ty, tables: $tables:literal) => {
        use super::super::Parked;

        pub(super) async fn park(
            connection: &mut $Connection,
            slot: &Slot,
            parked: &Parked,
        ) -> Result<()> {
            const PARK: &str =
                concat!("INSERT INTO ", $tables, "parked VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",);
            sqlx::query(PARK)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(signed(parked.position)?)
                .bind(&parked.stream)
                .bind(signed(parked.version)?)
                .bind(&parked.kind)
                .bind(i64::from(parked.attempts))
                // PostgreSQL has no text with a NUL in it.
                .bind(parked.reason.replace('\0', "\u{fffd}"))
                .execute(connection)
                .await?;
            Ok(())
        }

        /// Returns false if the event is not parked.
        pub(super) async fn drop_parked(
            connection: &mut $Connection,
            slot: &Slot,
            position: u64,
        ) -> Result<bool> {
            const DROP: &str = concat!(
                "DELETE FROM ",
                $tables,
                "parked ",
                "WHERE projection = $1 AND side = $2 AND position = $3",
            );
            let dropped = sqlx::query(DROP)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(signed(position)?)
                .execute(connection)
                .await?;
            Ok(dropped.rows_affected() > 0)
        }

        pub(super) async fn parked(
            connection: &mut $Connection,
            slot: &Slot,
            after: u64,
            limit: usize,
        ) -> Result<Vec<Parked>> {
            const PARKED: &str = concat!(
                "SELECT position, stream, version, kind, attempts, reason FROM ",
                $tables,
                "parked ",
                "WHERE projection = $1 AND side = $2 AND position > $3 ORDER BY position LIMIT $4",
            );
            let rows = sqlx::query(PARKED)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .bind(signed(after)?)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(connection)
                .await?;
            let read = |row: &_| {
                let attempts: i64 = Row::try_get(row, 4)?;
                Ok(Parked {
                    position: number(Row::try_get(row, 0)?)?,
                    stream: Row::try_get(row, 1)?,
                    version: number(Row::try_get(row, 2)?)?,
                    kind: Row::try_get(row, 3)?,
                    attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                    reason: Row::try_get(row, 5)?,
                })
            };
            rows.iter().map(read).collect()
        }

        pub(super) async fn count_parked(
            connection: &mut $Connection,
            slot: &Slot,
        ) -> Result<usize> {
            const COUNT: &str = concat!(
                "SELECT COUNT(*) FROM ",
                $tables,
                "parked WHERE projection = $1 AND side = $2",
            );
            let count: i64 = sqlx::query(COUNT)
                .bind(&slot.projection)
                .bind(slot.side.as_str())
                .fetch_one(connection)
                .await?
                .try_get(0)?;
            Ok(usize::try_from(count).unwrap_or_default())
        }
    };
}

pub(in super::super) use parked_books;
