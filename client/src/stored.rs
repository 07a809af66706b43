//! The form in which an append of unknown outcome outlives its process.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use quorate_proto::limits::DEADLINE_MS_MAX;
use quorate_proto::wire::v1::session_append::Request;
use quorate_proto::wire::{append_bytes, message_bytes, message_of, v1};
use quorate_proto::{Append, Change, Invalid, Problem};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use crate::append::{UnknownAppend, Unresolved};

/// The longest time for which an attempt can still be appended: the longest deadline, and a tenth more for clocks.
const SETTLES_IN_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX + DEADLINE_MS_MAX / 10);

#[derive(Serialize, Deserialize)]
struct StoredAppend {
    /// A `SessionAppend` of the protocol, in base64.
    append: String,
    /// A `Problem` of the protocol, in base64.
    problem: String,
    /// The time, after the append was stored, for which an earlier attempt could still be appended. When the append is
    /// restored, this time starts anew: that is later than needed, but requires no clock that two processes share.
    settles_in_ms: u64,
}

impl Serialize for UnknownAppend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unresolved = self.unresolved();
        let append = v1::SessionAppend {
            request: Some(request_of(&unresolved.append)),
            ..v1::SessionAppend::default()
        };
        let problem = v1::Problem::from(unresolved.problem.clone());
        let settles_in = unresolved.settled_at.saturating_duration_since(Instant::now());
        StoredAppend {
            append: BASE64_STANDARD.encode(message_bytes(&append)),
            problem: BASE64_STANDARD.encode(message_bytes(&problem)),
            settles_in_ms: (settles_in.as_millis() as u64).saturating_add(1),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UnknownAppend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UnknownAppend, D::Error> {
        let stored = StoredAppend::deserialize(deserializer)?;
        let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(D::Error::custom);
        let append: v1::SessionAppend =
            message_of(&bytes(&stored.append)?).map_err(D::Error::custom)?;
        let problem: v1::Problem =
            message_of(&bytes(&stored.problem)?).map_err(D::Error::custom)?;
        let settles_in = Duration::from_millis(stored.settles_in_ms).min(SETTLES_IN_MAX);
        let unresolved = Unresolved {
            append: append_of(append).map_err(D::Error::custom)?,
            problem: Problem::try_from(problem).map_err(D::Error::custom)?,
            settled_at: Instant::now() + settles_in,
        };
        Ok(unresolved.into())
    }
}

/// Returns an append's request as sent over the wire: an append that makes a change is sent as that change.
pub(crate) fn request_of(append: &Append) -> Request {
    match Change::of_append(append) {
        Ok(Some(change)) => Request::Change(change.into()),
        Ok(None) | Err(_) => Request::Append(append_bytes(append)),
    }
}

fn append_of(message: v1::SessionAppend) -> Result<Append, Invalid> {
    match message.request {
        Some(Request::Change(change)) => Change::try_from(Some(change))?.to_append(),
        Some(Request::Append(append)) => Append::try_from(Some(message_of(&append)?)),
        None => Err(Invalid::new("append", "is missing")),
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::{ErrorKind, Expectation, Outcome, Scope, StreamName};

    use super::*;
    use crate::event::{Event, new_id};

    fn unknown(append: Append, settles_in: Duration) -> UnknownAppend {
        let problem = Problem::new(ErrorKind::Deadline, Outcome::Unknown, "too late");
        Unresolved { append, problem, settled_at: Instant::now() + settles_in }.into()
    }

    fn restored(unknown: &UnknownAppend) -> UnknownAppend {
        let stored = serde_json::to_vec(unknown).expect("it is written");
        serde_json::from_slice(&stored).expect("it is read")
    }

    #[tokio::test]
    async fn an_append_of_unknown_outcome_outlives_its_process_with_its_ids_and_its_time() {
        let event = Event::new("Paid", "50").expect("an event").tag("customer:7");
        let event = event.try_into().expect("an event that keeps the rules");
        let stream = StreamName::new("order-42").expect("a name");
        let before =
            unknown(Append::to(stream, Expectation::Any, vec![event]), Duration::from_secs(5));
        let after = restored(&before);
        assert_eq!(after.append(), before.append());
        assert_eq!(after.problem(), before.problem());
        let (before, after) = (before.unresolved().settled_at, after.unresolved().settled_at);
        assert!(after >= before, "it must not be thought settled too early");
        assert!(after < before + Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_deletion_of_unknown_outcome_is_stored_as_well() {
        let scope = Scope::Stream(StreamName::new("order-42").expect("a name"));
        let change = Change {
            scope,
            expectation: Expectation::Any,
            id: new_id(),
            kind: quorate_proto::ChangeKind::Delete,
        };
        let before = unknown(change.to_append().expect("an append"), Duration::ZERO);
        assert_eq!(restored(&before).append(), before.append());
    }

    #[tokio::test]
    async fn what_is_no_stored_append_is_refused_and_its_time_is_bounded() {
        for wrong in [
            "{}",
            r#"{"append":"?","problem":"","settles_in_ms":1}"#,
            r#"{"append":"","problem":"","settles_in_ms":1}"#,
        ] {
            assert!(serde_json::from_str::<UnknownAppend>(wrong).is_err(), "{wrong}");
        }
        let event = Event::new("Paid", "50").expect("an event");
        let event = event.try_into().expect("an event that keeps the rules");
        let stream = StreamName::new("order-42").expect("a name");
        let before = unknown(Append::to(stream, Expectation::Any, vec![event]), Duration::ZERO);
        let mut stored = serde_json::to_value(&before).expect("it is written");
        stored["settles_in_ms"] = u64::MAX.into();
        let after: UnknownAppend = serde_json::from_value(stored).expect("it is read");
        assert!(after.unresolved().settled_at <= Instant::now() + SETTLES_IN_MAX);
    }
}
