//! Handlers of types: an enum whose variants are event types, and a function for each type.

use quorate_app::projection::{Handlers, Memory, MemoryModel, ProjectionError, typed};
use quorate_client::{Event, RecordedEvent, StreamName, Timestamp};
use serde::Deserialize;

use super::harness::{finish, projection, run};
use super::script::Script;

/// Returns an event of a type with this JSON as data.
fn event(kind: &str, data: &str) -> RecordedEvent {
    let stream = StreamName::new("order-1").expect("a name");
    let event = Event::new(kind, data.to_owned()).expect("an event");
    event.recorded(1, stream, 1, Timestamp(1))
}

#[derive(Debug, PartialEq, Deserialize)]
enum OrderEvent {
    OrderPlaced {
        total: u64,
        #[serde(default)]
        note: Option<String>,
    },
    #[serde(rename = "OrderPaid", alias = "Paid")]
    Payment(Payment),
    Moved(u8, u8),
    OrderClosed,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Payment {
    amount: u64,
}

#[test]
fn an_event_is_read_as_the_variant_that_is_named_like_its_type() {
    let placed =
        |note: Option<&str>| OrderEvent::OrderPlaced { total: 5, note: note.map(Into::into) };
    for (kind, data, expected) in [
        ("OrderPlaced", r#"{"total":5}"#, placed(None)),
        ("OrderPlaced", r#" {"note":"new","other":1,"total":5} "#, placed(Some("new"))),
        ("OrderPaid", r#"{"amount":7}"#, OrderEvent::Payment(Payment { amount: 7 })),
        ("Paid", r#"{"amount":7}"#, OrderEvent::Payment(Payment { amount: 7 })),
        ("Moved", "[1,2]", OrderEvent::Moved(1, 2)),
        ("OrderClosed", "", OrderEvent::OrderClosed),
        ("OrderClosed", r#"{"by":"nobody"}"#, OrderEvent::OrderClosed),
    ] {
        let read = typed::<OrderEvent>(&event(kind, data));
        assert_eq!(read.expect(kind), Some(expected), "{kind} {data}");
    }
}

#[test]
fn a_type_without_a_variant_is_passed_over_and_data_that_does_not_fit_is_an_error() {
    assert_eq!(typed::<OrderEvent>(&event("OrderSent", "{}")).expect("no error"), None);
    for (kind, data) in [
        ("OrderPlaced", "{}"),
        ("OrderPlaced", ""),
        ("OrderPlaced", r#"{"total":5} {"total":6}"#),
        ("OrderPaid", r#"{"amount":"much"}"#),
        ("Moved", "[1]"),
    ] {
        typed::<OrderEvent>(&event(kind, data)).expect_err(data);
    }
}

#[test]
fn functions_by_type_make_a_model() {
    run(async {
        let script = Script::new();
        script.fill(14);
        let sum = Handlers::<MemoryModel<u64>>::new()
            .set_up(|sum| {
                Box::pin(async move {
                    **sum = 1_000;
                    Ok(())
                })
            })
            .on("Counted", |sum, _event, version: u64| {
                Box::pin(async move {
                    **sum += version;
                    Ok(())
                })
            });
        let store = Memory::new();
        finish(projection(store.clone(), "sum", sum).start(script.clone()), &script).await;
        // There are seven streams of two events: 7 × (1 + 2).
        assert_eq!(store.state("sum").as_deref(), Some(&1_021));

        let others = Handlers::<MemoryModel<u64>>::new().otherwise(|count, _event| {
            Box::pin(async move {
                **count += 1;
                Ok(())
            })
        });
        finish(projection(store.clone(), "others", others).start(script.clone()), &script).await;
        assert_eq!(store.state("others").as_deref(), Some(&14));

        let wrong = Handlers::<MemoryModel<u64>>::new()
            .on("Counted", |_, _, _: String| Box::pin(async { Ok(()) }));
        let wrong = projection(store, "wrong", wrong).start(script).wait().await;
        let error = wrong.expect_err("the data is no text");
        assert!(matches!(error, ProjectionError::Handler { position: 1, .. }), "{error}");
    });
}
