//! The settings of the ingress, read once at start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use shared::config::{self, Error, LogFormat, Mode};

/// Shown by `--help`.
pub const ENVIRONMENT: &str = "\
Environment (each secret also as NAME_FILE):
  DATABASE_URL              Postgres, the ingress's own login (required)
  STRIPE_WEBHOOK_SECRET     one or several whsec_… secrets, comma-separated (required)
  STRIPE_MODE               test or live (required unless STRIPE_SECRET_KEY tells)
  INGRESS_ADDR              public port [0.0.0.0:8080]
  INGRESS_ADMIN_ADDR        probes and metrics [0.0.0.0:9080]
  WEBHOOK_TOLERANCE_SECS    how old or early a signature may be [300]
  SHUTDOWN_GRACE_SECS       drain time after SIGTERM [25]
  INGRESS_MAX_IN_FLIGHT     deliveries worked on at once; more get 503 [256]
  INGRESS_MAX_CONNECTIONS   open connections; more wait [1024]
  INGRESS_COMMITTERS        transactions written at once [2]
  INGRESS_THREADS           threads of the runtime [2]
  OTEL_EXPORTER_OTLP_ENDPOINT  collector that takes spans, http://host:4318 [none]
  LOG_FORMAT                text or json [text]
  RUST_LOG                  log filter [info]";

/// Everything the ingress can be told.
#[derive(Debug)]
pub struct Settings {
    /// The ingress's own login.
    pub database_url: SecretString,
    /// All that may have signed a delivery.
    pub webhook_secrets: Vec<SecretString>,
    /// Which of Stripe's worlds we belong to.
    pub mode: Mode,
    /// Public port.
    pub addr: SocketAddr,
    /// Probes and metrics.
    pub admin_addr: SocketAddr,
    /// How far a signature's timestamp may be off.
    pub tolerance: Duration,
    /// Drain time.
    pub shutdown_grace: Duration,
    /// Deliveries worked on at once.
    pub max_in_flight: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Transactions written at once.
    pub committers: usize,
    /// Threads of the runtime.
    pub threads: usize,
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
        let key = config::secret("STRIPE_SECRET_KEY")?;
        Ok(Self {
            database_url: config::database_url("DATABASE_URL")?,
            webhook_secrets: webhook_secrets()?,
            mode: config::stripe_mode(key.as_ref())?,
            addr: config::listen_address("INGRESS_ADDR", any_host(8080))?,
            admin_addr: config::listen_address("INGRESS_ADMIN_ADDR", any_host(9080))?,
            tolerance: config::seconds("WEBHOOK_TOLERANCE_SECS", 300, 1..=86_400)?,
            shutdown_grace: config::seconds("SHUTDOWN_GRACE_SECS", 25, 1..=3_600)?,
            max_in_flight: number("INGRESS_MAX_IN_FLIGHT", 256, 1..=10_000)?,
            max_connections: number("INGRESS_MAX_CONNECTIONS", 1024, 1..=100_000)?,
            committers: number("INGRESS_COMMITTERS", 2, 1..=8)?,
            threads: number("INGRESS_THREADS", 2, 1..=64)?,
            log_format: config::log_format()?,
            collector: config::otlp_endpoint()?,
        })
    }
}

fn number(name: &'static str, default: u64, bounds: RangeInclusive<u64>) -> Result<usize, Error> {
    let number = config::number(name, default, bounds)?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn webhook_secrets() -> Result<Vec<SecretString>, Error> {
    let name = "STRIPE_WEBHOOK_SECRET";
    let list = config::required_secret(name, "give the endpoint's signing secret, whsec_…")?;
    parse_webhook_secrets(list.expose_secret()).map_err(|fault| Error::Malformed { name, fault })
}

/// The fault says which entry is wrong and never repeats it.
fn parse_webhook_secrets(list: &str) -> Result<Vec<SecretString>, String> {
    let entry = |(place, text): (usize, &str)| {
        let place = place + 1;
        match text.trim() {
            "" => Err(format!("entry {place} of the list is empty")),
            "whsec_" => Err(format!("entry {place} of the list is only the prefix whsec_")),
            secret if secret.starts_with("whsec_") => Ok(SecretString::from(secret)),
            _ => Err(format!("entry {place} of the list does not start with whsec_")),
        }
    };
    list.split(',').enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_secrets() {
        let secrets = parse_webhook_secrets("whsec_a, whsec_b").unwrap();
        let exposed: Vec<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(exposed, ["whsec_a", "whsec_b"]);
    }

    #[test]
    fn faults_name_the_entry_and_not_the_secret() {
        for (list, fault) in [
            ("whsec_a,", "entry 2 of the list is empty"),
            ("whsec_a,,whsec_b", "entry 2 of the list is empty"),
            ("whsec_", "entry 1 of the list is only the prefix whsec_"),
            (
                "whsec_a,sk_live_hush",
                "entry 2 of the list does not start with whsec_",
            ),
        ] {
            assert_eq!(parse_webhook_secrets(list).unwrap_err(), fault, "{list}");
        }
    }
}
