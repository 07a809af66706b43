//! Loads: the state of an aggregate, now or at a moment.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use quorate_client::{Position, Timestamp, Version};
use tokio::time::{Instant, timeout_at};

use super::aggregate::Aggregate;
use super::decide::Decider;
use super::error::LoadError;
use super::loading::{Loading, Moment};
use super::repository::{Repository, stream_of};
use super::time::{late, left};
use crate::context::Context;

/// A load before it is awaited.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, LoadError, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError> {
/// let now = orders.load("42").await?;
/// let before = orders.load("42").at_version(now.version.0 - 1).await?;
/// // A state that may be a little older, without a question to the leader.
/// let quick = orders.load("42").tenant("acme").at_least(now.position).await?;
/// # let _ = (before, quick); Ok(()) }
/// ```
#[must_use = "nothing is read before it is awaited"]
pub struct Load<'a, D: Decider> {
    repository: &'a Repository<D>,
    id: String,
    tenant: String,
    moment: Option<Moment>,
    at_least: Position,
}

opaque_debug_decider!(Load<'_>);

/// The state of an aggregate, and the point of its history that it belongs to.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, LoadError, Repository};
/// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError> where D::State: std::fmt::Debug {
/// let order = orders.load("42").await?;
/// match order.version.0 {
///     0 => println!("there is no order 42 as of position {}", order.position),
///     version => println!("{:?}, made of {version} events", order.state),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Loaded<S> {
    /// The state; the default if nothing has happened.
    pub state: Arc<S>,
    /// The version of the stream that made the state; 0 = nothing has happened.
    pub version: Version,
    /// The position up to which the load saw all events.
    pub position: Position,
}

impl<S> Loaded<S> {
    pub(crate) fn of(aggregate: &Aggregate<S>) -> Loaded<S> {
        let Aggregate { state, version, as_of, .. } = aggregate;
        Loaded { state: Arc::clone(state), version: *version, position: *as_of }
    }
}

impl<D: Decider> Repository<D> {
    /// Loads the state of an aggregate. Nothing is read before the returned value is awaited.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, LoadError, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError> where D::State: std::fmt::Debug {
    /// let order = orders.load("42").await?;
    /// println!("{:?} at version {}", order.state, order.version);
    /// # Ok(()) }
    /// ```
    pub fn load(&self, id: impl Into<String>) -> Load<'_, D> {
        Load::new(self, id.into(), self.tenant.clone())
    }
}

impl<'a, D: Decider> Load<'a, D> {
    fn new(repository: &'a Repository<D>, id: String, tenant: String) -> Load<'a, D> {
        Load { repository, id, tenant, moment: None, at_least: Position::ZERO }
    }

    /// Loads the state as it was at a version of the stream.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, LoadError, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), LoadError> {
    /// let before = orders.load("42").at_version(3).await?;
    /// # let _ = before; Ok(()) }
    /// ```
    pub fn at_version(mut self, version: impl Into<Version>) -> Load<'a, D> {
        self.moment = Some(Moment::Version(version.into()));
        self
    }

    /// Loads the state as it was at a time: made of the events that were recorded until then.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), Box<dyn std::error::Error>> {
    /// let newyear = quorate_client::Timestamp::parse("2026-01-01T00:00:00Z")?;
    /// let then = orders.load("42").until(newyear).await?;
    /// # let _ = then; Ok(()) }
    /// ```
    pub fn until(mut self, time: Timestamp) -> Load<'a, D> {
        self.moment = Some(Moment::Time(time));
        self
    }

    /// Loads a state that holds at least everything up to a position, of an answer for example, without asking the
    /// leader. By default a load sees everything that was acknowledged before.
    pub fn at_least(mut self, position: impl Into<Position>) -> Load<'a, D> {
        self.at_least = position.into();
        self
    }

    /// Loads an aggregate of this tenant.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Load<'a, D> {
        self.tenant = tenant.into();
        self
    }

    /// Loads an aggregate of the tenant in this context, if it names one.
    pub fn context(mut self, context: &Context) -> Load<'a, D> {
        if !context.tenant.is_empty() {
            self.tenant.clone_from(&context.tenant);
        }
        self
    }

    async fn run(self) -> Result<Loaded<D::State>, LoadError> {
        let stream = stream_of::<D>(&self.tenant, &self.id)?;
        let give_up_at = Instant::now() + self.repository.settings.deadline;
        let client = self.repository.client.with_deadline(left(give_up_at));
        let loading = self.repository.loading(&client, &stream);
        let loading = async {
            match self.moment {
                Some(moment) => Ok(Loaded::of(&loading.at::<D>(moment, self.at_least).await?)),
                None => self.newest(&loading).await,
            }
        };
        timeout_at(give_up_at, loading).await.map_err(|_| late("load"))?
    }

    /// Loads the newest state, which is also the newest for the cache.
    async fn newest(&self, loading: &Loading<'_, D::State>) -> Result<Loaded<D::State>, LoadError> {
        let (repository, stream) = (self.repository, loading.stream);
        let Some(place) = repository.cache.place(stream) else {
            return Ok(Loaded::of(&loading.newest::<D>(self.at_least).await?));
        };
        let mut held = place.lock().await;
        let mut aggregate = match held.take() {
            Some(known) if self.is_enough(&known) => known,
            Some(known) => loading.refresh::<D>(known).await?,
            None => loading.newest::<D>(self.at_least).await?,
        };
        repository.offer_snapshot(stream, &mut aggregate);
        Ok(Loaded::of(held.insert(aggregate)))
    }

    fn is_enough(&self, known: &Aggregate<D::State>) -> bool {
        self.at_least != Position::ZERO && known.as_of >= self.at_least
    }
}

impl<'a, D: Decider> IntoFuture for Load<'a, D> {
    type Output = Result<Loaded<D::State>, LoadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
