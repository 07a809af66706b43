//! Addresses of nodes, as people write them: one parser for every flag, setting and endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest name of a host, as the DNS has it.
const HOST_BYTES_MAX: usize = 253;

/// The address that something listens at: `host:port`, an IPv6 address in brackets.
///
/// Two texts that mean the same are equal: white space around them is passed over, names are in small
/// letters, and IPv6 addresses in their shortest form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// The reason why a text is no address, with a hint at what to write instead if that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not HOST:PORT{hint}")]
pub struct NoAddress {
    text: String,
    hint: String,
}

impl Address {
    /// Parses a list with commas; a comma at its end, and white space, are passed over.
    pub fn list(text: &str) -> Result<Vec<Address>, NoAddress> {
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        parts.map(str::parse).collect()
    }

    /// Returns the address of a port of this machine, for programs on it only.
    pub fn local(port: u16) -> Address {
        Address { host: Host::Ip(Ipv4Addr::LOCALHOST.into()), port }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns true if only programs on the same machine reach the address.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }

    /// Returns true if the address can be connected to: it names one host and one port, not all of them.
    pub fn is_reachable(&self) -> bool {
        self.port != 0 && !matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Address, NoAddress> {
        let text = text.trim();
        parse(text).map_err(|hint| NoAddress { text: text.to_owned(), hint })
    }
}

/// Returns the address, or a hint at the mistake.
fn parse(text: &str) -> Result<Address, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(format!(", without {scheme}://: `{}`", rest.trim_end_matches('/')));
    }
    let (host, port) = text.rsplit_once(':').ok_or("")?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number);
    let port = port.ok_or(": a port is a number up to 65535")?;
    if let Some(host) = host.strip_prefix('[') {
        let ip = host.strip_suffix(']').and_then(|host| host.parse::<Ipv6Addr>().ok());
        let ip = ip.ok_or(": brackets are for an IPv6 address, `[::1]:7701`")?;
        return Ok(Address { host: Host::Ip(ip.into()), port });
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(": an IPv6 address is written in brackets, `[{host}]:{port}`"));
    }
    Ok(Address { host: named(host)?, port })
}

/// Returns a host that is no IPv6 address.
fn named(host: &str) -> Result<Host, String> {
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(is_usual) {
        return Err(": a host is a name or an IP address".to_owned());
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(": an IPv4 address is four numbers up to 255".to_owned());
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_understood_as_people_write_it() {
        for (text, shown) in [
            ("127.0.0.1:7701", "127.0.0.1:7701"),
            (" localhost:7701\n", "localhost:7701"),
            ("Node-1.Example.org:1", "node-1.example.org:1"),
            ("node_1:1", "node_1:1"),
            ("[::1]:7701", "[::1]:7701"),
            ("[0:0:0:0:0:0:0:1]:07701", "[::1]:7701"),
            ("[FE80::1]:1", "[fe80::1]:1"),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn a_local_address_is_loopback() {
        assert_eq!(Address::local(7701), "127.0.0.1:7701".parse().expect("an address"));
    }

    #[test]
    fn a_text_that_is_no_address_is_refused_with_what_to_write_instead() {
        for (text, why) in [
            ("", "is not HOST:PORT"),
            ("localhost", "is not HOST:PORT"),
            (":7701", "a host is a name"),
            ("a b:1", "a host is a name"),
            ("bücher:1", "a host is a name"),
            ("user@host:1", "a host is a name"),
            ("a:1,b:1", "a host is a name"),
            ("localhost:", "a port is a number"),
            ("localhost:http", "a port is a number"),
            ("localhost:+80", "a port is a number"),
            ("localhost:65536", "a port is a number"),
            ("localhost:7701/", "a port is a number"),
            ("127.0.0.256:1", "four numbers"),
            ("127.1:1", "four numbers"),
            ("::1:7701", "in brackets, `[::1]:7701`"),
            ("[::1:7701", "brackets are for"),
            ("[127.0.0.1]:7701", "brackets are for"),
            ("[fe80::1%eth0]:7701", "brackets are for"),
            ("http://127.0.0.1:7701/", "without http://: `127.0.0.1:7701`"),
            ("grpc://[::1]:7701", "without grpc://: `[::1]:7701`"),
        ] {
            let refused = text.parse::<Address>().expect_err(text).to_string();
            assert!(refused.contains(why), "{refused}");
            assert!(refused.contains(text.trim()), "{refused}");
        }
    }

    #[test]
    fn a_list_passes_over_white_space_and_a_comma_at_its_end() {
        let shown = |text: &str| {
            let list = Address::list(text);
            list.map(|list| list.iter().map(Address::to_string).collect::<Vec<_>>())
        };
        assert_eq!(shown("a:1, b:2 ,\n"), Ok(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert_eq!(shown(" , "), Ok(Vec::new()));
        assert!(shown("a:1,b").is_err());
    }

    #[test]
    fn an_address_of_all_hosts_or_no_port_cannot_be_connected_to() {
        for (text, is_loopback, is_reachable) in [
            ("0.0.0.0:1", false, false),
            ("[::]:1", false, false),
            ("localhost:0", true, false),
            ("127.9.9.9:1", true, true),
            ("[::1]:1", true, true),
            ("example.org:1", false, true),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(
                (address.is_loopback(), address.is_reachable()),
                (is_loopback, is_reachable)
            );
        }
    }
}
