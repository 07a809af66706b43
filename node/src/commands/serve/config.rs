//! The settings of a node: a flag comes before the environment, the environment before the file, and the file before
//! the default.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use quorate_proto::Address;
use quorate_raft::{JoinToken, ReplicaOptions, Timing};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::server::ServerOptions;
use crate::values::size;

/// The size of a file of the Raft log.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// The settings of a node as they are given: on the command line and in the environment, or in a file. Unknown keys of
/// a file are refused.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "QUORATE_DATA")]
    data: Option<PathBuf>,
    /// Where to listen for clients [default: 127.0.0.1:7701].
    #[arg(long, value_name = "HOST:PORT", env = "QUORATE_LISTEN")]
    #[serde(deserialize_with = "parsed")]
    listen: Option<Address>,
    /// Where to listen for the other nodes [default: 127.0.0.1:7801].
    #[arg(long, value_name = "HOST:PORT", env = "QUORATE_PEER_LISTEN")]
    #[serde(deserialize_with = "parsed")]
    peer_listen: Option<Address>,
    /// Where to listen for scrapers and probes (`GET` of `/metrics`, `/livez`, `/readyz`) [default: nowhere].
    #[arg(long, value_name = "HOST:PORT", env = "QUORATE_METRICS_LISTEN")]
    #[serde(deserialize_with = "parsed")]
    metrics_listen: Option<Address>,
    /// Where clients reach this node, if it is not where it listens.
    #[arg(long, value_name = "HOST:PORT", env = "QUORATE_ADVERTISE")]
    #[serde(deserialize_with = "parsed")]
    advertise: Option<Address>,
    /// Where the other nodes reach this node, if it is not where it listens.
    #[arg(long, value_name = "HOST:PORT", env = "QUORATE_PEER_ADVERTISE")]
    #[serde(deserialize_with = "parsed")]
    peer_advertise: Option<Address>,
    /// Listen beyond loopback although nothing is encrypted and nobody has to say who they are.
    #[arg(
        long,
        env = "QUORATE_INSECURE",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL"
    )]
    insecure: Option<bool>,
    /// What to log, as `level` or `target=level,…` [default: info].
    #[arg(long, value_name = "FILTER", env = "QUORATE_LOG")]
    log: Option<String>,
    /// Threads that serve requests [default: one for every two cores].
    #[arg(long, value_name = "COUNT", env = "QUORATE_THREADS")]
    threads: Option<usize>,
    /// Free space on the disk below which the node takes no more events [default, and the least: four chunks].
    #[arg(long, value_name = "SIZE", env = "QUORATE_RESERVE", value_parser = size::parse)]
    #[serde(deserialize_with = "size_of")]
    reserve: Option<u64>,
    /// Bytes a second that are read to look for damage; 0 turns it off [default: 4MiB].
    #[arg(long, value_name = "SIZE", env = "QUORATE_SCRUB_RATE", value_parser = size::parse)]
    #[serde(deserialize_with = "size_of")]
    scrub_rate: Option<u64>,
    /// Memory for what was read last from disk [default: 64MiB].
    #[arg(long, value_name = "SIZE", env = "QUORATE_CACHE", value_parser = size::parse)]
    #[serde(deserialize_with = "size_of")]
    cache: Option<u64>,
    /// Start the only node of a cluster although its clock is more than 400 days ahead of its newest stamp.
    #[arg(
        long,
        env = "QUORATE_ACCEPT_CLOCK",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL"
    )]
    accept_clock: Option<bool>,
    /// On an empty folder: the token of the cluster that is to take the node in, from `quorate cluster token`.
    #[arg(long, value_name = "TOKEN", env = "QUORATE_JOIN_TOKEN", hide_env_values = true)]
    join_token: Option<String>,
    /// On an empty folder: found a cluster of this node alone. `quorate cluster add` takes in others later.
    #[arg(
        long,
        env = "QUORATE_SINGLE",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL"
    )]
    single: Option<bool>,
}

/// The reason why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// The settings in force.
///
/// Invariants:
/// * Listeners that are not on loopback have `server.insecure` set: there is no encryption yet.
/// * The advertised addresses can be connected to: they name a host and a port.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The options of the server.
    pub server: ServerOptions,
    /// The filter of the node's log.
    pub log: String,
    /// The number of threads that serve requests; by default one for every two cores.
    pub threads: Option<usize>,
    /// True if the node founds a cluster of its own on an empty folder.
    pub single: bool,
}

/// Reads the text of a settings file.
pub fn parse(toml: &str) -> Result<Settings, Unusable> {
    toml::from_str(toml).map_err(|error| Unusable(error.to_string().trim_end().to_owned()))
}

impl Settings {
    /// Returns these settings, and those of `other` that are not given here.
    pub(super) fn or(self, other: Settings) -> Settings {
        Settings {
            data: self.data.or(other.data),
            listen: self.listen.or(other.listen),
            peer_listen: self.peer_listen.or(other.peer_listen),
            metrics_listen: self.metrics_listen.or(other.metrics_listen),
            advertise: self.advertise.or(other.advertise),
            peer_advertise: self.peer_advertise.or(other.peer_advertise),
            insecure: self.insecure.or(other.insecure),
            log: self.log.or(other.log),
            threads: self.threads.or(other.threads),
            reserve: self.reserve.or(other.reserve),
            scrub_rate: self.scrub_rate.or(other.scrub_rate),
            cache: self.cache.or(other.cache),
            accept_clock: self.accept_clock.or(other.accept_clock),
            join_token: self.join_token.or(other.join_token),
            single: self.single.or(other.single),
        }
    }

    /// Puts the defaults behind the settings, and checks the whole.
    pub fn resolve(self) -> Result<InForce, Unusable> {
        let directory = self.data.ok_or_else(|| missing("data", "the node's folder"))?;
        let listen = self.listen.unwrap_or_else(|| Address::local(7701));
        let peer_listen = self.peer_listen.unwrap_or_else(|| Address::local(7801));
        let listeners = (&listen, &peer_listen, self.metrics_listen.as_ref());
        let insecure = is_open(listeners, self.insecure.unwrap_or(false))?;
        if self.threads == Some(0) {
            return Err(Unusable("`threads` is 0; at least 1 is needed".to_owned()));
        }
        let server = ServerOptions {
            directory,
            advertise: advertised("advertise", self.advertise, &listen)?,
            peer_advertise: advertised("peer_advertise", self.peer_advertise, &peer_listen)?,
            listen: listen.to_string(),
            peer_listen: peer_listen.to_string(),
            metrics_listen: self.metrics_listen.map(|address| address.to_string()),
            insecure,
            timing: Timing::default(),
            segment_bytes: SEGMENT_BYTES,
            kept_log_bytes: None,
            reserve_bytes: self.reserve,
            scrub_bytes_per_second: self
                .scrub_rate
                .unwrap_or(ReplicaOptions::SCRUB_BYTES_PER_SECOND_DEFAULT),
            block_cache_bytes: self
                .cache
                .map_or(ReplicaOptions::BLOCK_CACHE_BYTES_DEFAULT, |bytes| {
                    usize::try_from(bytes).unwrap_or(usize::MAX)
                }),
            accept_clock: self.accept_clock.unwrap_or(false),
            join_token: join_token(self.join_token)?,
        };
        let log = self.log.unwrap_or_else(|| "info".to_owned());
        let single = self.single.unwrap_or(false);
        if single && server.join_token.is_some() {
            let why = "`single` founds a cluster, and `join_token` waits for one: give one of them";
            return Err(Unusable(why.to_owned()));
        }
        Ok(InForce { server, log, threads: self.threads, single })
    }
}

/// Reads the join token; an empty one, of a variable that is set to nothing, counts as none.
fn join_token(text: Option<String>) -> Result<Option<JoinToken>, Unusable> {
    let text = text.filter(|text| !text.trim().is_empty());
    let token = text.map(|text| text.trim().parse::<JoinToken>()).transpose();
    token.map_err(|why| Unusable(format!("`join_token`: {why}")))
}

/// Returns true if the node listens beyond loopback, for others than those who scrape metrics. Refuses each listener
/// there that was not allowed.
fn is_open(
    (listen, peer_listen, metrics_listen): (&Address, &Address, Option<&Address>),
    allowed: bool,
) -> Result<bool, Unusable> {
    let open = !(listen.is_loopback() && peer_listen.is_loopback());
    if open && !allowed {
        return Err(Unusable(format!(
            "`{listen}` and `{peer_listen}` are not both loopback addresses, and nothing is \
             encrypted yet: say --insecure if whoever reaches them may read and write everything"
        )));
    }
    if let Some(address) = metrics_listen
        && !address.is_loopback()
        && !allowed
    {
        return Err(Unusable(format!(
            "`{address}` is not a loopback address, and nothing is encrypted yet: say --insecure if \
             whoever reaches it may see the metrics and the names of consumer groups"
        )));
    }
    Ok(open)
}

/// Reads a size as people write it, `64MiB`, or a number of bytes.
fn size_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => Ok(Some(bytes)),
        Size::Text(text) => size::parse(&text).map(Some).map_err(D::Error::custom),
    }
}

/// Reads a text as the command line does.
fn parsed<'de, D, T: FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

/// Returns the address where others reach a listener: the given one, or else the one where it listens.
fn advertised(field: &str, given: Option<Address>, listen: &Address) -> Result<String, Unusable> {
    let address = given.as_ref().unwrap_or(listen);
    match address.is_reachable() {
        true => Ok(address.to_string()),
        false => Err(Unusable(format!(
            "`{address}` is nothing that others can connect to: say where they reach this node with \
             `{field}`"
        ))),
    }
}

fn missing(field: &str, what: &str) -> Unusable {
    Unusable(format!(
        "`{field}` is missing: {what}; give it as a flag, as a variable or in the file"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn the_samples_can_be_served_and_say_where_metrics_are() {
        for sample in [
            include_str!("../../../../deploy/single-host.toml"),
            include_str!("../../../../deploy/three-hosts.toml"),
        ] {
            let settings = parse(sample).and_then(Settings::resolve).expect("a sample").server;
            assert_eq!(settings.metrics_listen.as_deref(), Some("127.0.0.1:9701"));
        }
    }

    fn resolve(flags: Settings, file: &str) -> Result<ServerOptions, String> {
        let file = parse(file).map_err(|error| error.to_string())?;
        let resolved = flags.or(file).resolve().map_err(|error| error.to_string())?;
        Ok(resolved.server)
    }

    #[test]
    fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
        let file = "data = '/file'\nlisten = '127.0.0.1:1'\nlog = 'debug'";
        let flags = Settings { listen: Some(address("127.0.0.1:2")), ..Settings::default() };
        let InForce { server, log, threads, single: _ } =
            flags.or(parse(file).expect("settings")).resolve().expect("usable");
        assert_eq!(server.listen, "127.0.0.1:2");
        assert_eq!(server.advertise, "127.0.0.1:2");
        assert_eq!(server.directory, PathBuf::from("/file"));
        assert_eq!((log.as_str(), threads, server.insecure), ("debug", None, false));
        assert_eq!(server.peer_listen, "127.0.0.1:7801");
    }

    #[test]
    fn a_clock_far_ahead_is_accepted_only_if_a_setting_says_so() {
        let accepts = |flag: Option<bool>, file: &str| {
            let flags = Settings { accept_clock: flag, ..Settings::default() };
            resolve(flags, &format!("data = '/file'\n{file}")).expect("usable").accept_clock
        };
        assert!(!accepts(None, ""));
        assert!(accepts(Some(true), ""));
        assert!(accepts(None, "accept_clock = true"));
        assert!(!accepts(Some(false), "accept_clock = true"));
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let file = "data = '/file'\nreserve = '2GiB'\nscrub_rate = 0\ncache = '128 MiB'";
        let sizes = |flags: Settings, file: &str| {
            let server = resolve(flags, file).expect("usable");
            (server.reserve_bytes, server.scrub_bytes_per_second, server.block_cache_bytes)
        };
        assert_eq!(sizes(Settings::default(), file), (Some(2 << 30), 0, 128 << 20));
        let flags = Settings { reserve: Some(7), scrub_rate: Some(8), ..Settings::default() };
        assert_eq!(sizes(flags, file), (Some(7), 8, 128 << 20));
        let default = sizes(Settings::default(), "data = '/file'");
        assert_eq!(default, (None, 4 << 20, 64 << 20));
        let refused =
            resolve(Settings::default(), "data = '/x'\nreserve = 'much'").expect_err("no size");
        assert!(refused.contains("`much` is no size"), "{refused}");
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_by_name() {
        let refused = parse("data = '/x'\nlsten = '127.0.0.1:1'").expect_err("a typing error");
        assert!(refused.to_string().contains("lsten"), "{refused}");
    }

    #[test]
    fn listening_beyond_loopback_must_be_asked_for() {
        for open in ["0.0.0.0:7701", "[::]:7701", "10.0.0.1:7701", "example.org:7701"] {
            let flags = |insecure| Settings {
                data: Some("/x".into()),
                listen: Some(address(open)),
                advertise: Some(address("a.example.org:7701")),
                insecure,
                ..Settings::default()
            };
            let refused = resolve(flags(None), "").expect_err(open);
            assert!(refused.contains("--insecure"), "{refused}");
            assert!(resolve(flags(Some(true)), "").expect(open).insecure);
        }
        for closed in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            let flags = Settings {
                data: Some("/x".into()),
                listen: Some(address(closed)),
                insecure: Some(true),
                ..Settings::default()
            };
            assert!(!resolve(flags, "").expect(closed).insecure, "{closed}");
        }
    }

    #[test]
    fn metrics_are_served_beyond_loopback_only_when_that_is_asked_for() {
        let flags = |listen: &str, insecure| Settings {
            data: Some("/x".into()),
            metrics_listen: Some(address(listen)),
            insecure,
            ..Settings::default()
        };
        let refused = resolve(flags("0.0.0.0:9100", None), "").expect_err("open");
        assert!(refused.contains("--insecure"), "{refused}");
        let open = resolve(flags("0.0.0.0:9100", Some(true)), "").expect("it was asked for");
        assert_eq!((open.metrics_listen.as_deref(), open.insecure), (Some("0.0.0.0:9100"), false));
        assert!(resolve(flags("127.0.0.1:9100", None), "").is_ok());
        let settings =
            resolve(Settings::default(), "data = '/x'\nmetrics_listen = 'localhost:9100'");
        assert_eq!(settings.expect("usable").metrics_listen.as_deref(), Some("localhost:9100"));
        let default = resolve(Settings::default(), "data = '/x'").expect("usable");
        assert_eq!(default.metrics_listen, None);
    }

    #[test]
    fn an_address_that_nobody_can_use_is_refused() {
        for (listen, why) in [
            ("0.0.0.0:7701", "nothing that others can connect to"),
            ("127.0.0.1:0", "nothing that others can connect to"),
        ] {
            let flags = Settings {
                data: Some("/x".into()),
                listen: Some(address(listen)),
                insecure: Some(true),
                ..Settings::default()
            };
            let refused = resolve(flags, "").expect_err(listen);
            assert!(refused.contains(why), "{listen}: {refused}");
        }
        for field in ["listen", "peer_listen", "metrics_listen", "advertise", "peer_advertise"] {
            let refused = parse(&format!("data = '/x'\n{field} = '::1:7701'")).expect_err(field);
            assert!(refused.to_string().contains("`[::1]:7701`"), "{refused}");
        }
        assert!(resolve(Settings::default(), "").expect_err("no folder").contains("`data`"));
    }
}
