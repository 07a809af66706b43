//! The connector makes connections to nodes: over TCP, or in the way that a simulation puts in its place.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::Service;

/// The abilities that a connection must have.
///
/// ```
/// use quorate_client::Transport;
/// fn is_transport<T: Transport>() {}
/// is_transport::<tokio::net::TcpStream>();
/// is_transport::<tokio::io::DuplexStream>();
/// ```
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

type Connecting =
    Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Transport>>>> + Send + 'static>>;

/// Makes connections to addresses (`host:port`).
#[derive(Clone)]
pub(crate) struct Connector(Arc<dyn Fn(String) -> Connecting + Send + Sync>);

impl Connector {
    /// Connects over TCP, without Nagle's delay.
    pub(crate) fn tcp() -> Connector {
        Connector::new(|address| async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    pub(crate) fn new<F, C, T>(connect: F) -> Connector
    where
        F: Fn(String) -> C + Send + Sync + 'static,
        C: Future<Output = io::Result<T>> + Send + 'static,
        T: Transport,
    {
        Connector(Arc::new(move |address| {
            let connecting = connect(address);
            Box::pin(async move {
                let transport: Box<dyn Transport> = Box::new(connecting.await?);
                Ok(TokioIo::new(transport))
            })
        }))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Transport>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        (self.0)(address)
    }
}
