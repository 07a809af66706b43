//! The settings of the service, with defaults and from the environment.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The addresses of the nodes.
    pub endpoints: Vec<String>,
    /// The address that the service listens on.
    pub listen: String,
    /// The file of the read models, unless they are in PostgreSQL.
    pub sqlite: PathBuf,
    /// The PostgreSQL of the read models, as a URL.
    pub postgres: Option<String>,
    /// The Redis that caches orders, as a URL.
    pub redis: Option<String>,
    /// The time that a customer has to pay.
    pub payment_time: Duration,
    /// The number of attempts to send a mail.
    pub mail_attempts: u32,
    /// The delay after the first attempt to send a mail; it doubles with each.
    pub mail_delay: Duration,
    /// The number of times that a command is decided anew when another writer was faster.
    pub retries: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        let endpoints = ["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"];
        Settings {
            endpoints: endpoints.map(str::to_owned).to_vec(),
            listen: "127.0.0.1:8080".into(),
            sqlite: "orders.sqlite".into(),
            postgres: None,
            redis: None,
            payment_time: Duration::from_secs(30 * 60),
            mail_attempts: 5,
            mail_delay: Duration::from_secs(1),
            retries: 10,
        }
    }
}

impl Settings {
    /// Returns the settings of the environment: `QUORATE_ENDPOINTS`, `QUORATE_EXAMPLE_LISTEN`,
    /// `QUORATE_EXAMPLE_SQLITE`, `QUORATE_EXAMPLE_POSTGRES`, `QUORATE_EXAMPLE_REDIS` and
    /// `QUORATE_EXAMPLE_PAYMENT_SECONDS`.
    pub fn from_environment() -> anyhow::Result<Settings> {
        let mut settings = Settings::default();
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(endpoints) = set("QUORATE_ENDPOINTS") {
            settings.endpoints = endpoints.split(',').map(|one| one.trim().to_owned()).collect();
        }
        if let Some(listen) = set("QUORATE_EXAMPLE_LISTEN") {
            settings.listen = listen;
        }
        if let Some(file) = set("QUORATE_EXAMPLE_SQLITE") {
            settings.sqlite = file.into();
        }
        if let Some(seconds) = set("QUORATE_EXAMPLE_PAYMENT_SECONDS") {
            settings.payment_time = Duration::from_secs(seconds.parse()?);
        }
        settings.postgres = set("QUORATE_EXAMPLE_POSTGRES");
        settings.redis = set("QUORATE_EXAMPLE_REDIS");
        Ok(settings)
    }
}
