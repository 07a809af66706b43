//! Pages of orders in Redis, in front of the database.
//!
//! An entry holds the position of the order that it is about, and the page as of that position, unless the page is out
//! of date. The projection marks an entry as out of date at the position of each event, before its transaction ends; a
//! query puts a page there unless the entry knows of a later position. So whatever the order of the two, no page of
//! before an event is put there after it, and a page of the newest position is dropped by nobody.
//!
//! When Redis cannot be reached, queries go to the database, and an entry lives for [`SECONDS`] at most: that is how
//! old a page may be that could not be marked.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};

use super::orders::OrderPage;
use crate::domain::OrderKey;

/// The time for which an entry lives, in seconds.
const SECONDS: u32 = 60;

/// The time for which Redis is waited for: the database is not much slower.
const PATIENCE: Duration = Duration::from_millis(500);

/// Marks an entry as out of date: its position is `ARGV[1]`, and it has no page.
const OUTDATE: &str = "
if tonumber(redis.call('HGET', KEYS[1], 'position') or -1) < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], 'position', ARGV[1])
    redis.call('HDEL', KEYS[1], 'page')
    redis.call('EXPIRE', KEYS[1], ARGV[2])
end";

/// Puts the page `ARGV[3]` of position `ARGV[1]` into an entry that knows of no later position.
const FILL: &str = "
if tonumber(redis.call('HGET', KEYS[1], 'position') or -1) <= tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], 'position', ARGV[1], 'page', ARGV[3])
    redis.call('EXPIRE', KEYS[1], ARGV[2])
end";

/// A cache of orders. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cache {
    connection: ConnectionManager,
    outdate: Arc<Script>,
    fill: Arc<Script>,
}

impl Cache {
    pub(super) async fn connect(url: &str) -> Result<Cache, RedisError> {
        let hasty = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = ConnectionManager::new_with_config(Client::open(url)?, hasty).await?;
        let (outdate, fill) = (Arc::new(Script::new(OUTDATE)), Arc::new(Script::new(FILL)));
        Ok(Cache { connection, outdate, fill })
    }

    /// Returns the page of an order, if it is there.
    pub(super) async fn get(&self, key: &OrderKey) -> Option<OrderPage> {
        let mut get = redis::cmd("HGET");
        get.arg(entry(key)).arg("page");
        let mut connection = self.connection.clone();
        let page: Option<String> = logged(get.query_async(&mut connection).await)?;
        serde_json::from_str(&page?).ok()
    }

    /// Puts the page of an order there, unless a later position is known.
    pub(super) async fn fill(&self, key: &OrderKey, page: &OrderPage) {
        let Ok(json) = serde_json::to_string(page) else { return };
        let mut fill = self.fill.key(entry(key));
        fill.arg(page.order.position).arg(SECONDS).arg(json);
        logged(fill.invoke_async::<()>(&mut self.connection.clone()).await);
    }

    /// Marks the page of an order as out of date, by an event at a position.
    pub(super) async fn outdate(&self, key: &OrderKey, position: u64) {
        let mut outdate = self.outdate.key(entry(key));
        outdate.arg(position).arg(SECONDS);
        logged(outdate.invoke_async::<()>(&mut self.connection.clone()).await);
    }
}

fn entry(key: &OrderKey) -> String {
    format!("orders:page:{key}")
}

/// Returns what Redis answered; a cache that fails is no error of the service.
fn logged<T>(answer: Result<T, RedisError>) -> Option<T> {
    answer.inspect_err(|error| tracing::warn!(%error, "the cache does not answer")).ok()
}
