//! The connections between nodes over HTTP/2: time limits, windows, and the Host's own connections.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Server, Uri};

use crate::host::Host;

/// The time without an answer after which, twice, a peer is given up and the requests to it fail.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The time after which a connection that is not established is tried again.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// The flow-control windows, large enough for one stream at full speed over a wide network.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const FRAME_BYTES_MAX: u32 = 256 * 1024;

/// Returns a connection to the node at `address` (`host:port`). It is made when it is first used, and again
/// when it is lost. Clones share it.
pub fn channel<H: Host>(host: &H, address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let (host, address) = (host.clone(), address.to_owned());
    let connector = tower::service_fn(move |_: Uri| {
        let connecting = host.connect(&address);
        async move { Ok::<_, io::Error>(TokioIo::new(connecting.await?)) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Returns the server side of [`channel`]: add the services and serve.
pub fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
}
