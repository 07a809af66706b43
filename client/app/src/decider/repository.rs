//! The repository: aggregates by their ids, loaded from the store and changed by commands.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, Invalid, StreamName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aggregate::Aggregate;
use super::cache::Cache;
use super::decide::Decider;
use super::loading::Loading;
use super::snapshots::Snapshots;
use crate::evolution::OnUnknown;

/// The default number of aggregates in the cache.
const CACHED_DEFAULT: usize = 1_024;
/// The default number of times that a command is decided anew after a conflict.
const RETRIES_DEFAULT: u32 = 10;

/// The aggregates of one kind, each in a stream of its own: `order-42`, or `acme/order-42` for a tenant.
///
/// Cheap to clone; clones share the cache.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, Repository};
/// # use quorate_app::evolution::JsonEvents;
/// # #[derive(serde::Serialize, serde::Deserialize)] enum OrderEvent { Paid { total: u64 } }
/// # impl JsonEvents for OrderEvent {}
/// # #[derive(Clone, Default, serde::Serialize, serde::Deserialize)] struct Order { paid: u64 }
/// # struct Pay { total: u64 }
/// # impl Decider for Order {
/// #     const CATEGORY: &'static str = "order";
/// #     type State = Order; type Command = Pay; type Event = OrderEvent; type Error = std::fmt::Error;
/// #     fn evolve(order: &mut Order, OrderEvent::Paid { total }: OrderEvent) { order.paid += total; }
/// #     fn decide(_: &Order, pay: &Pay) -> Result<Vec<OrderEvent>, std::fmt::Error> {
/// #         Ok(vec![OrderEvent::Paid { total: pay.total }])
/// #     }
/// # }
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = Repository::<Order>::new(client).snapshots(100, 1);
/// let done = orders.handle("42", &Pay { total: 50 }).command_id("cmd-91").created_by("ann").await?;
/// println!("version {}, position {}, paid {}", done.version, done.position, done.state.paid);
///
/// let order = orders.load("42").await?;
/// println!("version {}: paid {}", order.version, order.state.paid);
/// # Ok(()) }
/// ```
pub struct Repository<D: Decider> {
    pub(crate) client: Client,
    pub(crate) settings: Settings<D::State>,
    pub(crate) cache: Arc<Cache<D::State>>,
    pub(crate) tenant: String,
}

opaque_debug_decider!(Repository);

/// The settings of a repository.
pub(crate) struct Settings<S> {
    pub(crate) snapshots: Option<Snapshots<S>>,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) retries: u32,
    pub(crate) deadline: Duration,
}

impl<S> Clone for Settings<S> {
    fn clone(&self) -> Settings<S> {
        Settings { snapshots: self.snapshots.clone(), ..*self }
    }
}

impl<D: Decider> Clone for Repository<D> {
    fn clone(&self) -> Repository<D> {
        Repository {
            client: self.client.clone(),
            settings: self.settings.clone(),
            cache: Arc::clone(&self.cache),
            tenant: self.tenant.clone(),
        }
    }
}

impl<D: Decider> Repository<D> {
    /// Makes a repository without snapshots, with a cache of 1,024 aggregates.
    pub fn new(client: Client) -> Repository<D> {
        let settings = Settings {
            snapshots: None,
            on_unknown: OnUnknown::Error,
            retries: RETRIES_DEFAULT,
            deadline: Duration::from_secs(10),
        };
        let cache = Arc::new(Cache::new(CACHED_DEFAULT));
        Repository { client, settings, cache, tenant: String::new() }
    }

    /// Keeps a snapshot of an aggregate after every so many events, as JSON, in a schema of the application.
    ///
    /// A snapshot is written beside the answer, which does not wait for it. One of another schema, or that cannot be
    /// read, is passed over: the events are read instead.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # fn example<D: Decider>(client: quorate_client::Client) -> Repository<D>
    /// # where D::State: serde::Serialize + serde::de::DeserializeOwned {
    /// // A snapshot after every hundred events; the shape of the state is of schema 2.
    /// Repository::<D>::new(client).snapshots(100, 2)
    /// # }
    /// ```
    #[must_use]
    pub fn snapshots(self, every: u64, schema: u32) -> Repository<D>
    where
        D::State: Serialize + DeserializeOwned,
    {
        self.with_snapshots(Snapshots::json(schema).every(every))
    }

    /// Keeps snapshots as told.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Snapshots<D::State>) -> Repository<D> {
        self.settings.snapshots = Some(snapshots);
        self
    }

    /// Sets the number of aggregates in memory, 1,024 by default; 0 = none.
    ///
    /// The cache stays correct while other processes write: what is decided on an old state conflicts in the store and
    /// is decided again, and a refusal counts only after the stream was read.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # fn example<D: Decider>(client: quorate_client::Client) -> Repository<D> {
    /// // As many orders are in work at once.
    /// Repository::<D>::new(client).cache(20_000)
    /// # }
    /// ```
    #[must_use]
    pub fn cache(mut self, aggregates: usize) -> Repository<D> {
        self.cache = Arc::new(Cache::new(aggregates));
        self
    }

    /// Sets the number of times that a command is decided anew, on fresh state, after another writer was faster; 10 by
    /// default.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Repository<D> {
        self.settings.retries = retries;
        self
    }

    /// Sets the time within which a command or a load ends, 10 s by default.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Repository<D> {
        self.settings.deadline = deadline;
        self
    }

    /// Sets the action on an event in a stream that is none of the decider's; by default it is an error.
    #[must_use]
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Repository<D> {
        self.settings.on_unknown = on_unknown;
        self
    }

    /// Returns the repository of a tenant, whose streams lie in the path of that name: `acme/order-42`.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # fn example<D: Decider>(orders: Repository<D>) {
    /// let orders = orders.of_tenant("acme");
    /// assert_eq!(orders.stream("42").map(|stream| stream.to_string()), Ok("acme/order-42".into()));
    /// # }
    /// ```
    #[must_use]
    pub fn of_tenant(&self, tenant: impl Into<String>) -> Repository<D> {
        Repository { tenant: tenant.into(), ..self.clone() }
    }

    /// Returns the name of an aggregate's stream.
    pub fn stream(&self, id: impl AsRef<str>) -> Result<StreamName, Invalid> {
        stream_of::<D>(&self.tenant, id.as_ref())
    }

    pub(crate) fn loading<'a>(
        &'a self,
        client: &'a Client,
        stream: &'a StreamName,
    ) -> Loading<'a, D::State> {
        let snapshots = self.settings.snapshots.as_ref();
        Loading { client, stream, snapshots, on_unknown: self.settings.on_unknown }
    }

    pub(crate) fn offer_snapshot(&self, stream: &StreamName, aggregate: &mut Aggregate<D::State>) {
        if let Some(snapshots) = &self.settings.snapshots {
            snapshots.offer(&self.client, stream, aggregate);
        }
    }
}

/// Returns the name of an aggregate's stream. A tenant's aggregate has no other path: so no id leads out of it.
pub(crate) fn stream_of<D: Decider>(tenant: &str, id: &str) -> Result<StreamName, Invalid> {
    if id.is_empty() || id.contains('/') {
        return Err(Invalid::new(
            "id of the aggregate",
            format!("`{id}` is empty, or contains a `/`"),
        ));
    }
    match tenant {
        "" => StreamName::new(format!("{}-{id}", D::CATEGORY)),
        tenant => StreamName::new(format!("{tenant}/{}-{id}", D::CATEGORY)),
    }
}
