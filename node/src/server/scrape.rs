//! The listener for scrapers: `GET /metrics`, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quorate_raft::host::{Host, Listening};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// Scrapers that are served at once; one more waits.
const CONNECTIONS_MAX: usize = 16;
/// How long to wait after a connection could not be accepted.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Longest that a scraper may take.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until told to stop.
pub(crate) async fn serve<H: Host>(
    listening: Listening<H::Connection>,
    metrics: Metrics<H>,
    stopping: CancellationToken,
) {
    let (mut incoming, metrics) = (listening.incoming, Arc::new(metrics));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let connection = tokio::select! {
            () = stopping.cancelled() => return,
            connection = incoming.next() => connection,
        };
        let connection = match connection {
            None => return,
            // One that broke before it was served; or there are no file descriptors left, and trying at once
            // would only take the processor as well.
            Some(Err(_)) => {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
                continue;
            }
            Some(Ok(connection)) => TokioIo::new(connection.0),
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(metrics.clone(), request));
            let served =
                http1::Builder::new().keep_alive(false).serve_connection(connection, service);
            let _ = timeout(SERVED_WITHIN, served).await;
            drop(place);
        });
    }
}

async fn answer<H: Host>(
    metrics: Arc<Metrics<H>>,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let mut response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => Response::new(metrics.text().await),
        _ => {
            let mut refused =
                Response::new("there is /metrics to get, and nothing else\n".to_owned());
            *refused.status_mut() = StatusCode::NOT_FOUND;
            refused
        }
    };
    let format = header::HeaderValue::from_static(TEXT_FORMAT);
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    Ok(response)
}
