//! Read models: the balances of all accounts, in SQL and in Redis, each kept up to date by a projection.

mod redis;
mod sql;

pub use redis::{RedisBalances, redis_balances};
pub use sql::{Balance, SqlBalances, sql_balances};
