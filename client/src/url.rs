//! Connection URLs: the addresses of a cluster and the options of a client, in one string.

use std::time::Duration;

use quorate_proto::Invalid;

const SCHEME: &str = "quorate://";

/// A connection URL in parts. Its addresses are checked where all addresses are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) endpoints: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) pinned: Option<bool>,
    pub(crate) in_order: Option<bool>,
}

impl Url {
    /// Reads `quorate://HOST:PORT,HOST:PORT?OPTION=VALUE&OPTION=VALUE`.
    pub(crate) fn parse(url: &str) -> Result<Url, Invalid> {
        let rest = url.trim().strip_prefix(SCHEME);
        let rest = rest.ok_or_else(|| refused(format!("does not begin with `{SCHEME}`")))?;
        let (addresses, options) = rest.split_once('?').unwrap_or((rest, ""));
        let addresses = addresses.strip_suffix('/').unwrap_or(addresses);
        if addresses.contains('@') {
            return Err(refused("names a user; give tokens as headers".to_owned()));
        }
        let endpoints = addresses.split(',').map(str::trim).filter(|one| !one.is_empty());
        let mut parsed =
            Url { endpoints: endpoints.map(str::to_owned).collect(), ..Url::default() };
        if parsed.endpoints.is_empty() {
            return Err(refused("has no HOST:PORT".to_owned()));
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            parsed.take(name, value)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Invalid> {
        let is_twice = match name {
            "timeout" => self.timeout.replace(duration(value)?).is_some(),
            "pinned" => self.pinned.replace(flag(name, value)?).is_some(),
            "in_order" => self.in_order.replace(flag(name, value)?).is_some(),
            _ => {
                let known = "the options are `timeout`, `pinned` and `in_order`";
                return Err(refused(format!("has an option `{name}`; {known}")));
            }
        };
        if is_twice {
            return Err(refused(format!("has the option `{name}` twice")));
        }
        Ok(())
    }
}

fn refused(why: String) -> Invalid {
    Invalid::new("url", why)
}

fn flag(name: &str, value: &str) -> Result<bool, Invalid> {
    let refused = |_| refused(format!("says `{name}={value}`, which must be `true` or `false`"));
    value.parse().map_err(refused)
}

fn duration(value: &str) -> Result<Duration, Invalid> {
    let digits = value.find(|one: char| !one.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0);
    let milliseconds = number.zip(unit_ms).and_then(|(number, unit)| number.checked_mul(unit));
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        refused(format!("says `timeout={value}`, which must be like `500ms`, `30s` or `5m`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_cluster_and_how_it_is_asked() {
        let url =
            "quorate://a.example.org:7701,[::1]:7702/?timeout=1500ms&pinned=true&in_order=false";
        let parsed = Url::parse(url).expect("a URL");
        assert_eq!(parsed.endpoints, ["a.example.org:7701", "[::1]:7702"]);
        assert_eq!(parsed.timeout, Some(Duration::from_millis(1500)));
        assert_eq!((parsed.pinned, parsed.in_order), (Some(true), Some(false)));
        let plain = Url::parse("quorate://a:1").expect("a URL");
        assert_eq!(plain, Url { endpoints: vec!["a:1".to_owned()], ..Url::default() });
    }

    #[test]
    fn what_a_url_says_wrongly_is_named() {
        for (url, why) in [
            ("a:7701", "does not begin with `quorate://`"),
            ("http://a:7701", "does not begin with `quorate://`"),
            ("quorate://", "has no HOST:PORT"),
            ("quorate://,?timeout=1s", "has no HOST:PORT"),
            ("quorate://ann:secret@a:1", "names a user"),
            ("quorate://a:1?tiemout=3s", "has an option `tiemout`; the options are `timeout`"),
            ("quorate://a:1?timeout=3s&timeout=4s", "has the option `timeout` twice"),
            ("quorate://a:1?timeout=3", "must be like `500ms`"),
            ("quorate://a:1?timeout=0s", "must be like `500ms`"),
            ("quorate://a:1?timeout=18446744073709551615h", "must be like `500ms`"),
            ("quorate://a:1?pinned", "must be `true` or `false`"),
        ] {
            let message = Url::parse(url).expect_err(url).to_string();
            assert!(message.contains(why), "{url}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
