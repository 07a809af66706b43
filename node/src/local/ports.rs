//! Free ports of the loopback address, for clusters that live on one machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port, below those that systems give to outgoing connections (49152 and above in RFC 6335, 32768
/// and above on Linux): any connection may take such a port before the node listens on it, even the
/// connection that waits for the node.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// Returns `count` addresses on which nobody listens now. Nothing reserves them, but this process returns
/// each address only once in 20,000 times, and other processes begin elsewhere.
///
/// # Errors
/// Too few ports are free.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let start = (process::id() % u32::from(COUNT)) as u16;
    let mut free = Vec::with_capacity(count);
    for _ in 0..COUNT {
        if free.len() == count {
            return Ok(free);
        }
        // Processes that are started one after the other have neighbouring ids.
        let step = start.wrapping_mul(61).wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + step % COUNT));
        if TcpListener::bind(address).is_ok() {
            free.push(address);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("there are no {count} free ports")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn free_addresses_are_all_different_and_are_not_given_out_again() {
        let mut given = free_addresses(10).expect("addresses");
        given.extend(free_addresses(10).expect("addresses"));
        let all: BTreeSet<SocketAddr> = given.into_iter().collect();
        assert_eq!(all.len(), 20);
        assert!(all.iter().all(|address| address.port() < 32_768));
    }

    #[test]
    fn an_address_in_use_is_not_given_out() {
        let mine = free_addresses(1).expect("an address")[0];
        let _listener = TcpListener::bind(mine).expect("it is free");
        assert!(!free_addresses(200).expect("addresses").contains(&mine));
    }
}
