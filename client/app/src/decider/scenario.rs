//! Tests of a decider without a store: given these events, when this command comes, then these events follow.

use std::fmt::Debug;

use quorate_client::{Event, Version};

use super::aggregate::Aggregate;
use super::decide::Decider;
use crate::evolution::OnUnknown;
use crate::scenario::{Log, assert_equal, assert_same, in_words, written};

/// Begins a test of a decider with earlier events of its aggregate; see [`Scenario`].
///
/// ```
/// # use quorate_app::decider::Decider;
/// # use quorate_app::evolution::JsonEvents;
/// # #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// # enum OrderEvent { OrderPlaced { total: u64 }, OrderPaid { amount: u64 } }
/// # impl JsonEvents for OrderEvent {}
/// # enum OrderCommand { Pay { amount: u64 } }
/// # #[derive(Debug, PartialEq, thiserror::Error)]
/// # enum Refusal { #[error("{0} is more than is due")] TooMuch(u64) }
/// # #[derive(Clone, Debug, Default, PartialEq)]
/// # struct Order { due: u64 }
/// # impl Decider for Order {
/// #     const CATEGORY: &'static str = "order";
/// #     type State = Order; type Command = OrderCommand; type Event = OrderEvent; type Error = Refusal;
/// #     fn evolve(order: &mut Order, event: OrderEvent) {
/// #         match event {
/// #             OrderEvent::OrderPlaced { total } => order.due = total,
/// #             OrderEvent::OrderPaid { amount } => order.due -= amount,
/// #         }
/// #     }
/// #     fn decide(order: &Order, command: &OrderCommand) -> Result<Vec<OrderEvent>, Refusal> {
/// #         let OrderCommand::Pay { amount } = *command;
/// #         if amount > order.due { return Err(Refusal::TooMuch(amount)); }
/// #         Ok(vec![OrderEvent::OrderPaid { amount }])
/// #     }
/// # }
/// use quorate_app::decider::given;
/// given::<Order>([OrderEvent::OrderPlaced { total: 50 }])
///     .when(&OrderCommand::Pay { amount: 60 })
///     .then_error(&Refusal::TooMuch(60));
/// ```
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Scenario<D> {
    let scenario =
        Scenario { log: Log::default(), aggregate: Aggregate::new(), decided: Ok(Vec::new()) };
    scenario.given(events)
}

/// A decider in a test. Events are written and read as with a store, so the test covers their form as well.
///
/// Its methods panic if something is not as expected: it is for tests.
///
/// ```
/// # use quorate_app::decider::Decider;
/// # use quorate_app::evolution::JsonEvents;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum OrderEvent { OrderPlaced { total: u64 }, OrderPaid { amount: u64 } }
/// # impl JsonEvents for OrderEvent {}
/// # enum OrderCommand { Pay { amount: u64 } }
/// # #[derive(Debug, thiserror::Error)]
/// # enum Refusal { #[error("{0} is more than is due")] TooMuch(u64) }
/// # #[derive(Clone, Debug, Default, PartialEq)]
/// # struct Order { due: u64 }
/// # impl Decider for Order {
/// #     const CATEGORY: &'static str = "order";
/// #     type State = Order; type Command = OrderCommand; type Event = OrderEvent; type Error = Refusal;
/// #     fn evolve(order: &mut Order, event: OrderEvent) {
/// #         match event {
/// #             OrderEvent::OrderPlaced { total } => order.due = total,
/// #             OrderEvent::OrderPaid { amount } => order.due -= amount,
/// #         }
/// #     }
/// #     fn decide(order: &Order, &OrderCommand::Pay { amount }: &OrderCommand) -> Result<Vec<OrderEvent>, Refusal> {
/// #         if amount > order.due { return Err(Refusal::TooMuch(amount)) }
/// #         Ok(vec![OrderEvent::OrderPaid { amount }])
/// #     }
/// # }
/// use quorate_app::decider::given;
///
/// given::<Order>([OrderEvent::OrderPlaced { total: 50 }])
///     .when(&OrderCommand::Pay { amount: 30 })
///     .then_events([OrderEvent::OrderPaid { amount: 30 }])
///     .then_state(&Order { due: 20 })
///     .when(&OrderCommand::Pay { amount: 30 })
///     .then_error(&Refusal::TooMuch(30));
/// ```
pub struct Scenario<D: Decider> {
    log: Log,
    aggregate: Aggregate<D::State>,
    /// The outcome of the last command.
    decided: Result<Vec<Event>, D::Error>,
}

opaque_debug_decider!(Scenario);

impl<D: Decider> Scenario<D> {
    /// Adds earlier events.
    #[must_use]
    #[track_caller]
    pub fn given(self, events: impl IntoIterator<Item = D::Event>) -> Scenario<D> {
        self.given_written(events.into_iter().map(|event| written(&event)))
    }

    /// Adds earlier events in the form in which they were once written: of an old schema, for example.
    ///
    /// ```
    /// # use quorate_app::decider::{Decider, given};
    /// # use quorate_client::Event;
    /// # fn test<D: Decider>() {
    /// given::<D>([]).given_written([Event::new("OrderPlaced", r#"{"total":50}"#).unwrap()]);
    /// # }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn given_written(mut self, events: impl IntoIterator<Item = Event>) -> Scenario<D> {
        events.into_iter().for_each(|event| self.take(event));
        self.decided = Ok(Vec::new());
        self
    }

    /// Decides on a command. What follows counts as appended.
    #[must_use]
    #[track_caller]
    pub fn when(mut self, command: &D::Command) -> Scenario<D> {
        self.decided = D::decide(&self.aggregate.state, command)
            .map(|events| events.iter().map(written).collect());
        if let Ok(events) = &self.decided {
            events.clone().into_iter().for_each(|event| self.take(event));
        }
        self
    }

    /// Checks that exactly these events follow from the last command.
    #[track_caller]
    pub fn then_events(self, expected: impl IntoIterator<Item = D::Event>) -> Scenario<D> {
        let expected: Vec<String> =
            expected.into_iter().map(|event| in_words(&written(&event))).collect();
        let actual: Vec<String> = match &self.decided {
            Ok(events) => events.iter().map(in_words).collect(),
            Err(error) => panic!("events were expected, and the command was refused: {error}"),
        };
        let what = "other events follow than were expected";
        assert_same(what, &expected.join("\n"), &actual.join("\n"));
        self
    }

    /// Checks that nothing follows from the last command, which was not refused.
    #[track_caller]
    pub fn then_nothing(self) -> Scenario<D> {
        self.then_events([])
    }

    /// Checks that the last command was refused with this error, by its `Debug` form.
    #[track_caller]
    pub fn then_error(self, expected: &D::Error) -> Scenario<D> {
        let actual = format!("{:#?}", self.refusal());
        assert_same("it was refused otherwise than expected", &format!("{expected:#?}"), &actual);
        self
    }

    /// Checks the state after all events.
    #[track_caller]
    pub fn then_state(self, expected: &D::State) -> Scenario<D>
    where
        D::State: Debug + PartialEq,
    {
        assert_equal("the state is not as expected", expected, &*self.aggregate.state);
        self
    }

    /// Returns the state after all events.
    pub fn state(&self) -> &D::State {
        &self.aggregate.state
    }

    /// Returns the error with which the last command was refused.
    #[track_caller]
    pub fn refusal(&self) -> &D::Error {
        match &self.decided {
            Err(error) => error,
            Ok(events) => {
                let events: Vec<String> = events.iter().map(in_words).collect();
                panic!("a refusal was expected, and this follows: {}", events.join("\n"))
            }
        }
    }

    #[track_caller]
    fn take(&mut self, event: Event) {
        let stream = format!("{}-1", D::CATEGORY);
        let event = self.log.record(&stream, event);
        let taken = self.aggregate.take::<D>(event, OnUnknown::Error);
        taken.unwrap_or_else(|error| panic!("{error}"));
        debug_assert_eq!(self.aggregate.version, Version(self.log.events.len() as u64));
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::evolution::{JsonEvents, Upcast};

    #[derive(Debug, Serialize, Deserialize)]
    enum Counted {
        Counted { by: u8 },
    }

    impl JsonEvents for Counted {
        const UPCASTS: &'static [Upcast] =
            &[Upcast::data("Counted", 1, |json| serde_json::json!({ "by": json }))];
    }

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Counter(u8);

    impl Decider for Counter {
        const CATEGORY: &'static str = "counter";
        type State = Counter;
        type Command = u8;
        type Event = Counted;
        type Error = std::num::TryFromIntError;

        fn evolve(counter: &mut Counter, Counted::Counted { by }: Counted) {
            counter.0 += by;
        }

        fn decide(counter: &Counter, by: &u8) -> Result<Vec<Counted>, Self::Error> {
            u8::try_from(u16::from(counter.0) + u16::from(*by))?;
            Ok((*by > 0).then_some(Counted::Counted { by: *by }).into_iter().collect())
        }
    }

    fn refused() -> std::num::TryFromIntError {
        u8::try_from(256).expect_err("too large")
    }

    #[test]
    fn commands_follow_each_other_on_events_of_all_schemas() {
        given::<Counter>([Counted::Counted { by: 1 }])
            .given_written([Event::new("Counted", "200").expect("an event")])
            .then_state(&Counter(201))
            .when(&7)
            .then_events([Counted::Counted { by: 7 }])
            .when(&0)
            .then_nothing()
            .when(&100)
            .then_error(&refused())
            .then_state(&Counter(208));
    }

    #[test]
    #[should_panic(expected = "-   \"by\": 8\n+   \"by\": 7")]
    fn other_events_than_expected_are_shown() {
        given::<Counter>([]).when(&7).then_events([Counted::Counted { by: 8 }]);
    }

    #[test]
    #[should_panic(expected = "the command was refused: out of range")]
    fn a_refusal_is_no_event() {
        given::<Counter>([Counted::Counted { by: 255 }]).when(&7).then_nothing();
    }

    #[test]
    #[should_panic(expected = "a refusal was expected, and this follows: Counted")]
    fn an_event_is_no_refusal() {
        given::<Counter>([]).when(&7).then_error(&refused());
    }

    #[test]
    #[should_panic(expected = "-     9,\n+     7,")]
    fn another_state_than_expected_is_shown() {
        given::<Counter>([]).when(&7).then_state(&Counter(9));
    }
}
