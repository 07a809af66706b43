//! Tests of upcasts: given an event as it was once written, it is read as that.

use quorate_client::{Event, RecordedEvent};

use super::set::EventSet;
use crate::scenario::{Log, assert_same, in_words, written};

/// Begins a test with an event as it was once written.
///
/// ```
/// use quorate_app::evolution::{JsonEvents, Upcast, given};
/// use quorate_client::Event;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum OrderEvent {
///     OrderPlaced { total: u64, currency: String },
/// }
///
/// impl JsonEvents for OrderEvent {
///     const UPCASTS: &'static [Upcast] = &[Upcast::data("OrderPlaced", 1, |mut json| {
///         json["currency"] = "EUR".into();
///         json
///     })];
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let placed = OrderEvent::OrderPlaced { total: 50, currency: "EUR".into() };
/// given(Event::new("OrderPlaced", r#"{"total":50}"#)?).then_event(&placed);
/// given(Event::new("OrderPlaced", "{}")?).then_error::<OrderEvent>("missing field `total`");
/// given(Event::new("OrderShipped", "{}")?).then_unknown::<OrderEvent>();
/// # Ok(()) }
/// ```
pub fn given(event: Event) -> Given {
    Given { event: Log::default().record("scenario-1", event).clone() }
}

/// An event as it was once written, in a test.
///
/// ```
/// use quorate_app::evolution::{JsonEvents, given};
/// use quorate_client::Event;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum OrderEvent {
///     OrderPaid { amount: u64 },
/// }
///
/// impl JsonEvents for OrderEvent {}
///
/// let paid = given(Event::new("OrderPaid", r#"{"amount":50,"by":"card"}"#)?);
/// paid.then_event(&OrderEvent::OrderPaid { amount: 50 });
/// # Ok::<(), quorate_client::Invalid>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read before `then_…`"]
pub struct Given {
    event: RecordedEvent,
}

impl Given {
    /// Checks that the event is read as this one.
    #[track_caller]
    pub fn then_event<E: EventSet>(self, expected: &E) {
        let actual = match E::decode(&self.event) {
            Ok(Some(actual)) => in_words(&written(&actual)),
            Ok(None) => panic!("the set has no event of type `{}`", self.event.kind),
            Err(error) => panic!("{error}"),
        };
        assert_same("it is read otherwise than expected", &in_words(&written(expected)), &actual);
    }

    /// Checks that the set has no such type.
    #[track_caller]
    pub fn then_unknown<E: EventSet>(self) {
        if let Some(actual) = E::decode(&self.event).unwrap_or_else(|error| panic!("{error}")) {
            panic!("the set has such a type, and reads {}", in_words(&written(&actual)));
        }
    }

    /// Checks that the event cannot be read, with a message that contains this.
    #[track_caller]
    pub fn then_error<E: EventSet>(self, message: &str) {
        match E::decode(&self.event) {
            Err(error) => assert!(error.to_string().contains(message), "another error: {error}"),
            Ok(Some(actual)) => panic!("it can be read, as {}", in_words(&written(&actual))),
            Ok(None) => panic!("the set has no event of type `{}`", self.event.kind),
        }
    }
}
