//! Tests of decisions without a store: given these events in these streams, when this is decided, then this is written.

use std::fmt::{Debug, Write as _};

use quorate_client::{Event, RecordedEvent};

use super::rule::Decision;
use super::writes::Writes;
use crate::evolution::{EventSet, OnUnknown, decode_known};
use crate::scenario::{Log, assert_equal, assert_same, in_words, written};

/// Begins a test of decisions with earlier events of a stream; see [`Scenario`].
///
/// ```
/// # use quorate_app::decision::{Decision, Writes};
/// # use quorate_app::evolution::JsonEvents;
/// # use quorate_client::{Query, RecordedEvent};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Booking { SeatBooked { seat: String } }
/// # impl JsonEvents for Booking {}
/// # struct Book { flight: u32, seat: String }
/// # #[derive(Debug, thiserror::Error)] #[error("taken")] struct Taken;
/// # impl Decision for Book {
/// #     const NAME: &'static str = "book";
/// #     type State = Vec<String>; type Event = Booking; type Error = Taken;
/// #     fn query(&self) -> Query { Query::stream(format!("flight-{}", self.flight)) }
/// #     fn evolve(&self, taken: &mut Vec<String>, booked: Booking, _: &RecordedEvent) {
/// #         let Booking::SeatBooked { seat } = booked;
/// #         taken.push(seat);
/// #     }
/// #     fn decide(&self, taken: &Vec<String>) -> Result<Writes<Booking>, Taken> {
/// #         if taken.contains(&self.seat) { return Err(Taken) }
/// #         let booked = Booking::SeatBooked { seat: self.seat.clone() };
/// #         Ok(Writes::to(format!("flight-{}", self.flight), [booked]))
/// #     }
/// # }
/// use quorate_app::decision::given;
/// given("flight-7", [Booking::SeatBooked { seat: "12A".into() }])
///     .when(&Book { flight: 7, seat: "12A".into() })
///     .then_error(&Taken);
/// ```
#[track_caller]
pub fn given<E: EventSet>(stream: &str, events: impl IntoIterator<Item = E>) -> Scenario {
    given_nothing().given(stream, events)
}

/// Begins a test of decisions in an empty log; see [`Scenario`].
///
/// ```
/// # use quorate_app::decision::{Decision, Writes};
/// # use quorate_app::evolution::JsonEvents;
/// # use quorate_client::{Query, RecordedEvent};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Booking { SeatBooked { seat: String } }
/// # impl JsonEvents for Booking {}
/// # struct Book { flight: u32, seat: String }
/// # #[derive(Debug, thiserror::Error)] #[error("taken")] struct Taken;
/// # impl Decision for Book {
/// #     const NAME: &'static str = "book";
/// #     type State = Vec<String>; type Event = Booking; type Error = Taken;
/// #     fn query(&self) -> Query { Query::stream(format!("flight-{}", self.flight)) }
/// #     fn evolve(&self, taken: &mut Vec<String>, booked: Booking, _: &RecordedEvent) {
/// #         let Booking::SeatBooked { seat } = booked;
/// #         taken.push(seat);
/// #     }
/// #     fn decide(&self, taken: &Vec<String>) -> Result<Writes<Booking>, Taken> {
/// #         if taken.contains(&self.seat) { return Err(Taken) }
/// #         let booked = Booking::SeatBooked { seat: self.seat.clone() };
/// #         Ok(Writes::to(format!("flight-{}", self.flight), [booked]))
/// #     }
/// # }
/// use quorate_app::decision::given_nothing;
/// given_nothing()
///     .when(&Book { flight: 7, seat: "12A".into() })
///     .then_writes(Writes::to("flight-7", [Booking::SeatBooked { seat: "12A".into() }]));
/// ```
pub fn given_nothing() -> Scenario {
    Scenario { log: Log::default(), unseen: Vec::new() }
}

/// A log in a test, on which decisions are made as with a store.
///
/// Each given event must be found by the query of the decision: a rule that rests on an event that its query does not
/// find is broken in a store. Events that it must not find are given as [unseen](Scenario::given_unseen).
///
/// Its methods panic if something is not as expected: it is for tests.
///
/// ```
/// # use quorate_app::decision::{Decision, Writes};
/// # use quorate_app::evolution::JsonEvents;
/// # use quorate_client::{Query, RecordedEvent};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Booking { SeatBooked { seat: String } }
/// # impl JsonEvents for Booking {}
/// # struct Book { flight: u32, seat: String }
/// # #[derive(Debug, thiserror::Error)] #[error("taken")] struct Taken;
/// # impl Decision for Book {
/// #     const NAME: &'static str = "book";
/// #     type State = Vec<String>; type Event = Booking; type Error = Taken;
/// #     fn query(&self) -> Query { Query::stream(format!("flight-{}", self.flight)) }
/// #     fn evolve(&self, taken: &mut Vec<String>, Booking::SeatBooked { seat }: Booking, _: &RecordedEvent) { taken.push(seat) }
/// #     fn decide(&self, taken: &Vec<String>) -> Result<Writes<Booking>, Taken> {
/// #         if taken.contains(&self.seat) { return Err(Taken) }
/// #         let booked = Booking::SeatBooked { seat: self.seat.clone() };
/// #         Ok(Writes::to(format!("flight-{}", self.flight), [booked]))
/// #     }
/// # }
/// use quorate_app::decision::given;
/// let booked = || Booking::SeatBooked { seat: "12A".into() };
///
/// given("flight-7", [booked()])
///     .given_unseen("flight-8", [Booking::SeatBooked { seat: "12B".into() }])
///     .when(&Book { flight: 7, seat: "12A".into() })
///     .then_error(&Taken);
/// given("flight-7", [booked()])
///     .when(&Book { flight: 7, seat: "12B".into() })
///     .then_writes(Writes::to("flight-7", [Booking::SeatBooked { seat: "12B".into() }]));
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is decided before `when`"]
pub struct Scenario {
    log: Log,
    /// The positions of the events that the query must not find.
    unseen: Vec<u64>,
}

/// A decision that was made in a test, and the log to which its events belong.
///
/// ```
/// # use quorate_app::decision::{Decision, Writes};
/// # use quorate_app::evolution::JsonEvents;
/// # use quorate_client::{Query, RecordedEvent};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Booking { SeatBooked { seat: String } }
/// # impl JsonEvents for Booking {}
/// # struct Book { flight: u32, seat: String }
/// # #[derive(Debug, thiserror::Error)] #[error("taken")] struct Taken;
/// # impl Decision for Book {
/// #     const NAME: &'static str = "book";
/// #     type State = Vec<String>; type Event = Booking; type Error = Taken;
/// #     fn query(&self) -> Query { Query::stream(format!("flight-{}", self.flight)) }
/// #     fn evolve(&self, taken: &mut Vec<String>, booked: Booking, _: &RecordedEvent) {
/// #         let Booking::SeatBooked { seat } = booked;
/// #         taken.push(seat);
/// #     }
/// #     fn decide(&self, taken: &Vec<String>) -> Result<Writes<Booking>, Taken> {
/// #         if taken.contains(&self.seat) { return Err(Taken) }
/// #         let booked = Booking::SeatBooked { seat: self.seat.clone() };
/// #         Ok(Writes::to(format!("flight-{}", self.flight), [booked]))
/// #     }
/// # }
/// use quorate_app::decision::given_nothing;
/// let book = Book { flight: 7, seat: "12A".into() };
/// // What is written belongs to the log of the next decision.
/// given_nothing().when(&book).then_state(&Vec::new()).and().when(&book).then_error(&Taken);
/// ```
pub struct Outcome<D: Decision> {
    scenario: Scenario,
    state: D::State,
    decided: Result<Writes<D::Event>, D::Error>,
}

impl<D: Decision> Debug for Outcome<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome").finish_non_exhaustive()
    }
}

impl Scenario {
    /// Adds earlier events of a stream, which the decision's query must find.
    #[track_caller]
    pub fn given<E: EventSet>(self, stream: &str, events: impl IntoIterator<Item = E>) -> Scenario {
        self.given_written(stream, events.into_iter().map(|event| written(&event)))
    }

    /// Adds earlier events in the form in which they were once written.
    pub fn given_written(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = Event>,
    ) -> Scenario {
        for event in events {
            self.log.record(stream, event);
        }
        self
    }

    /// Adds earlier events of a stream, which the decision's query must not find.
    #[track_caller]
    pub fn given_unseen<E: EventSet>(
        mut self,
        stream: &str,
        events: impl IntoIterator<Item = E>,
    ) -> Scenario {
        for event in events {
            let position = self.log.record(stream, written(&event)).position;
            self.unseen.push(position.0);
        }
        self
    }

    /// Decides, on the events that the query finds.
    #[track_caller]
    pub fn when<D: Decision>(self, decision: &D) -> Outcome<D> {
        let mut state = D::State::default();
        for event in &self.log.events {
            if self.is_selected::<D>(decision, event) {
                let decoded = decode_known::<D::Event>(event, OnUnknown::Error);
                if let Some(decoded) = decoded.unwrap_or_else(|error| panic!("{error}")) {
                    decision.evolve(&mut state, decoded, event);
                }
            }
        }
        let decided = decision.decide(&state);
        Outcome { scenario: self, state, decided }
    }

    /// Returns true if the query finds an event, which must be as the test says.
    #[track_caller]
    fn is_selected<D: Decision>(&self, decision: &D, event: &RecordedEvent) -> bool {
        let query = decision.query();
        let found = query.matches(&event.stream, &event.event.clone().into());
        let found = found.unwrap_or_else(|invalid| panic!("the query: {invalid}"));
        let is_unseen = self.unseen.contains(&event.position.0);
        let (kind, stream) = (&event.kind, &event.stream);
        assert!(
            found || is_unseen,
            "the query of `{}` does not find the given `{kind}` in `{stream}`: {query}",
            D::NAME
        );
        assert!(
            !found || !is_unseen,
            "the query of `{}` finds the `{kind}` in `{stream}`, which it must not: {query}",
            D::NAME
        );
        found
    }
}

impl<D: Decision> Outcome<D> {
    /// Checks that exactly this is written.
    #[track_caller]
    pub fn then_writes(self, expected: Writes<D::Event>) -> Outcome<D> {
        match &self.decided {
            Ok(actual) => {
                let what = "something else is written than was expected";
                assert_same(what, &writes_in_words(&expected), &writes_in_words(actual));
            }
            Err(error) => panic!("writes were expected, and the decision was refused: {error}"),
        }
        self
    }

    /// Checks that nothing is written, and the decision was not refused.
    #[track_caller]
    pub fn then_nothing(self) -> Outcome<D> {
        self.then_writes(Writes::nothing())
    }

    /// Checks that the decision was refused with this error, by its `Debug` form.
    #[track_caller]
    pub fn then_error(self, expected: &D::Error) -> Outcome<D> {
        match &self.decided {
            Err(error) => {
                let (expected, actual) = (format!("{expected:#?}"), format!("{error:#?}"));
                assert_same("it was refused otherwise than expected", &expected, &actual);
            }
            Ok(writes) => {
                let writes = writes_in_words(writes);
                panic!("a refusal was expected, and this follows:\n{writes}")
            }
        }
        self
    }

    /// Checks the state on which it was decided.
    #[track_caller]
    pub fn then_state(self, expected: &D::State) -> Outcome<D>
    where
        D::State: Debug + PartialEq,
    {
        assert_equal("the state is not as expected", expected, &self.state);
        self
    }

    /// Goes on with the log to which the decision was appended. An event that the decision made must be found by the
    /// next one, as a given one must.
    #[track_caller]
    pub fn and(self) -> Scenario {
        let Outcome { scenario, decided, .. } = self;
        let writes = decided.map_or_else(|_| Vec::new(), |decided| decided.writes);
        writes
            .into_iter()
            .fold(scenario, |scenario, write| scenario.given(&write.stream.clone(), write.events))
    }
}

fn writes_in_words<E: EventSet>(writes: &Writes<E>) -> String {
    let mut text = String::new();
    for write in &writes.writes {
        // Writing into a string does not fail.
        let _ = writeln!(text, "to `{}` expecting {}:", write.stream, write.expect);
        for event in &write.events {
            let _ = writeln!(text, "{}", in_words(&written(event)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use quorate_client::Query;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::evolution::JsonEvents;

    #[derive(Debug, Serialize, Deserialize)]
    enum Booking {
        Booked(u8),
        Freed(u8),
    }

    impl JsonEvents for Booking {}

    struct Book(u8);

    #[derive(Debug, thiserror::Error)]
    #[error("taken")]
    struct Taken;

    impl Decision for Book {
        const NAME: &'static str = "book";
        type State = Vec<u8>;
        type Event = Booking;
        type Error = Taken;

        fn query(&self) -> Query {
            Query::category("flight").types(["Booked"])
        }

        fn evolve(&self, taken: &mut Vec<u8>, event: Booking, _: &RecordedEvent) {
            match event {
                Booking::Booked(seat) => taken.push(seat),
                Booking::Freed(seat) => taken.retain(|one| *one != seat),
            }
        }

        fn decide(&self, taken: &Vec<u8>) -> Result<Writes<Booking>, Taken> {
            match taken.contains(&self.0) {
                true => Err(Taken),
                false => Ok(Writes::to("flight-7", [Booking::Booked(self.0)])),
            }
        }
    }

    #[test]
    fn a_decision_rests_on_what_its_query_finds_and_on_earlier_decisions() {
        given("flight-7", [Booking::Booked(1)])
            .given_unseen("train-1", [Booking::Booked(2)])
            .when(&Book(2))
            .then_state(&vec![1])
            .then_writes(Writes::to("flight-7", [Booking::Booked(2)]))
            .and()
            .when(&Book(2))
            .then_state(&vec![1, 2])
            .then_error(&Taken);
    }

    /// The rule would free the seat, but in a store it never sees the event.
    #[test]
    #[should_panic(expected = "the query of `book` does not find the given `Freed` in `flight-7`")]
    fn an_event_that_the_query_does_not_find_cannot_be_given() {
        given("flight-7", [Booking::Booked(1), Booking::Freed(1)]).when(&Book(1)).then_nothing();
    }

    #[test]
    #[should_panic(expected = "finds the `Booked` in `flight-7`, which it must not")]
    fn an_event_that_the_query_finds_cannot_be_unseen() {
        given_nothing()
            .given_unseen("flight-7", [Booking::Booked(1)])
            .when(&Book(1))
            .then_nothing();
    }

    #[test]
    #[should_panic(expected = "- to `flight-8` expecting any:\n+ to `flight-7` expecting any:")]
    fn other_writes_than_expected_are_shown() {
        let expected = Writes::to("flight-8", [Booking::Booked(1)]);
        given_nothing().when(&Book(1)).then_writes(expected);
    }

    #[test]
    #[should_panic(expected = "a refusal was expected, and this follows:\nto `flight-7`")]
    fn a_write_is_no_refusal() {
        given_nothing().when(&Book(1)).then_error(&Taken);
    }
}
