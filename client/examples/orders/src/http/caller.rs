//! The caller of a request: the user, and the tenant on whose data the request works.

use axum::extract::{RawPathParams, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quorate_app::decider::Context;

use super::problem::Problem;

/// The header that names the user.
const USER: &str = "x-user";
/// The longest name of a tenant, in bytes.
const TENANT_BYTES_MAX: usize = 40;

/// Puts the user and the tenant into the request, where commands and queries find them.
///
/// Here the header is believed. In a real service this is the place where a token is checked, and where it is checked
/// that the user belongs to the tenant.
pub(super) async fn identify(params: RawPathParams, request: Request, next: Next) -> Response {
    let user = request.headers().get(USER).and_then(|user| user.to_str().ok()).unwrap_or_default();
    if user.is_empty() {
        return Problem::unidentified("the header `X-User` is missing").into_response();
    }
    let tenant = params.iter().find(|(name, _)| *name == "tenant");
    let tenant = tenant.map(|(_, tenant)| tenant).unwrap_or_default();
    if !is_tenant(tenant) {
        let why = format!("`{tenant}` is no tenant: 1 to 40 small letters, digits and `-`");
        return Problem::invalid(why).into_response();
    }
    let context = Context::new().created_by(user).tenant(tenant);
    let mut request = request;
    request.extensions_mut().insert(context);
    next.run(request).await
}

/// A tenant is one part of the paths of its streams, so it contains no `/`.
fn is_tenant(name: &str) -> bool {
    let is_plain = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
    (1..=TENANT_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}
