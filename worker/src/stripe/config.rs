//! What the client must be told: whose key, which origin, how long to wait.
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use shared::config::{Mode, mode_of_key, stripe_mode};

/// What an origin is.
const NO_ORIGIN: &str = "give an origin such as http://127.0.0.1:12111, without a path";

/// Bounds of `STRIPE_RATE_PER_SEC`: nobody has agreed on more with Stripe.
const RATE_PER_SEC: std::ops::RangeInclusive<u64> = 1..=10_000;

/// Stripe's own origin, used unless `STRIPE_API_BASE` names another.
const STRIPE_ORIGIN: &str = "https://api.stripe.com";

/// The settings of a [`super::Client`].
#[derive(Clone, Debug)]
pub struct StripeConfig {
    /// `STRIPE_SECRET_KEY`; its prefix decides the mode.
    pub secret_key: SecretString,
    /// `STRIPE_API_BASE`: the origin of another API, such as the simulator's. A trailing slash is tolerated.
    pub api_base: Option<Url>,
    /// `STRIPE_TIMEOUT_SECS`: how long one attempt may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
}

/// Why no client can be made of the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The key is none of Stripe's.
    #[error(transparent)]
    Key(#[from] shared::config::Error),
    /// The key has characters that no header can carry.
    #[error("STRIPE_SECRET_KEY is malformed: it must be one line of plain characters")]
    KeyCharacters,
    /// The origin is unusable.
    #[error("STRIPE_API_BASE is malformed: {fault}")]
    ApiBase {
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The HTTP client could not be set up, for instance because the machine has no CA certificates.
    #[error("cannot set up HTTPS to Stripe (are the system's CA certificates installed?): {0}")]
    Http(#[source] reqwest::Error),
    /// The Redis URL is unusable. The fault is not repeated: it may quote the password.
    #[error("REDIS_URL is malformed: it is no usable Redis URL: give redis://user:password@host:6379/0")]
    Redis(#[source] redis::RedisError),
}

/// The longest that one attempt of a call may take. A lookup concludes "no effect" only after longer than that.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bounds of `STRIPE_TIMEOUT_SECS`.
const TIMEOUT_SECS: std::ops::RangeInclusive<u64> = 1..=LONGEST_TIMEOUT.as_secs();

impl StripeConfig {
    /// Reads `STRIPE_SECRET_KEY`, `STRIPE_MODE`, `STRIPE_API_BASE` and `STRIPE_TIMEOUT_SECS`.
    ///
    /// # Errors
    /// When one is missing or malformed, or key and mode contradict each other.
    pub fn from_env() -> Result<Self, ConfigError> {
        let secret_key = shared::config::required_secret(
            "STRIPE_SECRET_KEY",
            "give the secret key, sk_test_… or sk_live_…",
        )?;
        let api_base = match std::env::var("STRIPE_API_BASE") {
            Ok(text) if !text.trim().is_empty() => Some(
                text.trim()
                    .parse()
                    .map_err(|_| ConfigError::ApiBase { fault: NO_ORIGIN })?,
            ),
            _ => None,
        };
        let timeout = shared::config::seconds("STRIPE_TIMEOUT_SECS", 20, TIMEOUT_SECS)?;
        let settings = Self {
            secret_key,
            api_base,
            timeout,
        };
        // Judged now, so that nothing is connected to by a program that cannot go on.
        stripe_mode(Some(&settings.secret_key))?;
        settings.authorization()?;
        settings.origin()?;
        Ok(settings)
    }

    /// Requests per second over all workers: `STRIPE_RATE_PER_SEC`, or what Stripe allows in this mode.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn rates_from_env(&self) -> Result<super::Rates, ConfigError> {
        let configured = shared::config::optional_number("STRIPE_RATE_PER_SEC", RATE_PER_SEC)?;
        let configured = configured.and_then(|rate| u32::try_from(rate).ok());
        Ok(super::Rates::of(
            self.mode()?,
            configured.and_then(std::num::NonZeroU32::new),
        ))
    }

    /// The mode that the key belongs to.
    ///
    /// # Errors
    /// When the key is none of Stripe's.
    pub fn mode(&self) -> Result<Mode, ConfigError> {
        Ok(mode_of_key(&self.secret_key)?)
    }

    /// The origin to prefix paths with, without a trailing slash.
    ///
    /// A live key never leaves over plain HTTP: whoever listens could move real money.
    pub(super) fn origin(&self) -> Result<String, ConfigError> {
        let Some(base) = &self.api_base else {
            return Ok(STRIPE_ORIGIN.to_owned());
        };
        let fault = |fault| Err(ConfigError::ApiBase { fault });
        match base.scheme() {
            "https" => {}
            "http" if self.mode()? == Mode::Live => {
                return fault("a live key is only ever sent over https: give an https:// origin");
            }
            "http" => {}
            _ => return fault("it starts with neither http:// nor https://"),
        }
        let is_origin = base.path() == "/" && base.query().is_none() && base.fragment().is_none();
        if !is_origin || !base.username().is_empty() || base.password().is_some() {
            return fault(NO_ORIGIN);
        }
        Ok(base.as_str().trim_end_matches('/').to_owned())
    }

    /// `Bearer …`, as the header wants it; marked sensitive, so that no log of headers prints it.
    pub(super) fn authorization(&self) -> Result<reqwest::header::HeaderValue, ConfigError> {
        let bearer = format!("Bearer {}", self.secret_key.expose_secret());
        let mut value =
            reqwest::header::HeaderValue::from_str(&bearer).map_err(|_| ConfigError::KeyCharacters)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str, base: Option<&str>) -> StripeConfig {
        StripeConfig {
            secret_key: key.into(),
            api_base: base.map(|url| url.parse().unwrap()),
            timeout: Duration::from_secs(20),
        }
    }

    #[test]
    fn origin_is_stripes_unless_told() {
        assert_eq!(
            config("sk_test_1", None).origin().unwrap(),
            "https://api.stripe.com"
        );
        for base in ["http://127.0.0.1:12111", "http://127.0.0.1:12111/"] {
            assert_eq!(
                config("sk_test_1", Some(base)).origin().unwrap(),
                "http://127.0.0.1:12111"
            );
        }
    }

    #[test]
    fn origin_with_a_path_or_another_scheme_is_refused() {
        for base in [
            "http://127.0.0.1:12111/v1",
            "ftp://127.0.0.1/",
            "https://api.stripe.com/?a=1",
            "http://user:hush@127.0.0.1:12111",
        ] {
            let refused = config("sk_test_1", Some(base)).origin().unwrap_err();
            assert!(
                refused.to_string().starts_with("STRIPE_API_BASE is malformed: "),
                "{refused}"
            );
        }
    }

    #[test]
    fn live_key_is_never_sent_in_the_clear() {
        let refused = config("sk_live_1", Some("http://127.0.0.1:12111"))
            .origin()
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "STRIPE_API_BASE is malformed: a live key is only ever sent over https: give an https:// origin"
        );
    }

    #[test]
    fn secret_is_in_no_debug_output() {
        let config = config("sk_test_very_secret", None);
        assert!(!format!("{config:?} {:?}", config.authorization().unwrap()).contains("very_secret"));
        let refused = self::config("sk_test_very\nsecret", None)
            .authorization()
            .unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("very"), "{refused:?}");
    }
}
