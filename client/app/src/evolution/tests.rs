//! Tests of sets of events: both ways, old schemas and names, and what is none of a set.

use quorate_client::{Event, RecordedEvent, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    OrderPlaced {
        total: u64,
    },
    #[serde(rename = "OrderPaid")]
    Paid(Vec<u8>),
    OrderMoved(u8, String),
    OrderClosed,
}

fn recorded(event: Event) -> RecordedEvent {
    let stream = StreamName::new("order-42").expect("a name");
    event.recorded(17, stream, 3, Timestamp(0))
}

#[test]
fn what_was_made_of_a_variant_is_read_as_that_variant() {
    for event in [
        OrderEvent::OrderPlaced { total: u64::MAX },
        OrderEvent::Paid(vec![1, 2]),
        OrderEvent::OrderMoved(7, "x\"y".to_owned()),
        OrderEvent::OrderClosed,
    ] {
        let made = recorded(Event::typed(&event).expect("an event"));
        assert_eq!(typed(&made).expect("readable"), Some(event));
    }
}

#[test]
fn an_event_that_its_variant_cannot_hold_is_named() {
    let event = Event::new("OrderPlaced", r#"{"total":"x"}"#).expect("an event");
    let error = typed::<OrderEvent>(&recorded(event)).expect_err("no number").to_string();
    let named = "the data of `order-42` version 3 (position 17, type `OrderPlaced`)";
    assert!(error.starts_with(named), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Evolved {
    Placed {
        total: u64,
        currency: String,
        lines: u8,
    },
    Paid {},
    #[serde(alias = "Left")]
    Gone,
}

impl JsonEvents for Evolved {
    const UPCASTS: &'static [Upcast] = &[
        Upcast::data("Placed", 1, |json| serde_json::json!({ "total": json })),
        Upcast::data("Placed", 2, |mut json| {
            json["currency"] = "EUR".into();
            json
        }),
        Upcast::data("Placed", 3, |mut json| {
            json["lines"] = 1.into();
            json
        }),
        Upcast::rename("Ordered", "Placed"),
        Upcast::rename("Bought", "Ordered"),
        Upcast::data("Settled", 1, |_| serde_json::json!({})),
        Upcast::rename("Settled", "Paid"),
    ];

    fn tags(&self) -> Vec<String> {
        vec!["evolved".to_owned()]
    }
}

fn placed(currency: &str, lines: u8) -> Option<Evolved> {
    Some(Evolved::Placed { total: 50, currency: currency.to_owned(), lines })
}

#[test]
fn old_events_are_read_in_their_newest_form_under_whatever_name_they_were_written() {
    let cases = [
        ("Placed", 1, "50", placed("EUR", 1)),
        ("Placed", 2, r#"{"total":50}"#, placed("EUR", 1)),
        ("Placed", 3, r#"{"total":50,"currency":"USD"}"#, placed("USD", 1)),
        ("Placed", 4, r#"{"total":50,"currency":"USD","lines":2}"#, placed("USD", 2)),
        ("Ordered", 1, "50", placed("EUR", 1)),
        ("Bought", 3, r#"{"total":50,"currency":"USD"}"#, placed("USD", 1)),
        ("Settled", 1, "17", Some(Evolved::Paid {})),
        ("Settled", 2, "{}", Some(Evolved::Paid {})),
        ("Paid", 2, "{}", Some(Evolved::Paid {})),
        ("Left", 1, "{}", Some(Evolved::Gone)),
        ("Shipped", 1, "no JSON", None),
        ("Shipped", 9, "{}", None),
    ];
    for (kind, schema, data, expected) in cases {
        let event = recorded(Event::new(kind, data).expect("an event").schema(schema));
        let decoded = Evolved::decode(&event);
        assert_eq!(decoded.expect("readable"), expected, "{kind} {schema} {data}");
    }
}

#[test]
fn an_event_is_written_in_the_newest_schema_of_its_type_with_its_tags() {
    for (event, schema) in
        [(placed("EUR", 1), 4), (Some(Evolved::Paid {}), 2), (Some(Evolved::Gone), 1)]
    {
        let event = event.expect("an event");
        let written = recorded(event.encode().expect("an event"));
        assert_eq!((written.schema, written.has_tag("evolved")), (schema, true), "{event:?}");
        assert_eq!(Evolved::decode(&written).expect("readable"), Some(event));
    }
}

#[test]
fn an_event_that_cannot_be_brought_up_to_date_is_an_error() {
    for (kind, schema, data, why) in [
        ("Placed", 5, "{}", "it is of schema 5, and this program knows schemas up to 4"),
        ("Settled", 3, "{}", "it is of schema 3, and this program knows schemas up to 2"),
        ("Paid", 1, "{}", "no upcast leads from its schema 1 to the newest, 2"),
        ("Placed", 2, "{", "its data is no JSON"),
        ("Placed", 3, "{}", "missing field `total`"),
    ] {
        let event = recorded(Event::new(kind, data).expect("an event").schema(schema));
        let error = Evolved::decode(&event).expect_err(kind).to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_set_names_its_types_and_their_old_names() {
    let types = Evolved::types();
    for kind in ["Placed", "Paid", "Gone", "Left", "Ordered", "Bought", "Settled"] {
        assert!(types.contains(&kind), "{kind}: {types:?}");
    }
    assert_eq!(types.len(), 7);
    assert_eq!(OrRaw::<Evolved>::types(), types);
}

#[test]
fn what_no_set_knows_is_an_error_or_passed_over_or_raw() {
    let event = recorded(Event::new("Shipped", "{}").expect("an event"));
    let error = decode_known::<Evolved>(&event, OnUnknown::Error).expect_err("unknown").to_string();
    assert!(error.contains("type `Shipped`) cannot be read: no event"), "{error}");
    assert_eq!(decode_known::<Evolved>(&event, OnUnknown::Skip).expect("skipped"), None);
    let raw = decode_known::<OrRaw<Evolved>>(&event, OnUnknown::Error).expect("raw");
    assert_eq!(raw, Some(OrRaw::Raw(Box::new(event))));
}

#[test]
fn names_in_a_circle_end() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Turning {
        One,
        Two,
    }
    impl JsonEvents for Turning {
        const UPCASTS: &'static [Upcast] =
            &[Upcast::rename("One", "Two"), Upcast::rename("Two", "One")];
    }
    let event = recorded(Event::new("One", "{}").expect("an event"));
    assert!(Turning::decode(&event).expect("readable").is_some());
    assert_eq!(recorded(Turning::Two.encode().expect("an event")).schema, 1);
}
