//! Tests of a process manager without a store: given these events, when another one occurs, then this follows.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use quorate_client::{Conflict, Event, StreamName, Timestamp};

use crate::process::decide::{self, Decision, Plan};
use crate::process::due::DueTimes;
use crate::process::manager::{Cause, Due, ProcessManager, Trigger, later};
use crate::process::reaction::{Condition, Reaction, Timing, When};
use crate::process::record::Known;
use crate::scenario::{BEGINNING, assert_same, in_words};

/// A process manager in a test: it decides as with a store, about the events that its query finds, and its reactions
/// count as appended.
///
/// Its methods panic if something is not as expected: it is for tests.
///
/// ```
/// use std::time::Duration;
/// use quorate_app::process::{Cause, HandlerError, ProcessManager, Reaction, Scenario, Trigger};
/// use quorate_client::{Event, Expect, Query, RecordedEvent};
///
/// struct Reminder;
///
/// impl ProcessManager for Reminder {
///     type State = ();
///     fn name(&self) -> &str { "reminder" }
///     fn query(&self) -> Query { Query::category("order") }
///     fn instance(&self, event: &RecordedEvent) -> Option<String> { Some(event.stream.to_string()) }
///     fn react(&self, _: &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
///         Ok(match &trigger.cause {
///             Cause::Event(_) => Reaction::new().schedule_after("remind", Duration::from_secs(60)),
///             Cause::Due(_) => {
///                 let reminded = Event::json("Reminded", &1)?;
///                 Reaction::new().append(trigger.instance, Expect::Exists, [reminded])
///             }
///         })
///     }
/// }
///
/// let reminded = Event::json("Reminded", &1).unwrap();
/// Scenario::of(Reminder)
///     .given("order-1", Event::json("Placed", &7).unwrap())
///     .when_passed(Duration::from_secs(59))
///     .then_nothing()
///     .when_passed(Duration::from_secs(1))
///     .then(Reaction::new().append("order-1", Expect::Exists, [reminded]));
/// ```
pub struct Scenario<M> {
    manager: M,
    instances: HashMap<String, Known>,
    due: DueTimes,
    versions: HashMap<String, u64>,
    position: u64,
    now: Timestamp,
    reactions: Vec<Reaction>,
    /// True if the next reaction is refused.
    refuses: bool,
}

opaque_debug!(Scenario<M>);

impl<M: ProcessManager> Scenario<M> {
    /// Makes a scenario in which nothing has happened yet; the time is the beginning of 2026.
    pub fn of(manager: M) -> Scenario<M> {
        Scenario {
            manager,
            instances: HashMap::new(),
            due: DueTimes::default(),
            versions: HashMap::new(),
            position: 0,
            now: BEGINNING,
            reactions: Vec::new(),
            refuses: false,
        }
    }

    /// Adds an earlier event, to which the manager has reacted. Its query must find the event: in a store, the manager
    /// would not see it otherwise.
    #[must_use]
    #[track_caller]
    pub fn given(mut self, stream: &str, event: Event) -> Scenario<M> {
        let kind = event.kind().clone();
        let is_found = self.happens(stream, event);
        let query = self.manager.query();
        assert!(is_found, "the query does not find the given `{kind}` in `{stream}`: {query}");
        self
    }

    /// Adds an earlier event that the manager's query must not find.
    #[must_use]
    #[track_caller]
    pub fn given_unseen(mut self, stream: &str, event: Event) -> Scenario<M> {
        let kind = event.kind().clone();
        let is_found = self.happens(stream, event);
        let query = self.manager.query();
        assert!(
            !is_found,
            "the query finds the `{kind}` in `{stream}`, which it must not: {query}"
        );
        self
    }

    /// Adds an event that occurs now.
    #[must_use]
    pub fn when(mut self, stream: &str, event: Event) -> Scenario<M> {
        self.reactions.clear();
        self.happens(stream, event);
        self
    }

    /// Adds an event that occurs now, and refuses the first reaction to it, as the store does where an expectation on
    /// another stream or a condition is not met: the handler is called again, with the conflict.
    ///
    /// ```
    /// use quorate_app::process::{HandlerError, ProcessManager, Reaction, Scenario, Trigger};
    /// use quorate_client::{Event, Expect, Query, RecordedEvent};
    ///
    /// /// Books a seat, or puts the passenger on the list of those who wait.
    /// struct Booking;
    ///
    /// impl ProcessManager for Booking {
    ///     type State = ();
    ///     fn name(&self) -> &str { "booking" }
    ///     fn query(&self) -> Query { Query::category("request") }
    ///     fn instance(&self, event: &RecordedEvent) -> Option<String> { Some(event.stream.to_string()) }
    ///     fn react(&self, _: &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
    ///         let stream = if trigger.conflict.is_some() { "list-7" } else { "seat-7" };
    ///         let expect = if trigger.conflict.is_some() { Expect::Any } else { Expect::None };
    ///         Ok(Reaction::new().append(stream, expect, [Event::json("Booked", &1)?]))
    ///     }
    /// }
    ///
    /// let (requested, booked) = (Event::json("Requested", &1).unwrap(), Event::json("Booked", &1).unwrap());
    /// Scenario::of(Booking)
    ///     .when_refused("request-1", requested)
    ///     .then(Reaction::new().append("list-7", Expect::Any, [booked]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn when_refused(mut self, stream: &str, event: Event) -> Scenario<M> {
        self.reactions.clear();
        self.refuses = true;
        self.happens(stream, event);
        assert!(!self.refuses, "nothing follows from the event that could be refused");
        self
    }

    /// Lets time pass; due times that are reached fire.
    #[must_use]
    pub fn when_passed(mut self, time: Duration) -> Scenario<M> {
        self.reactions.clear();
        let end = later(self.now, time);
        while let Some((instance, key)) = self.due.due_by(end) {
            let known = self.instances.get(&instance).expect("it has something due");
            let (_, it) = known.outstanding().find(|(one, _)| **one == key).expect("it is due");
            let due = Due { key, at: it.at.0, payload: it.payload.clone(), since: it.since };
            self.now = self.now.max(due.at);
            self.asks(&instance, Cause::Due(due));
        }
        self.now = end;
        self
    }

    /// Checks that exactly this follows from the last step. Ids are not compared: the manager gives them.
    #[track_caller]
    pub fn then(self, expected: Reaction) -> Scenario<M> {
        let described: Vec<String> = self.reactions.iter().map(describe).collect();
        let what = "what follows is not what was expected";
        assert_same(what, &describe(&expected), &described.join("and then\n"));
        self
    }

    /// Checks that nothing follows from the last step.
    #[track_caller]
    pub fn then_nothing(self) -> Scenario<M> {
        let described: Vec<String> = self.reactions.iter().map(describe).collect();
        assert_same("nothing was expected to follow", "", &described.join("and then\n"));
        self
    }

    /// Checks the state of an instance.
    #[track_caller]
    pub fn then_state(self, instance: &str, expected: &M::State) -> Scenario<M> {
        let json = |state: &M::State| match serde_json::to_value(state) {
            Ok(json) => format!("{json:#}"),
            Err(error) => panic!("the state of `{instance}` cannot be written: {error}"),
        };
        let actual = json(&self.state(instance));
        assert_same(
            &format!("the state of `{instance}` is not as expected"),
            &json(expected),
            &actual,
        );
        self
    }

    /// Returns the state of an instance; the default if it has none yet.
    pub fn state(&self, instance: &str) -> M::State {
        let record = self.instances.get(instance).and_then(|known| known.record.as_ref());
        record.map_or_else(M::State::default, |record| {
            serde_json::from_str(record.state.get()).expect("a state that was written can be read")
        })
    }

    /// Lets an event occur. Returns true if the query finds it.
    #[track_caller]
    fn happens(&mut self, stream: &str, event: Event) -> bool {
        let name = StreamName::new(stream).unwrap_or_else(|error| panic!("`{stream}`: {error}"));
        let version = self.versions.entry(stream.to_owned()).or_default();
        *version += 1;
        self.position += 1;
        let query = self.manager.query();
        let is_found = query.matches(&name, &event);
        let is_found = is_found.unwrap_or_else(|invalid| panic!("the query: {invalid}"));
        let event = event.recorded(self.position, name, *version, self.now);
        // As with a store, the manager does not see events that its query does not find.
        if is_found && let Some(instance) = self.manager.instance(&event) {
            self.asks(&instance, Cause::Event(event));
        }
        is_found
    }

    fn asks(&mut self, instance: &str, cause: Cause) {
        let mut trigger = Trigger { instance, cause, time: self.now, conflict: None };
        let known = self.instances.entry(instance.to_owned()).or_default();
        let decide = |trigger: &Trigger<'_>| {
            let decided = decide::decide(&self.manager, known, trigger, self.position);
            decided.unwrap_or_else(|error| panic!("{}: {error}", trigger.cause.describe()))
        };
        let Some(mut decided) = decide(&trigger) else { return };
        if std::mem::take(&mut self.refuses) {
            trigger.conflict = Some(conflict_of(&decided.plan));
            let Some(again) = decide(&trigger) else { return };
            decided = again;
        }
        let Decision { plan, reaction } = decided;
        self.position += 1;
        *known = Known {
            version: known.version + 1,
            position: self.position,
            id: Some(plan.record_id),
            context: plan.context,
            record: Some(plan.record),
            is_closed: false,
        };
        self.due.observe(instance, known);
        if !reaction.is_nothing() {
            self.reactions.push(reaction);
        }
    }
}

/// Returns the conflict of a plan that is refused because of another stream than the instance's own.
fn conflict_of(plan: &Plan) -> Conflict {
    let writes = &plan.commit.writes;
    let refused = writes.get(1).or(writes.first()).expect("a plan has the record");
    Conflict {
        stream: StreamName::new(&refused.stream).unwrap_or_else(|error| panic!("{error}")),
        expected: refused.expect,
        actual: None,
        failures: Vec::new(),
        violations: Vec::new(),
    }
}

/// Describes a reaction in words, so that a failing test can be read.
fn describe(reaction: &Reaction) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    for write in &reaction.writes {
        let _ = writeln!(text, "append to `{}` expecting {}:", write.stream, write.expect);
        for event in &write.events {
            let _ = writeln!(text, "  {}", in_words(event).replace('\n', "\n  "));
        }
    }
    for (stream, expect) in &reaction.requirements {
        let _ = writeln!(text, "require `{stream}` to be at {expect}");
    }
    for Condition { query, after } in &reaction.conditions {
        let _ = writeln!(text, "unless after position {after} there is {query}");
    }
    for timing in &reaction.timings {
        let _ = match timing {
            Timing::Cancel { key } => writeln!(text, "cancel `{key}`"),
            Timing::Schedule { key, when: When::At(time), payload } => {
                writeln!(text, "schedule `{key}` at {time} with {payload}")
            }
            Timing::Schedule { key, when: When::After(delay), payload } => {
                writeln!(text, "schedule `{key}` after {delay:?} with {payload}")
            }
        };
    }
    if reaction.completes {
        text.push_str("complete\n");
    }
    if let Some(fault) = &reaction.fault {
        let _ = writeln!(text, "fault: {fault}");
    }
    text
}

#[cfg(test)]
mod tests {
    use quorate_client::Expect;

    use super::*;
    use crate::process::tests::shop::{Shop, paid, placed};

    /// `instance` of the shop would accept an order that was placed, but this query does not find that event.
    #[test]
    fn what_the_query_does_not_find_concerns_nobody() {
        struct Payments;

        impl ProcessManager for Payments {
            type State = <Shop as ProcessManager>::State;

            fn name(&self) -> &str {
                Shop.name()
            }

            fn query(&self) -> quorate_client::Query {
                Shop.query().types(["Paid"])
            }

            fn instance(&self, event: &quorate_client::RecordedEvent) -> Option<String> {
                Shop.instance(event)
            }

            fn react(
                &self,
                order: &mut Self::State,
                trigger: &Trigger<'_>,
            ) -> Result<Reaction, crate::process::HandlerError> {
                Shop.react(order, trigger)
            }
        }

        let asked = Event::json("Asked", &0).expect("an event");
        let asked = Reaction::new().append("shipping-1", Expect::None, [asked]).complete();
        Scenario::of(Payments)
            .given_unseen("order-2", placed(10))
            .when("order-1", placed(10))
            .then_nothing()
            .when("order-1", paid())
            .then(asked);
        let given = || Scenario::of(Payments).given("order-1", placed(10)).then_nothing();
        assert!(std::panic::catch_unwind(given).is_err(), "in a store it would not be seen");
    }

    #[test]
    fn the_state_is_as_it_was_left() {
        let order = crate::process::tests::shop::Order { total: 10, touched: 1 };
        Scenario::of(Shop).given("order-1", placed(10)).then_state("1", &order);
    }
}
