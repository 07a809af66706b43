//! The service over HTTP: commands and queries of tenants, and the operators' view of dead letters.
//!
//! `openapi.yaml` describes all of it; a test holds the two together.

mod body;
mod caller;
mod commands;
mod letters;
mod past;
mod problem;
mod queries;

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, delete, get, post};
use quorate_app::decider::Repository;
use quorate_client::GroupRef;

use crate::domain::{Order, Payment};
use crate::models::Models;

/// The parts of the service that requests use.
#[derive(Clone, Debug)]
pub struct Api {
    pub orders: Repository<Order>,
    pub payments: Repository<Payment>,
    pub models: Arc<Models>,
    pub mails: GroupRef,
}

/// Returns the router of the whole service.
pub fn router(api: Api) -> Router {
    let router = |routes: Vec<(&str, MethodRouter<Api>)>| {
        routes
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
    };
    // The layer knows the parameters of the path, because it is around each route, not around the router.
    let tenants = router(of_tenants()).layer(from_fn(caller::identify));
    router(of_operators()).merge(tenants).with_state(api)
}

/// Returns the paths of all routes, as in `openapi.yaml`.
pub fn paths() -> Vec<&'static str> {
    of_tenants().into_iter().chain(of_operators()).map(|(path, _)| path).collect()
}

fn of_tenants() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/tenants/{tenant}/orders", get(queries::orders)),
        ("/tenants/{tenant}/orders/{order}", get(queries::order).post(commands::create)),
        ("/tenants/{tenant}/orders/{order}/items", post(commands::add_item)),
        ("/tenants/{tenant}/orders/{order}/items/{sku}", delete(commands::remove_item)),
        ("/tenants/{tenant}/orders/{order}/submit", post(commands::submit)),
        ("/tenants/{tenant}/orders/{order}/cancel", post(commands::cancel)),
        ("/tenants/{tenant}/orders/{order}/payment", post(commands::receive_payment)),
        ("/tenants/{tenant}/orders/{order}/past", get(past::state)),
        ("/tenants/{tenant}/orders/{order}/history", get(past::history)),
        ("/tenants/{tenant}/customers/{customer}", get(queries::customer)),
        ("/tenants/{tenant}/sales", get(queries::sales)),
    ]
}

fn of_operators() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/operations/dead-letters", get(letters::list)),
        ("/operations/dead-letters/replay", post(letters::replay)),
        ("/openapi.yaml", get(openapi)),
    ]
}

async fn openapi() -> ([(header::HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/yaml")], include_str!("../openapi.yaml"))
}
