//! The read models: orders, customers and sales by day, as projections into SQLite or PostgreSQL.

mod cache;
mod customers;
mod orders;
mod running;
mod sales;
mod sql;

use std::fmt;

use futures_util::future::select_all;
use quorate_app::projection::{Postgres, ProjectionError, Sqlite, State, Store};
use quorate_client::{Client, Query};

use self::cache::Cache;
use self::running::{ReadModel, start};
use self::sql::{Database, SqlModel};
use crate::domain::OrderKey;
use crate::settings::Settings;

pub use customers::CustomerPage;
pub use orders::{OrderFilter, OrderPage, OrderRow};
pub use sales::SalesDay;

/// The reason why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The read model is not there yet.
    #[error(transparent)]
    Behind(#[from] ProjectionError),
    /// The database failed.
    #[error("the database does not answer: {0}")]
    Database(#[from] quorate_app::sqlx::Error),
}

/// The read models, kept up to date as long as this is there.
pub struct Models {
    database: Database,
    cache: Option<Cache>,
    orders: ReadModel,
    customers: ReadModel,
    sales: ReadModel,
}

impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models").finish_non_exhaustive()
    }
}

impl Models {
    /// Begins to keep the read models up to date, and returns when there are any.
    pub async fn start(client: &Client, settings: &Settings) -> anyhow::Result<Models> {
        let cache = match &settings.redis {
            Some(url) => Some(Cache::connect(url).await?),
            None => None,
        };
        let models = match &settings.postgres {
            Some(url) => {
                let store = Postgres::connect(url).await?;
                Models::on(store.clone(), Database::Postgres(store), cache, client)
            }
            None => {
                let store = Sqlite::open(&settings.sqlite).await?;
                Models::on(store.clone(), Database::Sqlite(store), cache, client)
            }
        };
        for one in [&models.orders, &models.customers, &models.sales] {
            one.begun().await;
        }
        Ok(models)
    }

    fn on<S>(store: S, database: Database, cache: Option<Cache>, client: &Client) -> Models
    where
        S: Store<Model: SqlModel> + Clone,
    {
        let orders = Query::category("order");
        let both = orders.clone().or(Query::category("payment"));
        let handler = orders::Orders { cache: cache.clone() };
        Models {
            orders: start(orders::NAME, both, store.clone(), handler, client),
            customers: start(
                customers::NAME,
                orders.clone(),
                store.clone(),
                customers::Customers,
                client,
            ),
            sales: start(sales::NAME, orders, store, sales::Sales, client),
            database,
            cache,
        }
    }

    /// Returns an order as of a position or later; from the cache, if that is new enough.
    pub async fn order(
        &self,
        key: &OrderKey,
        at_least: u64,
    ) -> Result<Option<OrderPage>, QueryError> {
        if let Some(cache) = &self.cache
            && let Some(page) = cache.get(key).await
            && page.order.position >= at_least
        {
            return Ok(Some(page));
        }
        self.orders.reached(at_least).await?;
        let page = orders::find(&self.database, key).await?;
        if let (Some(cache), Some(page)) = (&self.cache, &page) {
            cache.fill(key, page).await;
        }
        Ok(page)
    }

    /// Returns the orders of a tenant that a filter lets through, newest first, as of a position or later.
    pub async fn orders(
        &self,
        tenant: &str,
        filter: &OrderFilter,
        at_least: u64,
    ) -> Result<Vec<OrderRow>, QueryError> {
        self.orders.reached(at_least).await?;
        Ok(orders::list(&self.database, tenant, filter).await?)
    }

    /// Returns what is known of a customer, as of a position or later.
    pub async fn customer(
        &self,
        tenant: &str,
        customer: &str,
        at_least: u64,
    ) -> Result<Option<CustomerPage>, QueryError> {
        self.customers.reached(at_least).await?;
        Ok(customers::find(&self.database, tenant, customer).await?)
    }

    /// Returns the sales of a tenant by day, as of a position or later.
    pub async fn sales(
        &self,
        tenant: &str,
        from: &str,
        to: &str,
        at_least: u64,
    ) -> Result<Vec<SalesDay>, QueryError> {
        self.sales.reached(at_least).await?;
        Ok(sales::list(&self.database, tenant, from, to).await?)
    }

    /// Waits until one of the read models is not kept up to date any more.
    pub async fn ended(&self) -> State {
        let all = [&self.orders, &self.customers, &self.sales];
        let (ended, ..) = select_all(all.map(|one| Box::pin(one.running.ended()))).await;
        ended
    }

    /// Stops the read models, each after its current transaction.
    pub async fn stop(self) -> Result<(), ProjectionError> {
        for one in [self.orders, self.customers, self.sales] {
            one.running.stop().await?;
        }
        Ok(())
    }
}
