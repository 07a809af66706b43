//! The network of a cluster in memory: addresses, and pipes instead of connections.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

/// The bytes that a pipe takes in each direction before its writer waits.
const PIPE_BYTES: usize = 256 * 1024;

/// The listener at each address.
type Listeners = HashMap<String, mpsc::UnboundedSender<DuplexStream>>;

/// A network of its own. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    listeners: Arc<Mutex<Listeners>>,
}

impl Network {
    /// Returns the connections that are made to an address from now on, until the receiver is dropped.
    pub(crate) fn listen(
        &self,
        address: &str,
    ) -> io::Result<mpsc::UnboundedReceiver<DuplexStream>> {
        let mut listeners = self.listeners();
        if listeners.get(address).is_some_and(|listener| !listener.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, connections) = mpsc::unbounded_channel();
        listeners.insert(address.to_owned(), sender);
        Ok(connections)
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens there.
    pub(crate) fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = self.listeners().get(address).cloned().ok_or_else(refused)?;
        let (here, there) = duplex(PIPE_BYTES);
        listener.send(there).map_err(|_| refused())?;
        Ok(here)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        // An insertion is never left half done, so a poisoned lock does no harm.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_carries_bytes_both_ways_and_ends_with_its_other_end() {
        let network = Network::default();
        let mut connections = network.listen("a:1").expect("free");
        let mut here = network.connect("a:1").expect("somebody listens");
        let mut there = connections.recv().await.expect("connected");
        here.write_all(b"ping").await.expect("open");
        let mut bytes = [0; 4];
        there.read_exact(&mut bytes).await.expect("sent");
        assert_eq!(&bytes, b"ping");
        there.write_all(b"pong").await.expect("open");
        here.read_exact(&mut bytes).await.expect("sent");
        assert_eq!(&bytes, b"pong");
        drop(there);
        assert_eq!(here.read(&mut bytes).await.expect("the end is no error"), 0);
    }

    #[tokio::test]
    async fn an_address_is_taken_once_and_refuses_connections_when_nobody_listens() {
        let network = Network::default();
        let refused = network.connect("a:1").expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let connections = network.listen("a:1").expect("free");
        assert_eq!(network.listen("a:1").expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(connections);
        assert!(network.connect("a:1").is_err(), "the listener is gone");
        network.listen("a:1").expect("free again");
    }
}
