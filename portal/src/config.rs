//! The settings of the portal, read once at start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use secrecy::SecretString;
use shared::config::{self, Error, LogFormat};

/// Shown by `--help`.
pub const ENVIRONMENT: &str = "\
Environment (each secret also as NAME_FILE):
  DATABASE_URL              Postgres, the portal's own login (required)
  STRIPE_PUBLISHABLE_KEY    pk_test_… or pk_live_…, shown to browsers; never another key [none]
  PORTAL_ADDR               pages and API [0.0.0.0:8082]
  PORTAL_ADMIN_ADDR         probes and metrics [0.0.0.0:9082]
  PORTAL_URL                where browsers find the portal, https://host: Stripe's pages lead back there. Required in live
                            mode [http://localhost and the port]
  PORTAL_PROXIES            reverse proxies in front that add to X-Forwarded-For [0]
  PORTAL_RATE_PER_MIN       requests of one login, token or address per minute [600]
  SHUTDOWN_GRACE_SECS       drain time after SIGTERM [25]
  OTEL_EXPORTER_OTLP_ENDPOINT  collector that takes spans, http://host:4318 [none]
  LOG_FORMAT                text or json [text]
  RUST_LOG                  log filter [info]";

/// Everything the portal can be told.
#[derive(Debug)]
pub struct Settings {
    /// The portal's own login.
    pub database_url: SecretString,
    /// Pages and API.
    pub addr: SocketAddr,
    /// Probes and metrics.
    pub admin_addr: SocketAddr,
    /// Where browsers find the portal, without a path; `None` until it is known where we listen.
    pub url: Option<String>,
    /// How many of the last addresses in `X-Forwarded-For` are our own proxies' word.
    pub proxies: usize,
    /// Requests per minute of one caller.
    pub rate_per_min: u32,
    /// For pages on which a card is entered with Stripe's own script.
    pub publishable_key: Option<String>,
    /// Drain time.
    pub shutdown_grace: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where spans go.
    pub collector: Option<String>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// One line that names the variable.
    pub fn from_env() -> Result<Self, Error> {
        let any_host = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Ok(Self {
            database_url: config::database_url("DATABASE_URL")?,
            addr: config::listen_address("PORTAL_ADDR", any_host(8082))?,
            admin_addr: config::listen_address("PORTAL_ADMIN_ADDR", any_host(9082))?,
            url: config::origin("PORTAL_URL")?,
            proxies: usize::try_from(config::number("PORTAL_PROXIES", 0, 0..=5)?).unwrap_or(0),
            rate_per_min: u32::try_from(config::number("PORTAL_RATE_PER_MIN", 600, 10..=1_000_000)?)
                .unwrap_or(u32::MAX),
            publishable_key: publishable_key()?,
            shutdown_grace: config::seconds("SHUTDOWN_GRACE_SECS", 25, 1..=3_600)?,
            log_format: config::log_format()?,
            collector: config::otlp_endpoint()?,
        })
    }
}

fn publishable_key() -> Result<Option<String>, Error> {
    let name = "STRIPE_PUBLISHABLE_KEY";
    let key: String = config::parsed(name, String::new())?;
    check_publishable(&key).map_err(|fault| Error::Malformed {
        name,
        fault: fault.into(),
    })?;
    Ok(Some(key).filter(|key| !key.is_empty()))
}

/// What browsers are shown must be the key that is meant for them. The fault never repeats it.
fn check_publishable(key: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.starts_with("pk_test_") || key.starts_with("pk_live_") {
        return Ok(());
    }
    Err(
        "it does not start with pk_test_ or pk_live_: the portal needs no other key of Stripe's and must have none",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r212_no_secret_key_reaches_the_portal_by_mistake() {
        assert!(check_publishable("pk_test_1").is_ok());
        let fault = check_publishable("sk_test_hush").unwrap_err();
        assert!(!fault.contains("hush"), "{fault}");
    }
}
