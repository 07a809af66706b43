//! The parts that tests without a server share: events as if they were recorded, and differences that can be read.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};

use quorate_client::{Event, RecordedEvent, StreamName, Timestamp};

use crate::evolution::EventSet;

/// The time of the first event of a scenario: the beginning of 2026.
pub(crate) const BEGINNING: Timestamp = Timestamp(1_767_225_600_000_000);
/// The time between two events of a scenario.
const PACE_MICROS: i64 = 1_000_000;

/// Events as if they were recorded one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<RecordedEvent>,
    versions: HashMap<StreamName, u64>,
}

impl Log {
    /// Records an event. Returns it.
    pub(crate) fn record(&mut self, stream: &str, event: Event) -> &RecordedEvent {
        let stream = StreamName::new(stream).unwrap_or_else(|error| panic!("`{stream}`: {error}"));
        let version = self.versions.entry(stream.clone()).or_default();
        *version += 1;
        let count = self.events.len() as u64;
        let time = Timestamp(BEGINNING.0 + count as i64 * PACE_MICROS);
        self.events.push(event.recorded(count + 1, stream, *version, time));
        &self.events[count as usize]
    }
}

/// Writes an event as it is written for a store.
#[track_caller]
pub(crate) fn written<E: EventSet>(event: &E) -> Event {
    event.encode().unwrap_or_else(|error| panic!("an event cannot be written: {error}"))
}

/// Describes an event in words and lines, without its id, so that two can be compared and read.
pub(crate) fn in_words(event: &Event) -> String {
    // The name of the stream does not matter: it is only a way to an event's fields.
    let stream = StreamName::new("none").expect("a name");
    let event = event.clone().recorded(1, stream, 1, BEGINNING);
    let mut text = format!("{} (schema {})", event.kind, event.schema);
    if !event.tags.is_empty() {
        let tags: Vec<&str> = event.tags.iter().map(|tag| tag.as_str()).collect();
        // Writing into a string does not fail.
        let _ = write!(text, " {tags:?}");
    }
    match serde_json::from_slice::<serde_json::Value>(&event.data) {
        Ok(json) => {
            let _ = write!(text, " {json:#}");
        }
        Err(_) => {
            let _ = write!(text, " {:?}", event.data);
        }
    }
    text
}

/// Fails a test if two texts differ, and shows where.
///
/// # Panics
/// If they differ.
#[track_caller]
pub(crate) fn assert_same(what: &str, expected: &str, actual: &str) {
    assert!(expected == actual, "{what}\n{}", difference(expected, actual));
}

/// Fails a test if two values differ, and shows where.
///
/// # Panics
/// If they differ.
#[track_caller]
pub(crate) fn assert_equal<T: Debug + PartialEq>(what: &str, expected: &T, actual: &T) {
    let shown = |value: &T| format!("{value:#?}");
    let (wanted, got) = (shown(expected), shown(actual));
    assert!(expected == actual, "{what}\n{}", difference(&wanted, &got));
}

/// Returns the lines of two texts: `-` before those that were expected, `+` before those that are there, and the common
/// ones as they are.
pub(crate) fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    // `common[i][j]` is the number of lines that `old[i..]` and `new[j..]` have in common, in order.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::from("  (- expected, + actual)\n"));
    while i < old.len() || j < new.len() {
        let (sign, line) = if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            (' ', old[i - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        };
        let _ = writeln!(text, "{sign} {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_is_missing_and_what_is_too_much() {
        let text = difference("a\nb\nc\nd", "a\nx\nc\nd\ne");
        assert_eq!(text, "  (- expected, + actual)\n  a\n- b\n+ x\n  c\n  d\n+ e\n");
        assert_eq!(difference("", "x"), "  (- expected, + actual)\n+ x\n");
    }

    #[test]
    fn an_event_in_words_has_everything_but_its_id() {
        let event = Event::new("Paid", r#"{"total":5}"#).expect("an event").schema(2).tag("a");
        assert_eq!(in_words(&event), "Paid (schema 2) [\"a\"] {\n  \"total\": 5\n}");
        assert_eq!(
            in_words(&Event::new("Png", "\u{1}").expect("an event")),
            "Png (schema 1) b\"\\x01\""
        );
    }
}
