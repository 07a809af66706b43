//! A handler put together from a function for each type of event.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quorate_client::RecordedEvent;
use serde::de::DeserializeOwned;

use super::handler::{Handler, HandlerError};
use crate::evolution::EventSet;

/// The result of a function of [`Handlers`]: `Box::pin(async move { … })`.
pub type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

type Apply<M> = Arc<dyn for<'a> Fn(&'a mut M, &'a RecordedEvent) -> Applying<'a> + Send + Sync>;
type SetUp<M> = Arc<dyn for<'a> Fn(&'a mut M) -> Applying<'a> + Send + Sync>;

/// A [`Handler`] put together from a function for each type of event.
///
/// ```
/// use quorate_app::projection::{Handlers, MemoryModel};
///
/// #[derive(serde::Deserialize)]
/// struct Paid {
///     total: u64,
/// }
///
/// let handlers = Handlers::<MemoryModel<u64>>::new().on("OrderPaid", |sum, _event, paid: Paid| {
///     Box::pin(async move {
///         **sum += paid.total;
///         Ok(())
///     })
/// });
/// # let _ = handlers;
/// ```
pub struct Handlers<M> {
    set_up: Option<SetUp<M>>,
    by_kind: HashMap<String, Apply<M>>,
    otherwise: Option<Apply<M>>,
}

opaque_debug!(Handlers<M>);

impl<M> Default for Handlers<M> {
    fn default() -> Handlers<M> {
        Handlers { set_up: None, by_kind: HashMap::new(), otherwise: None }
    }
}

impl<M: Send + 'static> Handlers<M> {
    /// Makes a handler that skips every event.
    pub fn new() -> Handlers<M> {
        Handlers::default()
    }

    /// Makes the empty model; see [`Handler::set_up`].
    ///
    /// ```
    /// use quorate_app::projection::{Handlers, SqliteModel};
    /// use quorate_app::sqlx;
    ///
    /// let orders = Handlers::<SqliteModel>::new().set_up(|model| {
    ///     Box::pin(async move {
    ///         let create = format!("CREATE TABLE {} (stream TEXT PRIMARY KEY)", model.table("orders"));
    ///         sqlx::query(&create).execute(&mut **model).await?;
    ///         Ok(())
    ///     })
    /// });
    /// # let _ = orders;
    /// ```
    #[must_use]
    pub fn set_up(
        mut self,
        set_up: impl for<'a> Fn(&'a mut M) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        self.set_up = Some(Arc::new(set_up));
        self
    }

    /// Applies the events of a type, their data read as JSON; data that cannot be read is an error of that event.
    #[must_use]
    pub fn on<E: DeserializeOwned + Send + 'static>(
        mut self,
        kind: impl Into<String>,
        apply: impl for<'a> Fn(&'a mut M, &'a RecordedEvent, E) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        let apply: Apply<M> = Arc::new(move |model, event| match event.json::<E>() {
            Ok(data) => apply(model, event, data),
            Err(error) => Box::pin(async move { Err(error.into()) }),
        });
        self.by_kind.insert(kind.into(), apply);
        self
    }

    /// Applies the events of a set, of whatever schema; one that cannot be read is an error of that event. Types that the
    /// set does not have are left to other functions.
    ///
    /// ```
    /// use quorate_app::evolution::JsonEvents;
    /// use quorate_app::projection::{Handlers, MemoryModel};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// enum OrderEvent {
    ///     OrderPlaced { total: u64 },
    ///     OrderClosed {},
    /// }
    ///
    /// impl JsonEvents for OrderEvent {}
    ///
    /// let handlers = Handlers::<MemoryModel<u64>>::new().on_set(|sum, _event, order: OrderEvent| {
    ///     Box::pin(async move {
    ///         if let OrderEvent::OrderPlaced { total } = order {
    ///             **sum += total;
    ///         }
    ///         Ok(())
    ///     })
    /// });
    /// # let _ = handlers;
    /// ```
    #[must_use]
    pub fn on_set<E: EventSet + Send + 'static>(
        mut self,
        apply: impl for<'a> Fn(&'a mut M, &'a RecordedEvent, E) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        let apply: Apply<M> = Arc::new(move |model, event| match E::decode(event) {
            Ok(Some(decoded)) => apply(model, event, decoded),
            Ok(None) => Box::pin(async { Ok(()) }),
            Err(error) => Box::pin(async move { Err(error.into()) }),
        });
        for kind in E::types() {
            self.by_kind.insert(kind.to_owned(), Arc::clone(&apply));
        }
        self
    }

    /// Applies the events of all other types, which are skipped by default.
    ///
    /// ```
    /// use quorate_app::projection::{Handlers, MemoryModel};
    /// let strangers = Handlers::<MemoryModel<Vec<String>>>::new()
    ///     .on("OrderPlaced", |_, _, _: u64| Box::pin(async { Ok(()) }))
    ///     .otherwise(|kinds, event| {
    ///         kinds.push(event.kind.to_string());
    ///         Box::pin(async { Ok(()) })
    ///     });
    /// # let _ = strangers;
    /// ```
    #[must_use]
    pub fn otherwise(
        mut self,
        apply: impl for<'a> Fn(&'a mut M, &'a RecordedEvent) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        self.otherwise = Some(Arc::new(apply));
        self
    }
}

impl<M: Send + 'static> Handler<M> for Handlers<M> {
    async fn set_up(&self, model: &mut M) -> Result<(), HandlerError> {
        match &self.set_up {
            Some(set_up) => set_up(model).await,
            None => Ok(()),
        }
    }

    async fn apply(&self, model: &mut M, event: &RecordedEvent) -> Result<(), HandlerError> {
        match self.by_kind.get(event.kind.as_str()).or(self.otherwise.as_ref()) {
            Some(apply) => apply(model, event).await,
            None => Ok(()),
        }
    }
}
