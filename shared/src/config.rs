//! Settings from the environment, parsed once at start.
//!
//! Each secret may also come from a file (`NAME_FILE`). A missing or malformed setting stops the program with one
//! line that names it; secrets are never printed.

use std::{fmt::Debug, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};

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
    #[error("{name}_FILE cannot be read ({path}): {source}")]
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
                fault: format!("the file {path} is empty"),
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

/// A whole number of seconds within bounds.
///
/// # Errors
/// When it is no whole number, or out of bounds.
pub fn seconds(
    name: &'static str,
    default: u64,
    bounds: std::ops::RangeInclusive<u64>,
) -> Result<Duration, Error> {
    let secs: u64 = parsed(name, default)?;
    if bounds.contains(&secs) {
        Ok(Duration::from_secs(secs))
    } else {
        Err(Error::Malformed {
            name,
            fault: format!(
                "{secs} is not within {} to {} seconds",
                bounds.start(),
                bounds.end()
            ),
        })
    }
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
    if url.expose_secret().starts_with("postgres://") || url.expose_secret().starts_with("postgresql://") {
        Ok(url)
    } else {
        Err(Error::Malformed {
            name,
            fault: "it does not start with postgres://".into(),
        })
    }
}

/// `REDIS_URL`.
///
/// # Errors
/// When it is absent or no `redis://` or `rediss://` URL.
pub fn redis_url() -> Result<SecretString, Error> {
    let name = "REDIS_URL";
    let url = required_secret(name, "give the URL of Redis 6.2 or newer, redis://host:6379/0")?;
    if url.expose_secret().starts_with("redis://") || url.expose_secret().starts_with("rediss://") {
        Ok(url)
    } else {
        Err(Error::Malformed {
            name,
            fault: "it does not start with redis:// or rediss://".into(),
        })
    }
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
/// When the prefix is none of Stripe's.
pub fn mode_of_key(key: &SecretString) -> Result<Mode, Error> {
    let key = key.expose_secret();
    if key.starts_with("sk_test_") || key.starts_with("rk_test_") {
        Ok(Mode::Test)
    } else if key.starts_with("sk_live_") || key.starts_with("rk_live_") {
        Ok(Mode::Live)
    } else {
        Err(Error::Malformed {
            name: "STRIPE_SECRET_KEY",
            fault: "it starts with none of sk_test_, sk_live_, rk_test_, rk_live_".into(),
        })
    }
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
            fault: "it contradicts the prefix of STRIPE_SECRET_KEY".into(),
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

/// `LOG_FORMAT`, text unless told.
///
/// # Errors
/// When it is neither `json` nor `text`.
pub fn log_format() -> Result<LogFormat, Error> {
    parsed("LOG_FORMAT", LogFormat::Text)
}
