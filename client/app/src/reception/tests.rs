//! Tests of the reception of commands, around a service that stands for a repository.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_client::{ErrorKind, Event, Outcome, Problem, RecordedEvent, StreamName, Timestamp};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::decider::{CommandError, Context};
use crate::sink::{Sink, SinkError};

type Answer = Result<u64, CommandError<Full>>;

#[derive(Clone, Debug, thiserror::Error)]
#[error("it is full")]
pub(super) struct Full;

/// Returns a service that refuses 0, fails for a moment with 1, and carries out the rest.
pub(super) fn service()
-> impl Service<Envelope<u64>, Response = u64, Error = CommandError<Full>, Future: Send> + Clone + Sync
{
    service_fn(async |envelope: Envelope<u64>| -> Answer {
        match envelope.command {
            0 => Err(CommandError::Refused(Full)),
            1 => {
                let problem =
                    Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, "no leader");
                Err(CommandError::Store(problem))
            }
            command => Ok(command),
        }
    })
}

#[tokio::test]
async fn layers_see_every_command_and_keep_out_what_is_not_permitted() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let note = move |one: &Seen| {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(one.outcome);
    };
    let rule = |envelope: &Envelope<u64>| match &*envelope.id {
        "closed" => Err("it is closed".to_owned()),
        _ => Ok(()),
    };
    let layers = ServiceBuilder::new().layer(Traced::new("test")).layer(Observed::new(note));
    let layered = layers.layer(Authorized::new(rule)).service(service());
    assert_eq!(layered.clone().oneshot(Envelope::new("a", 5)).await.expect("carried out"), 5);
    for (id, command, message) in [
        ("a", 0, "it is full"),
        ("a", 1, "no leader"),
        ("closed", 5, "not permitted: it is closed"),
    ] {
        let error = layered.clone().oneshot(Envelope::new(id, command)).await.expect_err(id);
        assert!(error.to_string().contains(message), "{error}");
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*seen, ["done", "refused", "store", "forbidden"]);
}

fn command(data: &str) -> RecordedEvent {
    let context = Context::new().created_by("ann").tenant("acme").correlation_id("req-7");
    let event = context.stamp(Event::new("Asked", data.to_owned()).expect("an event"));
    let stream = StreamName::new("inbox-42").expect("a name");
    event.expect("an event").recorded(1, stream, 1, Timestamp(0))
}

#[tokio::test]
async fn an_inbox_retries_what_may_succeed_and_parks_the_rest() {
    let open = |event: &RecordedEvent| Ok(Envelope::new("42", event.json()?));
    let inbox = || Inbox::new(service(), open);
    assert_eq!(inbox().deliver(&command("5")).await, Ok(()));
    let error = inbox().deliver(&command("1")).await.expect_err("no leader");
    assert!(matches!(error, SinkError::Retry { .. }), "{error:?}");
    for poison in ["0", "no number"] {
        let error = inbox().deliver(&command(poison)).await.expect_err(poison);
        assert!(matches!(error, SinkError::Poison { .. }), "{error:?}");
    }
    let settling = inbox().on_refusal(OnRefusal::Settle);
    assert_eq!(settling.deliver(&command("0")).await, Ok(()));
    assert!(settling.deliver(&command("no number")).await.is_err());
}

#[tokio::test]
async fn an_inbox_gives_the_command_the_id_and_the_context_of_its_event() {
    let opened = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&opened);
    let service = service_fn(move |envelope: Envelope<u64>| {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(envelope);
        std::future::ready(Ok::<(), CommandError<Full>>(()))
    });
    let inbox = Inbox::new(service, |event| {
        Ok(Envelope::new("42", event.json()?).context(Context::new().created_by("inbox")))
    });
    let event = command("5");
    inbox.deliver(&event).await.expect("delivered");
    let opened = opened.lock().unwrap_or_else(PoisonError::into_inner).take().expect("called");
    let id = event.id.to_string();
    let context = Context::following(&event).created_by("inbox");
    assert_eq!(opened, Envelope::new("42", 5).command_id(&id).context(context));
    assert_eq!((&*opened.context.tenant, opened.context.causation_id), ("acme", id));
}

#[cfg(feature = "http")]
mod over_http {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use quorate_client::{Position, Version};
    use serde_json::{Value, json};

    use super::*;
    use crate::decider::Handled;

    async fn post(body: &str) -> (StatusCode, Value, String) {
        let service = service_fn(async |envelope: Envelope<u64>| {
            let command_id = envelope.command_id.clone().unwrap_or_default();
            let user = envelope.context.created_by.clone();
            assert_eq!((&*envelope.id, &*command_id, &*user), ("42", "cmd-91", "ann"));
            assert_eq!(envelope.context.correlation_id, "req-7");
            let version = service().oneshot(envelope).await?;
            Ok::<_, CommandError<Full>>(Handled {
                version: Version(version),
                position: Position(17),
                events: 1,
                is_repetition: false,
                state: Arc::new(()),
            })
        });
        let request = Request::post("/42")
            .header("Idempotency-Key", "cmd-91")
            .header("X-Correlation-Id", "req-7")
            .header("X-User", "mallory")
            .extension(Context::new().created_by("ann"))
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = http::commands(service).oneshot(request).await.expect("an answer");
        let position = response.headers().get("quorate-position").cloned();
        let position = position.map(|value| value.to_str().expect("text").to_owned());
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        let body = serde_json::from_slice(&body).expect("JSON");
        (status, body, position.unwrap_or_default())
    }

    #[tokio::test]
    async fn answers_and_errors_are_responses() {
        let (status, body, position) = post("5").await;
        assert_eq!((status, &*position), (StatusCode::OK, "17"));
        let done = json!({ "version": 5, "position": 17, "events": 1, "is_repetition": false });
        assert_eq!(body, done);
        for (sent, status, kind, outcome) in [
            ("0", StatusCode::UNPROCESSABLE_ENTITY, "refused", "not appended"),
            ("1", StatusCode::SERVICE_UNAVAILABLE, "store", "not appended"),
            ("x", StatusCode::BAD_REQUEST, "invalid", "not appended"),
        ] {
            let (actual, body, position) = post(sent).await;
            assert_eq!((actual, &*position), (status, ""), "{body}");
            assert_eq!((&body["title"], &body["outcome"]), (&json!(kind), &json!(outcome)));
        }
    }
}
