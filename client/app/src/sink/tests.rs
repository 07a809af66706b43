//! Sinks driven by a group in memory, against destinations that are really there.

mod group;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
mod order;
#[cfg(feature = "webhook")]
mod webhook;

/// A port that nobody listens on.
#[cfg(any(feature = "nats", feature = "kafka"))]
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
