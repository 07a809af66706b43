//! Read models in Redis, each below a prefix of its own, with their bookmarks beside them.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, RetryMethod, ScriptInvocation,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::model::Commit;
pub use self::model::RedisModel;
use self::scripts::Scripts;
use super::{Claim, Creation, Parked, Record, Side, Slot, Step, Store, StoreError, Swap};

mod model;
mod scripts;

/// The time within which Redis must answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time for which the keys of a replaced model remain for its readers.
const REPLACED_SECONDS: u64 = 60;
/// The number of keys that are scanned together.
const SCAN_COUNT: usize = 1_000;

/// Read models in Redis, 5 or later. The keys of a model begin with a [prefix](Redis::prefix); its bookmark is in
/// `quorate:{NAME}:live`. In a cluster all keys of a projection are in one slot.
///
/// A handler's commands are collected, and run by the script that moves the bookmark, so all of them are run or none;
/// hence a handler sees no answers. Changes that depend on the present values need commands like `HINCRBY`, `ZADD GT`
/// or `SET NX`, or a script of the application (`EVAL`).
///
/// Redis takes nothing back: when a command of an event fails, earlier commands of the same event have had their
/// effect, and have it again when the event is tried again. So an event that may fail should be one command or one
/// script. Changes that are not saved when Redis crashes are lost, model and bookmark alike, and are applied again.
///
/// ```no_run
/// # use quorate_app::projection::{Handler, Projection, Redis, RedisModel};
/// # async fn example(totals: impl Handler<RedisModel>) -> Result<(), Box<dyn std::error::Error>> {
/// let store = Redis::connect("redis://localhost:6379/0").await?;
/// let orders = quorate_client::Query::category("order");
/// let totals = Projection::new("totals", orders, store.clone(), totals);
///
/// // Readers ask under which prefix the keys of the live model lie.
/// if let Some(prefix) = store.prefix(totals.name()).await? {
///     println!("HGETALL {prefix}by-customer");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Redis {
    client: Client,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    scripts: Arc<Scripts>,
}

opaque_debug!(Redis);

impl Redis {
    /// Connects to a server, as in `redis://host:6379/0`.
    pub async fn connect(url: &str) -> Result<Redis, StoreError> {
        let client = Client::open(url).map_err(to_store_error)?;
        let redis = Redis { client, connection: Arc::default(), scripts: Arc::default() };
        redis.connection().await?;
        Ok(redis)
    }

    /// Returns the prefix of the keys of a projection's live model; `None` before it was set up. It changes when a
    /// rebuilt model is swapped in; the keys of the old one are there for another minute.
    pub async fn prefix(&self, projection: &str) -> Result<Option<String>, StoreError> {
        let slot = Slot { projection: projection.to_owned(), side: Side::Live };
        let record = self.record(&slot).await?;
        Ok(record.map(|record| prefix(projection, record.generation)))
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        let made = self.client.get_multiplexed_async_connection_with_config(&config);
        let made = made.await.map_err(to_store_error)?;
        Ok(connection.insert(made).clone())
    }

    /// Converts an answer, and drops the connection after an error that means it cannot be used any more.
    async fn answer<T>(&self, answer: Result<T, RedisError>) -> Result<T, StoreError> {
        if answer.as_ref().is_err_and(is_transient) {
            *self.connection.lock().await = None;
        }
        answer.map_err(to_store_error)
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        self.answer(command.query_async(&mut connection).await).await
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        self.answer(script.invoke_async(&mut connection).await).await
    }

    /// Runs a script on the hashes of a model.
    async fn ask<T: FromRedisValue>(
        &self,
        script: &redis::Script,
        slot: &Slot,
        arguments: &[&str],
    ) -> Result<T, StoreError> {
        let mut invocation = script.prepare_invoke();
        invocation.key(book(slot)).key(parked_book(slot));
        for argument in arguments {
            invocation.arg(*argument);
        }
        self.invoke(&invocation).await
    }

    /// Runs the commands from `make` for all keys that begin with a prefix.
    async fn each_key(
        &self,
        prefix: &str,
        make: impl Fn(&[String]) -> Option<Vec<Cmd>>,
    ) -> Result<(), StoreError> {
        let mut cursor: u64 = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<String>) = self.query(&scan).await?;
            for command in make(&keys).into_iter().flatten() {
                self.query::<redis::Value>(&command).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Removes all keys of a model that nobody reads.
    async fn unlink(&self, projection: &str, generation: u64) -> Result<(), StoreError> {
        let unlink = |keys: &[String]| {
            let command = redis::cmd("UNLINK").arg(keys).to_owned();
            (!keys.is_empty()).then(|| vec![command])
        };
        self.each_key(&prefix(projection, generation), unlink).await
    }

    /// Lets the keys of models older than the live one expire.
    async fn expire_older(&self, projection: &str, live: u64) -> Result<(), StoreError> {
        let start = format!("{{{projection}}}:g");
        let is_older = |key: &&String| {
            let rest = key.strip_prefix(&start).and_then(|rest| rest.split_once(':'));
            rest.and_then(|(generation, _)| generation.parse::<u64>().ok())
                .is_some_and(|generation| generation < live)
        };
        let expire = |keys: &[String]| {
            let older = keys.iter().filter(is_older);
            let command =
                |key: &String| redis::cmd("EXPIRE").arg(key).arg(REPLACED_SECONDS).to_owned();
            Some(older.map(command).collect())
        };
        self.each_key(&start, expire).await
    }
}

/// Returns the name of the hash with the record of a model.
fn book(slot: &Slot) -> String {
    format!("quorate:{{{}}}:{}", slot.projection, slot.side.as_str())
}

/// Returns the name of the hash with the model's parked events, by position.
fn parked_book(slot: &Slot) -> String {
    format!("{}:parked", book(slot))
}

fn prefix(projection: &str, generation: u64) -> String {
    format!("{{{projection}}}:g{generation}:")
}

/// A parked event as Redis stores it: JSON.
#[derive(Serialize, Deserialize)]
struct ParkedJson {
    stream: String,
    version: u64,
    kind: String,
    attempts: u32,
    reason: String,
}

fn parked_from(position: u64, json: &str) -> Result<Parked, StoreError> {
    let parked = serde_json::from_str(json).map_err(|error| StoreError::Refused(error.into()))?;
    let ParkedJson { stream, version, kind, attempts, reason } = parked;
    Ok(Parked { position, stream, version, kind, attempts, reason })
}

fn record_from(fields: &HashMap<String, String>) -> Result<Option<Record>, StoreError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let text = |name: &str| {
        let missing = || StoreError::Refused(format!("the bookmark has no field `{name}`").into());
        fields.get(name).cloned().ok_or_else(missing)
    };
    let number =
        |name: &str| text(name)?.parse::<u64>().map_err(|error| StoreError::Refused(error.into()));
    let bookmarks = (0..number("partitions")?).map(|partition| number(&format!("b{partition}")));
    Ok(Some(Record {
        definition: text("definition")?,
        partitioning: text("partitioning")?,
        generation: number("generation")?,
        bookmarks: bookmarks.collect::<Result<_, StoreError>>()?,
    }))
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().to_string()
}

impl Store for Redis {
    type Model = RedisModel;

    async fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn record(&self, slot: &Slot) -> Result<Option<Record>, StoreError> {
        record_from(&self.query(redis::cmd("HGETALL").arg(book(slot))).await?)
    }

    async fn create(&self, creation: &Creation<'_>) -> Result<RedisModel, StoreError> {
        if self.record(creation.slot).await?.is_some() {
            return Err(StoreError::Moved);
        }
        let Creation { slot, generation, partitions, after, .. } = *creation;
        // A process that was killed may have left keys when it removed a model of this number.
        self.unlink(&slot.projection, generation).await?;
        let record = Record {
            definition: creation.definition.to_owned(),
            partitioning: creation.partitioning.to_owned(),
            generation,
            bookmarks: vec![after; partitions as usize],
        };
        let (owner, lease) = (creation.owner.to_owned(), creation.lease);
        let prefix = prefix(&slot.projection, generation);
        let commit = Commit::Create { record, owner, lease };
        Ok(RedisModel { slot: slot.clone(), prefix, commit, events: Vec::new() })
    }

    async fn claim(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<Claim, StoreError> {
        let lease = milliseconds(lease);
        let answer: Vec<String> = self.ask(&self.scripts.claim, slot, &[owner, &lease]).await?;
        match answer.as_slice() {
            [] => Ok(Claim::Missing),
            [owner, until] => {
                let until = until
                    .parse()
                    .map_err(|error: std::num::ParseIntError| StoreError::Refused(error.into()))?;
                Ok(Claim::Held { owner: owner.clone(), until })
            }
            _ => Ok(self.record(slot).await?.map_or(Claim::Missing, Claim::Owned)),
        }
    }

    async fn renew(&self, slot: &Slot, owner: &str, lease: Duration) -> Result<bool, StoreError> {
        self.ask(&self.scripts.renew, slot, &[owner, &milliseconds(lease)]).await
    }

    async fn release(&self, slot: &Slot, owner: &str) -> Result<(), StoreError> {
        self.ask(&self.scripts.release, slot, &[owner]).await
    }

    async fn bookmark(
        &self,
        slot: &Slot,
        partition: u32,
        owner: &str,
    ) -> Result<Option<u64>, StoreError> {
        let fields = ["owner".to_owned(), format!("b{partition}")];
        let (holder, position): (Option<String>, Option<u64>) =
            self.query(redis::cmd("HMGET").arg(book(slot)).arg(&fields[..])).await?;
        Ok(position.filter(|_| holder.as_deref() == Some(owner)))
    }

    async fn repartition(
        &self,
        slot: &Slot,
        owner: &str,
        partitioning: &str,
        partitions: u32,
        position: u64,
    ) -> Result<(), StoreError> {
        let (partitions, position) = (partitions.to_string(), position.to_string());
        let arguments = [owner, partitioning, &partitions, &position];
        match self.ask(&self.scripts.repartition, slot, &arguments).await? {
            true => Ok(()),
            false => Err(StoreError::Moved),
        }
    }

    /// Checks nothing: the script that commits does.
    async fn begin(&self, step: &Step<'_>) -> Result<RedisModel, StoreError> {
        let Step { slot, generation, partition, owner, from, to } = *step;
        let prefix = prefix(&slot.projection, generation);
        let commit = Commit::Step { generation, partition, owner: owner.to_owned(), from, to };
        Ok(RedisModel { slot: slot.clone(), prefix, commit, events: Vec::new() })
    }

    fn next_event(&self, model: &mut RedisModel, position: u64) {
        model.events.push((position, Vec::new()));
    }

    async fn park(&self, model: &mut RedisModel, parked: &Parked) -> Result<(), StoreError> {
        let Parked { position, stream, version, kind, attempts, reason } = parked.clone();
        let json = ParkedJson { stream, version, kind, attempts, reason };
        let json =
            serde_json::to_string(&json).map_err(|error| StoreError::Refused(error.into()))?;
        let book = parked_book(&model.slot);
        model.run(redis::cmd("HSET").arg(book).arg(position).arg(json).to_owned());
        Ok(())
    }

    async fn unpark(
        &self,
        slot: &Slot,
        generation: u64,
        position: u64,
    ) -> Result<RedisModel, StoreError> {
        let prefix = prefix(&slot.projection, generation);
        let commit = Commit::Unpark { generation, position };
        Ok(RedisModel { slot: slot.clone(), prefix, commit, events: Vec::new() })
    }

    async fn commit(&self, model: RedisModel) -> Result<(), StoreError> {
        let script = match &model.commit {
            Commit::Create { .. } => &self.scripts.create,
            Commit::Step { .. } => &self.scripts.step,
            Commit::Unpark { .. } => &self.scripts.unpark,
        };
        let mut script = script.prepare_invoke();
        script.key(book(&model.slot)).key(parked_book(&model.slot));
        match &model.commit {
            Commit::Create { record, owner, lease } => {
                script.arg(&record.definition).arg(&record.partitioning).arg(record.generation);
                script.arg(record.bookmarks.len()).arg(record.position());
                script.arg(owner).arg(milliseconds(*lease));
            }
            Commit::Step { generation, partition, owner, from, to } => {
                script.arg(*generation).arg(format!("b{partition}")).arg(owner);
                script.arg(*from).arg(*to);
            }
            Commit::Unpark { generation, position } => {
                script.arg(*generation).arg(*position);
            }
        }
        model.put_commands(&mut script)?;
        let answer: Vec<String> = self.invoke(&script).await?;
        match answer.as_slice() {
            [] => Ok(()),
            [_] | [_, _] => Err(StoreError::Moved),
            [position, command, why, ..] => {
                let reason = format!("command {command} of the event at {position}: {why}");
                let code = why.split(' ').next().unwrap_or_default();
                match TRANSIENT_CODES.contains(&code) {
                    true => Err(StoreError::Lost(reason.into())),
                    false => Err(StoreError::Refused(reason.into())),
                }
            }
        }
    }

    async fn parked(
        &self,
        slot: &Slot,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, StoreError> {
        let book = parked_book(slot);
        let mut positions: Vec<u64> = self.query(redis::cmd("HKEYS").arg(&book)).await?;
        positions.retain(|position| *position > after);
        positions.sort_unstable();
        positions.truncate(limit);
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<Option<String>> =
            self.query(redis::cmd("HMGET").arg(&book).arg(&positions)).await?;
        let found = positions.iter().zip(&found);
        found
            .filter_map(|(position, json)| Some(parked_from(*position, json.as_deref()?)))
            .collect()
    }

    async fn count_parked(&self, slot: &Slot) -> Result<usize, StoreError> {
        self.query(redis::cmd("HLEN").arg(parked_book(slot))).await
    }

    async fn drop_parked(&self, slot: &Slot, position: u64) -> Result<bool, StoreError> {
        self.query(redis::cmd("HDEL").arg(parked_book(slot)).arg(position)).await
    }

    async fn swap(&self, name: &str) -> Result<Swap, StoreError> {
        let slot = |side| Slot { projection: name.to_owned(), side };
        let (live, beside) = (slot(Side::Live), slot(Side::Rebuild));
        let rebuilt = self.record(&beside).await?.ok_or(StoreError::Moved)?;
        let before = self.record(&live).await?;
        if before.as_ref().is_some_and(|before| !rebuilt.is_not_behind(before)) {
            return Ok(Swap::Behind);
        }
        let mut script = self.scripts.swap.prepare_invoke();
        script.key(book(&live)).key(parked_book(&live));
        script.key(book(&beside)).key(parked_book(&beside));
        script.arg(rebuilt.generation);
        // The live model as it was read: if it has moved since, it may be ahead.
        script.arg(before.as_ref().map_or(0, |before| before.generation));
        for bookmark in before.iter().flat_map(|before| &before.bookmarks) {
            script.arg(*bookmark);
        }
        if !self.invoke::<bool>(&script).await? {
            return Ok(Swap::Behind);
        }
        if let Err(error) = self.expire_older(name, rebuilt.generation).await {
            tracing::warn!(projection = name, %error, "keys of the old model are left behind");
        }
        Ok(Swap::Done)
    }

    async fn discard_rebuild(&self, name: &str) -> Result<(), StoreError> {
        let slot = Slot { projection: name.to_owned(), side: Side::Rebuild };
        let Some(record) = self.record(&slot).await? else { return Ok(()) };
        let mut forget = redis::cmd("DEL");
        forget.arg(book(&slot)).arg(parked_book(&slot));
        self.query::<u64>(&forget).await?;
        self.unlink(name, record.generation).await
    }

    fn is_transient(error: &(dyn Error + 'static)) -> bool {
        error.downcast_ref::<RedisError>().is_some_and(is_transient)
    }
}

/// The codes of Redis that mean that it cannot do something now.
const TRANSIENT_CODES: [&str; 8] =
    ["OOM", "LOADING", "READONLY", "MISCONF", "MASTERDOWN", "BUSY", "NOREPLICAS", "CLUSTERDOWN"];

fn is_transient(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || !matches!(error.retry_method(), RetryMethod::NoRetry)
        || error.code().is_some_and(|code| TRANSIENT_CODES.contains(&code))
}

fn to_store_error(error: RedisError) -> StoreError {
    match is_transient(&error) {
        true => StoreError::Lost(error.into()),
        false => StoreError::Refused(error.into()),
    }
}
