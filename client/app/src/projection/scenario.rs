//! Tests of a projection without a store: given these events, the model is that.

use std::fmt::Debug;
use std::future::Future;

use futures_util::FutureExt;
use quorate_client::{Event, Query};

use super::handler::{Handler, HandlerError};
use super::store::MemoryModel;
use crate::evolution::EventSet;
use crate::scenario::{Log, assert_equal, written};

/// A projection in a test: its handler makes a model in memory of the events that its query finds.
///
/// A handler that is generic over its model, or that is written for a model in memory, is tested so; one that speaks SQL
/// is tested on a database, with the events of a [`Script`](super::Script). Its methods panic if something is not as
/// expected: it is for tests.
///
/// ```
/// use quorate_app::evolution::JsonEvents;
/// use quorate_app::projection::{Handlers, MemoryModel, Scenario};
/// use quorate_client::Query;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum OrderEvent {
///     OrderPlaced { total: u64 },
/// }
///
/// impl JsonEvents for OrderEvent {}
///
/// let handlers = Handlers::<MemoryModel<u64>>::new().on_set(|sum, _event, order: OrderEvent| {
///     Box::pin(async move {
///         let OrderEvent::OrderPlaced { total } = order;
///         **sum += total;
///         Ok(())
///     })
/// });
/// let placed = |total| OrderEvent::OrderPlaced { total };
/// Scenario::of(Query::category("order"), handlers)
///     .given("order-1", [placed(50)])
///     .given_unseen("cart-1", [placed(7)])
///     .when("order-2", [placed(30)])
///     .then_model(&80);
/// ```
pub struct Scenario<T, H> {
    query: Query,
    handler: H,
    log: Log,
    model: MemoryModel<T>,
    /// The error at which the last events ended.
    failed: Option<HandlerError>,
}

opaque_debug!(Scenario<T, H>);

impl<T: Default, H: Handler<MemoryModel<T>>> Scenario<T, H> {
    /// Makes a scenario with the empty model, as the handler sets it up.
    #[track_caller]
    pub fn of(query: Query, handler: H) -> Scenario<T, H> {
        let mut model = MemoryModel::detached(T::default());
        let set_up = at_once(handler.set_up(&mut model));
        set_up.unwrap_or_else(|error| panic!("the model is not set up: {error}"));
        Scenario { query, handler, log: Log::default(), model, failed: None }
    }

    /// Adds earlier events of a stream, which the query must find, and which are applied.
    #[must_use]
    #[track_caller]
    pub fn given<E: EventSet>(
        self,
        stream: &str,
        events: impl IntoIterator<Item = E>,
    ) -> Scenario<T, H> {
        self.given_written(stream, events.into_iter().map(|event| written(&event)))
    }

    /// Adds earlier events in the form in which they were once written, which the query must find.
    #[must_use]
    #[track_caller]
    pub fn given_written(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = Event>,
    ) -> Scenario<T, H> {
        for event in events {
            let kind = event.kind().clone();
            let is_found = self.happens(stream, event);
            let query = &self.query;
            assert!(is_found, "the query does not find the given `{kind}` in `{stream}`: {query}");
            if let Some(error) = self.failed.take() {
                panic!("the given `{kind}` in `{stream}` cannot be applied: {error}");
            }
        }
        self
    }

    /// Adds events of a stream that the query must not find.
    #[must_use]
    #[track_caller]
    pub fn given_unseen<E: EventSet>(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = E>,
    ) -> Scenario<T, H> {
        for event in events {
            let event = written(&event);
            let kind = event.kind().clone();
            let is_found = self.happens(stream, event);
            let query = &self.query;
            assert!(!is_found, "the query finds the `{kind}` in `{stream}`: {query}");
        }
        self
    }

    /// Applies the events of a stream, as far as the query finds them, up to the first that fails.
    #[must_use]
    #[track_caller]
    pub fn when<E: EventSet>(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = E>,
    ) -> Scenario<T, H> {
        self.failed = None;
        for event in events {
            if self.failed.is_none() {
                self.happens(stream, written(&event));
            }
        }
        self
    }

    /// Checks the model.
    #[track_caller]
    pub fn then_model(self, expected: &T) -> Scenario<T, H>
    where
        T: Debug + PartialEq,
    {
        if let Some(error) = &self.failed {
            panic!("an event cannot be applied: {error}");
        }
        assert_equal("the model is not as expected", expected, &*self.model);
        self
    }

    /// Checks that the last events ended at one that cannot be applied, with this message.
    #[track_caller]
    pub fn then_error(self, message: &str) -> Scenario<T, H> {
        match &self.failed {
            Some(error) => assert_eq!(error.to_string(), message, "it failed otherwise"),
            None => panic!("an error was expected, and all events were applied"),
        }
        self
    }

    /// Returns the model.
    pub fn model(&self) -> &T {
        &self.model
    }

    /// Lets an event occur. Returns true if the query finds it.
    #[track_caller]
    fn happens(&mut self, stream: &str, event: Event) -> bool {
        let event = self.log.record(stream, event);
        let found = self.query.matches(&event.stream, &event.event.clone().into());
        let is_found = found.unwrap_or_else(|invalid| panic!("the query: {invalid}"));
        if is_found {
            self.failed = at_once(self.handler.apply(&mut self.model, event)).err();
        }
        is_found
    }
}

#[track_caller]
fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("a handler of a model in memory waits for nothing")
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::evolution::{JsonEvents, Upcast};
    use crate::projection::Handlers;

    #[derive(Serialize, Deserialize)]
    enum Counted {
        Counted { by: u8 },
    }

    impl JsonEvents for Counted {
        const UPCASTS: &'static [Upcast] =
            &[Upcast::data("Counted", 1, |json| serde_json::json!({ "by": json }))];
    }

    fn sums() -> Scenario<u8, Handlers<MemoryModel<u8>>> {
        let handlers = Handlers::new().on_set(|sum: &mut MemoryModel<u8>, _, counted: Counted| {
            let Counted::Counted { by } = counted;
            Box::pin(async move {
                **sum = sum.checked_add(by).ok_or("too much")?;
                Ok(())
            })
        });
        Scenario::of(Query::category("count").types(["Counted"]), handlers)
    }

    #[test]
    fn a_model_is_made_of_what_the_query_finds_in_whatever_schema() {
        let counted = |by| Counted::Counted { by };
        sums()
            .given("count-1", [counted(1), counted(2)])
            .given_written("count-2", [Event::new("Counted", "4").expect("an event")])
            .given_unseen("other-1", [counted(100)])
            .when("count-1", [counted(8)])
            .then_model(&15)
            .when("count-1", [counted(200), counted(200), counted(1)])
            .then_error("too much");
    }

    #[test]
    #[should_panic(expected = "the query does not find the given `Counted` in `other-1`")]
    fn an_event_that_the_query_does_not_find_cannot_be_given() {
        let _ = sums().given("other-1", [Counted::Counted { by: 1 }]);
    }
}
