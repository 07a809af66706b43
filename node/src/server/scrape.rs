//! The listener for scrapers and probes: `GET` of `/metrics`, `/livez` and `/readyz`, and nothing else.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quorate_raft::host::{Host, Listening};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connections::{Greeting, SCRAPERS_MAX, bounded};
use super::health::Verdict;
use super::metrics::{CONTENT_TYPE, Metrics};

/// The longest time that serving a scraper may take.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// Serves until `stopping` is cancelled.
pub(crate) async fn serve<H: Host>(
    listening: Listening<H::Connection>,
    metrics: Metrics<H>,
    stopping: CancellationToken,
) {
    let metrics = Arc::new(metrics);
    let connections = bounded("scrapers", listening, SCRAPERS_MAX, Greeting::Head);
    let mut connections = pin!(connections.take_until(stopping.cancelled_owned()));
    while let Some(Ok(connection)) = connections.next().await {
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(metrics.clone(), request));
            let served = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(connection), service);
            let _ = timeout(SERVED_WITHIN, served).await;
        });
    }
}

async fn answer<H: Host>(
    metrics: Arc<Metrics<H>>,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, metrics.text().await),
        (&Method::GET, "/livez") => probed("live", metrics.health.live()),
        (&Method::GET, "/readyz") => probed("ready", metrics.health.ready()),
        _ => {
            let body = "there is /metrics, /livez and /readyz to get, and nothing else\n";
            (StatusCode::NOT_FOUND, body.to_owned())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let format = header::HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    Ok(response)
}

/// Returns the answer to a probe: the state if the node is in it, or else the reason why it is not.
fn probed(state: &str, verdict: Verdict) -> (StatusCode, String) {
    match verdict {
        Ok(()) => (StatusCode::OK, format!("{state}\n")),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not {state}: {why}\n")),
    }
}
