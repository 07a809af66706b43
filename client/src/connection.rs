//! A connection to a node, with the headers that an application adds to each of its requests.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

type Add = dyn Fn(&mut HeaderMap) + Send + Sync;

/// Adds headers to requests; by default none.
#[derive(Clone, Default)]
pub(crate) struct Headers(Option<Arc<Add>>);

impl Headers {
    pub(crate) fn new(add: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> Headers {
        Headers(Some(Arc::new(add)))
    }

    /// Returns a connection on which every request has the headers.
    pub(crate) fn on(&self, channel: Channel) -> Connection {
        Connection { channel, headers: self.clone() }
    }
}

impl fmt::Debug for Headers {
    /// Prints only if there are headers, because they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "added" } else { "none" })
    }
}

/// A connection to a node.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    channel: Channel,
    headers: Headers,
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = <Channel as Service<Request<Body>>>::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(add) = &self.headers.0 {
            add(request.headers_mut());
        }
        self.channel.call(request)
    }
}
