//! Answers to requests that cannot be met, as in RFC 9457.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use quorate_app::decider::LoadError;
use serde_json::json;

use crate::models::QueryError;

/// The answer to a request that cannot be met.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn invalid(detail: impl ToString) -> Problem {
        Problem { status: StatusCode::BAD_REQUEST, title: "invalid", detail: detail.to_string() }
    }

    pub(super) fn unidentified(detail: impl ToString) -> Problem {
        let detail = detail.to_string();
        Problem { status: StatusCode::UNAUTHORIZED, title: "unidentified", detail }
    }

    pub(super) fn missing(detail: impl ToString) -> Problem {
        Problem { status: StatusCode::NOT_FOUND, title: "missing", detail: detail.to_string() }
    }

    fn later(detail: impl ToString) -> Problem {
        let detail = detail.to_string();
        Problem { status: StatusCode::SERVICE_UNAVAILABLE, title: "later", detail }
    }

    fn internal(detail: impl ToString) -> Problem {
        let detail = detail.to_string();
        Problem { status: StatusCode::INTERNAL_SERVER_ERROR, title: "internal", detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, title, detail } = self;
        let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
        let headers = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, headers, body.to_string()).into_response()
    }
}

impl From<QueryError> for Problem {
    /// A read model that is behind gets there, and a database comes back.
    fn from(error: QueryError) -> Problem {
        Problem::later(error)
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Problem {
        match error {
            LoadError::Store(problem) => problem.into(),
            error => Problem::internal(error),
        }
    }
}

impl From<quorate_client::Problem> for Problem {
    fn from(problem: quorate_client::Problem) -> Problem {
        match problem.kind {
            quorate_client::ErrorKind::Invalid => Problem::invalid(problem),
            kind if kind.is_transient() => Problem::later(problem),
            _ => Problem::internal(problem),
        }
    }
}
