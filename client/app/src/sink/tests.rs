//! Tests of sinks, driven by a group in memory, with real destinations.

mod group;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
mod order;
#[cfg(feature = "webhook")]
mod webhook;

/// Returns a port on which nobody listens.
#[cfg(any(feature = "nats", feature = "kafka"))]
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Prints that a test is skipped, past the capture of its output.
#[cfg(any(feature = "nats", feature = "kafka"))]
fn skipped(why: &str) {
    use std::io::Write;
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
