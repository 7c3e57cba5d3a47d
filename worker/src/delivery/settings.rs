//! How alerts get out of here, from the environment.

use secrecy::SecretString;
use shared::{
    config::{self, Error, Mode},
    domain::delivery::{Network, Reach},
};

/// What is said where mail cannot be sent.
pub const NO_SMTP: &str = "no mail server is set: give the workers SMTP_HOST and SMTP_FROM";

/// Bounds of `ALERT_DELIVERIES_PER_HOUR`.
const PER_HOUR: std::ops::RangeInclusive<u64> = 1..=10_000;

/// What the environment says.
#[derive(Debug)]
pub struct Settings {
    /// Where webhooks may go.
    pub reach: Reach,
    /// The mail server, where there is one.
    pub smtp: Option<Smtp>,
    /// `PORTAL_URL`, without a trailing slash.
    pub portal_url: Option<String>,
    /// `ALERT_DELIVERIES_PER_HOUR`.
    pub most_per_hour: i64,
}

/// A mail server.
#[derive(Debug)]
pub struct Smtp {
    /// `SMTP_HOST`.
    pub host: String,
    /// `SMTP_PORT`.
    pub port: u16,
    /// `SMTP_TLS`.
    pub tls: Tls,
    /// `SMTP_USER` and `SMTP_PASSWORD`.
    pub login: Option<(String, SecretString)>,
    /// `SMTP_FROM`.
    pub from: String,
}

/// Whether others on the way can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From a word in the clear on, which is refused where the server does not offer it.
    Starttls,
    /// From the first byte on.
    FromTheStart,
    /// They can: to this machine only.
    None,
}

impl std::str::FromStr for Tls {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "starttls" => Ok(Self::Starttls),
            "tls" => Ok(Self::FromTheStart),
            "none" => Ok(Self::None),
            _ => Err("give starttls, tls, or none (to this machine only)"),
        }
    }
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// When one is malformed or half there.
    pub fn from_env(mode: Mode) -> Result<Self, Error> {
        Ok(Self {
            reach: Reach {
                mode,
                allowed: allowed_networks()?,
            },
            smtp: Smtp::from_env()?,
            portal_url: config::origin("PORTAL_URL")?,
            most_per_hour: i64::try_from(config::number("ALERT_DELIVERIES_PER_HOUR", 60, PER_HOUR)?)
                .unwrap_or(i64::MAX),
        })
    }
}

/// `ALERT_PRIVATE_NETWORKS`: where webhooks may go beside the internet.
///
/// # Errors
/// When one of them is none.
pub fn allowed_networks() -> Result<Vec<Network>, Error> {
    let name = "ALERT_PRIVATE_NETWORKS";
    let text: String = config::parsed(name, String::new())?;
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            word.parse()
                .map_err(|fault: shared::domain::delivery::NoNetwork| Error::Malformed {
                    name,
                    fault: fault.to_string(),
                })
        })
        .collect()
}

impl Smtp {
    /// Reads `SMTP_HOST` and what goes with it.
    ///
    /// # Errors
    /// When one is malformed or missing beside the others.
    pub fn from_env() -> Result<Option<Self>, Error> {
        let host: String = config::parsed("SMTP_HOST", String::new())?;
        let from: String = config::parsed("SMTP_FROM", String::new())?;
        let user: String = config::parsed("SMTP_USER", String::new())?;
        let password = config::secret("SMTP_PASSWORD")?;
        let tls = config::parsed("SMTP_TLS", Tls::Starttls)?;
        let usual = match tls {
            Tls::Starttls => 587,
            Tls::FromTheStart => 465,
            Tls::None => 25,
        };
        let port = config::number("SMTP_PORT", usual, 1..=65_535)?;
        let missing = |name, remedy| Err(Error::Missing { name, remedy });
        match (host.is_empty(), from.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => return missing("SMTP_HOST", "name the mail server, or leave SMTP_FROM out too"),
            (false, true) => return missing("SMTP_FROM", "give the address that mails come from"),
            (false, false) => {}
        }
        if tls == Tls::None && !is_this_machine(&host) {
            return Err(Error::Malformed {
                name: "SMTP_TLS",
                fault: "none is for a server on this machine: give starttls or tls".into(),
            });
        }
        let login = match (user.is_empty(), password) {
            (true, None) => None,
            (false, Some(password)) => Some((user, password)),
            (true, Some(_)) => return missing("SMTP_USER", "give the login that SMTP_PASSWORD belongs to"),
            (false, None) => {
                return missing("SMTP_PASSWORD", "give the password of SMTP_USER, best as a file");
            }
        };
        Ok(Some(Self {
            host,
            port: u16::try_from(port).unwrap_or(usual as u16),
            tls,
            login,
            from,
        }))
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
