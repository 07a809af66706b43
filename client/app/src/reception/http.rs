//! Commands over HTTP, with axum: a router, the headers of a command, and answers and errors as responses.
//!
//! ```no_run
//! use axum::Router;
//! use quorate_app::decider::{Decider, Repository};
//! use quorate_app::reception::http;
//!
//! # fn example<D: Decider>(orders: Repository<D>) -> Router
//! # where D::Command: serde::de::DeserializeOwned + Send + 'static {
//! // `POST /orders/42` with a command as JSON, and an `Idempotency-Key`.
//! Router::new().nest("/orders", http::commands(orders))
//! # }
//! ```
//!
//! A service with routes of its own takes the [`CommandHeaders`] as an extractor, and returns what
//! [`Repository::handle`](crate::decider::Repository::handle) returns, as a response:
//!
//! ```no_run
//! use axum::extract::{Path, State};
//! use quorate_app::decider::{CommandError, Decider, Handled, Repository};
//! use quorate_app::reception::http::CommandHeaders;
//!
//! async fn pay<D: Decider<Command = u64>>(
//!     State(orders): State<Repository<D>>,
//!     Path(id): Path<String>,
//!     headers: CommandHeaders,
//!     body: String,
//! ) -> Result<Handled<D::State>, CommandError<D::Error>> {
//!     let total = body.parse().unwrap_or(0);
//!     orders.handle(id, &total).context(headers.context).command_id_if(headers.command_id).await
//! }
//! # fn main() {}
//! ```

use std::convert::Infallible;
use std::error::Error;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use quorate_client::{ErrorKind, Outcome, Problem};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

use super::envelope::Envelope;
use crate::decider::{CommandError, CommandFailure, Context, Handled, LoadError};
use crate::decision::Made;

/// The header that carries the id of a command.
const COMMAND_ID: &str = "idempotency-key";
/// The header that carries the id of the larger activity.
const CORRELATION_ID: &str = "x-correlation-id";
/// The header of an answer that carries the position to read at least.
const POSITION: &str = "quorate-position";

/// The headers of a command, as an extractor: the `Idempotency-Key` and the `X-Correlation-Id`. The user and the tenant
/// are those of the [`Context`] that the application's authentication put into the extensions of the request; headers
/// are not believed about them.
///
/// ```
/// use axum::extract::Path;
/// use quorate_app::reception::http::CommandHeaders;
///
/// /// Answers `DELETE /orders/42`.
/// async fn cancel(Path(id): Path<String>, headers: CommandHeaders) -> String {
///     let by = headers.context.created_by;
///     format!("{by} cancels order {id} with command {:?}", headers.command_id)
/// }
/// let orders = axum::Router::<()>::new().route("/orders/{id}", axum::routing::delete(cancel));
/// # let _ = orders;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandHeaders {
    /// The id of the command, if the client gave one.
    pub command_id: Option<String>,
    /// The activity, the cause, the user and the tenant.
    pub context: Context,
}

impl CommandHeaders {
    /// Returns an envelope for a command with these headers.
    ///
    /// ```
    /// use quorate_app::reception::http::CommandHeaders;
    /// let headers = CommandHeaders { command_id: Some("cmd-91".into()), ..Default::default() };
    /// assert_eq!(headers.envelope("42", "pay").command_id.as_deref(), Some("cmd-91"));
    /// ```
    pub fn envelope<C>(self, id: impl Into<String>, command: C) -> Envelope<C> {
        let CommandHeaders { command_id, context } = self;
        Envelope { command_id, context, ..Envelope::new(id, command) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CommandHeaders {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<CommandHeaders, Infallible> {
        let mut context = parts.extensions.get::<Context>().cloned().unwrap_or_default();
        if let Some(id) = text(&parts.headers, CORRELATION_ID) {
            context.correlation_id = id;
        }
        Ok(CommandHeaders { command_id: text(&parts.headers, COMMAND_ID), context })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Returns a router that takes commands to aggregates: `POST /ID`, with the command as JSON.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, Repository};
/// # use quorate_app::reception::http;
/// # fn example<D: Decider>(orders: Repository<D>) -> axum::Router
/// # where D::Command: serde::de::DeserializeOwned + Send + 'static {
/// // curl -X POST localhost:8080/orders/42 -H 'Idempotency-Key: cmd-91' -d '{"Pay":{"amount":50}}'
/// axum::Router::new().nest("/orders", http::commands(orders))
/// # }
/// ```
pub fn commands<C, S>(service: S) -> Router
where
    C: DeserializeOwned + Send + 'static,
    S: Service<Envelope<C>, Response: IntoResponse, Error: IntoResponse, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let receive = async move |Path(id): Path<String>, headers: CommandHeaders, body: Bytes| {
        match serde_json::from_slice::<C>(&body) {
            Ok(command) => {
                let answer = service.oneshot(headers.envelope(id, command)).await;
                answer.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
            }
            Err(error) => {
                let detail = format!("the body is no command: {error}");
                problem(StatusCode::BAD_REQUEST, "invalid", &detail, Outcome::NotAppended)
            }
        }
    };
    Router::new().route("/{id}", post(receive))
}

impl<S> IntoResponse for Handled<S> {
    /// The version, the position and the number of events as JSON; an application that answers with its state makes a
    /// response of its own.
    fn into_response(self) -> Response {
        let Handled { version, position, events, is_repetition, .. } = self;
        let body = json!({
            "version": version,
            "position": position,
            "events": events,
            "is_repetition": is_repetition,
        });
        answer(position.0, &body)
    }
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        let Made { position, events, is_repetition } = self;
        let body =
            json!({ "position": position, "events": events, "is_repetition": is_repetition });
        answer(position.0, &body)
    }
}

impl<E: Error + 'static> IntoResponse for CommandError<E> {
    /// A problem as in RFC 9457. A refusal is 422, a conflict 409; 503 and 504 may be repeated, with the same
    /// `Idempotency-Key`: `outcome` says if the command may have been carried out.
    fn into_response(self) -> Response {
        let status = match &self {
            CommandError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            CommandError::Forbidden(_) => StatusCode::FORBIDDEN,
            CommandError::Conflict { .. } => StatusCode::CONFLICT,
            CommandError::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
            CommandError::Store(problem) => status_of(problem),
            CommandError::Decode(_) | CommandError::Encode(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let outcome = match &self {
            CommandError::Unknown(_) => Outcome::Unknown,
            _ => Outcome::NotAppended,
        };
        problem(status, self.kind(), &self.to_string(), outcome)
    }
}

impl IntoResponse for LoadError {
    /// A problem as in RFC 9457.
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            LoadError::Decode(_) => (StatusCode::INTERNAL_SERVER_ERROR, "decode"),
            LoadError::Store(problem) => (status_of(problem), "store"),
        };
        problem(status, kind, &self.to_string(), Outcome::NotAppended)
    }
}

fn status_of(problem: &Problem) -> StatusCode {
    match problem.kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Conflict | ErrorKind::IdReused => StatusCode::CONFLICT,
        ErrorKind::StreamClosed | ErrorKind::Forgotten => StatusCode::GONE,
        ErrorKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::NotReady => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn answer(position: u64, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
        (POSITION, position.to_string()),
    ];
    (headers, Body::from(body.to_string())).into_response()
}

fn problem(status: StatusCode, kind: &str, detail: &str, outcome: Outcome) -> Response {
    let body = json!({
        "title": kind,
        "status": status.as_u16(),
        "detail": detail,
        "outcome": outcome.as_str(),
    });
    let headers = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, headers, Body::from(body.to_string())).into_response()
}
