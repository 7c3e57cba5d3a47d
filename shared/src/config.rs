//! Settings from the environment, parsed once at start.
//!
//! Each secret may also come from a file (`NAME_FILE`). A missing or malformed setting stops the program with one
//! line that names it; secrets are never printed.

use std::{net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

/// What is wrong with the environment, in one line that names the variable and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A required variable is absent.
    #[error("{name} is not set: {remedy}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What to set it to.
        remedy: &'static str,
    },
    /// A variable is present and unusable. The value itself is not repeated: it may be a secret.
    #[error("{name} is malformed: {fault}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What is wrong and what would be right.
        fault: String,
    },
    /// `NAME_FILE` points to something that cannot be read.
    #[error("{name}_FILE cannot be read ({path}): {source}: name a file that this program may read")]
    File {
        /// The variable without `_FILE`.
        name: &'static str,
        /// The path given.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Both `NAME` and `NAME_FILE` are set.
    #[error("{name} and {name}_FILE are both set: keep one of them")]
    Both {
        /// The variable without `_FILE`.
        name: &'static str,
    },
}

/// A variable's value; an empty one counts as absent.
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

/// Reads `NAME`, or the file that `NAME_FILE` names (its trailing newline removed).
///
/// # Errors
/// When both are set, or the file cannot be read.
pub fn secret(name: &'static str) -> Result<Option<SecretString>, Error> {
    let file = var(&format!("{name}_FILE"));
    match (var(name), file) {
        (Some(_), Some(_)) => Err(Error::Both { name }),
        (Some(value), None) => Ok(Some(SecretString::from(value.trim().to_owned()))),
        (None, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Err(Error::Malformed {
                name,
                fault: format!("the file {path} is empty: put the value there"),
            }),
            Ok(text) => Ok(Some(SecretString::from(text.trim().to_owned()))),
            Err(source) => Err(Error::File { name, path, source }),
        },
        (None, None) => Ok(None),
    }
}

/// Like [`secret`], for one that must be there.
///
/// # Errors
/// As [`secret`]; also when it is absent.
pub fn required_secret(name: &'static str, remedy: &'static str) -> Result<SecretString, Error> {
    secret(name)?.ok_or(Error::Missing { name, remedy })
}

/// Parses `NAME`, or takes the default when it is absent.
///
/// # Errors
/// When it is present and does not parse.
pub fn parsed<T>(name: &'static str, default: T) -> Result<T, Error>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    match var(name) {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|fault: T::Err| Error::Malformed {
            name,
            fault: fault.to_string(),
        }),
    }
}

/// A whole number within bounds, or none when the variable is absent.
///
/// # Errors
/// When it is no whole number, or out of bounds.
pub fn optional_number(name: &'static str, bounds: RangeInclusive<u64>) -> Result<Option<u64>, Error> {
    let Some(text) = var(name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| bounds.contains(number));
    number.map(Some).ok_or_else(|| Error::Malformed {
        name,
        fault: format!("give a whole number from {} to {}", bounds.start(), bounds.end()),
    })
}

/// A whole number within bounds.
///
/// # Errors
/// When it is no whole number, or out of bounds.
pub fn number(name: &'static str, default: u64, bounds: RangeInclusive<u64>) -> Result<u64, Error> {
    Ok(optional_number(name, bounds)?.unwrap_or(default))
}

/// A whole number of seconds within bounds.
///
/// # Errors
/// As [`number`].
pub fn seconds(name: &'static str, default: u64, bounds: RangeInclusive<u64>) -> Result<Duration, Error> {
    number(name, default, bounds).map(Duration::from_secs)
}

/// Where something is reached: `http://` or `https://`, a host, and no path.
///
/// # Errors
/// When it is anything else.
pub fn origin(name: &'static str) -> Result<Option<String>, Error> {
    let Some(text) = var(name) else { return Ok(None) };
    let text = text.trim().trim_end_matches('/');
    let host = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
    };
    if host.is_some_and(is_host) {
        Ok(Some(text.to_owned()))
    } else {
        Err(Error::Malformed {
            name,
            fault: "give https://, a host, and no path, such as https://billing.example.com".to_owned(),
        })
    }
}

/// Where to listen.
///
/// # Errors
/// When it is no IP address with a port.
pub fn listen_address(name: &'static str, default: SocketAddr) -> Result<SocketAddr, Error> {
    let Some(text) = var(name) else { return Ok(default) };
    text.trim().parse().map_err(|_| Error::Malformed {
        name,
        fault: format!("give an IP address with a port, such as {default}"),
    })
}

/// `DATABASE_URL` of this program, or another variable of the same kind.
///
/// # Errors
/// When it is absent or no `postgres://` URL.
pub fn database_url(name: &'static str) -> Result<SecretString, Error> {
    let url = required_secret(
        name,
        "give the Postgres URL of this program's login, postgres://user:password@host/db",
    )?;
    let text = url.expose_secret();
    let fault = if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
        "it does not start with postgres://"
    } else if PgConnectOptions::from_str(text).is_err() {
        // What exactly is wrong is not repeated: it may quote the password.
        "it is no usable Postgres URL: give postgres://user:password@host/db, special characters as %XX"
    } else {
        return Ok(url);
    };
    Err(Error::Malformed {
        name,
        fault: fault.into(),
    })
}

/// `REDIS_URL`.
///
/// # Errors
/// When it is absent or no `redis://` URL.
pub fn redis_url() -> Result<SecretString, Error> {
    let name = "REDIS_URL";
    let url = required_secret(name, "give the URL of Redis 6.2 or newer, redis://host:6379/0")?;
    let text = url.expose_secret();
    let fault = if text.starts_with("redis://") {
        return Ok(url);
    } else if text.starts_with("rediss://") {
        "it asks for TLS, which is not there yet: give redis://host:6379/0, over a private network"
    } else {
        "it does not start with redis://"
    };
    Err(Error::Malformed {
        name,
        fault: fault.into(),
    })
}

/// Which of Stripe's two worlds a program works in. Objects of one never mix with the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Test keys, test cards, a clock that can be moved.
    Test,
    /// Real money.
    Live,
}

impl Mode {
    /// As Stripe's `livemode` field says it.
    #[must_use]
    pub fn livemode(self) -> bool {
        self == Mode::Live
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "test" => Ok(Mode::Test),
            "live" => Ok(Mode::Live),
            other => Err(format!("{other:?} is neither `test` nor `live`")),
        }
    }
}

/// The mode that a secret key belongs to, by its prefix.
///
/// # Errors
/// When the prefix is none of Stripe's, or there is nothing behind it.
pub fn mode_of_key(key: &SecretString) -> Result<Mode, Error> {
    let key = key.expose_secret();
    let after = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| key.strip_prefix(prefix));
    let (test, live) = (after(["sk_test_", "rk_test_"]), after(["sk_live_", "rk_live_"]));
    let fault = match (test, live) {
        (Some(""), _) | (_, Some("")) => "it is only a prefix: give the whole key",
        (Some(_), _) => return Ok(Mode::Test),
        (_, Some(_)) => return Ok(Mode::Live),
        (None, None) if key.starts_with("pk_") => {
            "it is a publishable key: give the secret key, sk_test_… or sk_live_…"
        }
        (None, None) => "it starts with none of sk_test_, sk_live_, rk_test_, rk_live_",
    };
    Err(Error::Malformed {
        name: "STRIPE_SECRET_KEY",
        fault: fault.into(),
    })
}

/// `STRIPE_MODE`, or the mode of the key; both must agree.
///
/// # Errors
/// When neither is given, or they contradict each other.
pub fn stripe_mode(key: Option<&SecretString>) -> Result<Mode, Error> {
    let stated = match var("STRIPE_MODE") {
        None => None,
        Some(text) => Some(text.trim().parse::<Mode>().map_err(|fault| Error::Malformed {
            name: "STRIPE_MODE",
            fault,
        })?),
    };
    let by_key = key.map(mode_of_key).transpose()?;
    match (stated, by_key) {
        (Some(stated), Some(by_key)) if stated != by_key => Err(Error::Malformed {
            name: "STRIPE_MODE",
            fault: "it contradicts the prefix of STRIPE_SECRET_KEY: leave it out, or give the other key"
                .into(),
        }),
        (Some(mode), _) | (None, Some(mode)) => Ok(mode),
        (None, None) => Err(Error::Missing {
            name: "STRIPE_MODE",
            remedy: "set it to `test` or `live`",
        }),
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("{other:?} is neither `text` nor `json`")),
        }
    }
}

/// `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector that takes spans, if there is one.
///
/// # Errors
/// When it is no `http://` URL.
pub fn otlp_endpoint() -> Result<Option<String>, Error> {
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Some(url) = var(name).map(|url| url.trim().to_owned()) else {
        return Ok(None);
    };
    let fault = match url.strip_prefix("http://") {
        Some(rest) if !rest.trim_matches('/').is_empty() => return Ok(Some(url)),
        Some(_) => "it names no host: give http://collector:4318",
        None if url.starts_with("https://") => {
            "it asks for TLS, which the collector beside this program is for: give http://collector:4318"
        }
        None => "it does not start with http://: give http://collector:4318",
    };
    Err(Error::Malformed {
        name,
        fault: fault.into(),
    })
}

/// `LOG_FORMAT`, text unless told.
///
/// # Errors
/// When it is neither `json` nor `text`.
pub fn log_format() -> Result<LogFormat, Error> {
    parsed("LOG_FORMAT", LogFormat::Text)
}
