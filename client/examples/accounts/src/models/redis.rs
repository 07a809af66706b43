//! The balances in Redis: a hash with a number for each account.

use std::collections::BTreeMap;

use quorate_app::evolution::EventSet;
use quorate_app::projection::{Handler, HandlerError, Projection, Redis, RedisModel, StoreError};
use quorate_app::redis::{self, RedisError};
use quorate_client::{Query, RecordedEvent};

use crate::account::CATEGORY;
use crate::event::AccountEvent;
use crate::name::AccountName;

/// The name of the projection.
const NAME: &str = "balances";

/// Applies events to the hash `balances`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisBalances;

/// Makes the projection on a Redis server, as in `redis://127.0.0.1`.
///
/// # Errors
/// The server is not reached.
pub async fn redis_balances(url: &str) -> Result<Projection<Redis, RedisBalances>, StoreError> {
    let store = Redis::connect(url).await?;
    Ok(Projection::new(NAME, Query::category(CATEGORY), store, RedisBalances))
}

impl Handler<RedisModel> for RedisBalances {
    async fn apply(
        &self,
        model: &mut RedisModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let decoded = AccountEvent::decode(event)?;
        let (Some(name), Some(decoded)) = (AccountName::of_stream(&event.stream), decoded) else {
            return Ok(());
        };
        let mut add = redis::cmd("HINCRBY");
        add.arg(model.key("balances")).arg(name.to_string()).arg(decoded.change());
        model.run(add);
        Ok(())
    }
}

impl RedisBalances {
    /// Returns the balances of all accounts.
    ///
    /// # Errors
    /// The server is not reached, or the projection never began.
    pub async fn list(store: &Redis, url: &str) -> anyhow::Result<BTreeMap<String, i64>> {
        let prefix = store.prefix(NAME).await?;
        let prefix = prefix.ok_or_else(|| anyhow::anyhow!("the projection never began"))?;
        Ok(read(url, &format!("{prefix}balances")).await?)
    }
}

async fn read(url: &str, key: &str) -> Result<BTreeMap<String, i64>, RedisError> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("HGETALL").arg(key).query_async(&mut connection).await
}
