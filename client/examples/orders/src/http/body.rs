//! The body of a request as JSON, whatever its content type is.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The body of a request, read as JSON; one that cannot be read is answered by 400.
///
/// That of axum answers some by 422, which is the answer to a refused command here.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Response> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(IntoResponse::into_response)?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Body(body)),
            Err(error) => Err(Problem::invalid(format!("the body: {error}")).into_response()),
        }
    }
}
