//! Stripe's side of the webhook: signs events and posts them to the ingress.

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::error::Result;

/// A client of one ingress that knows its webhook secrets. Cheap to clone, for many deliveries at a time.
#[derive(Clone, Debug)]
pub struct Door {
    http: reqwest::Client,
    base: String,
    secrets: Vec<String>,
}

/// What the ingress answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Seconds of the `Retry-After` header, if there is one.
    pub retry_after: Option<u64>,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

impl Answer {
    /// `error.code` of the body, or an empty text.
    #[must_use]
    pub fn error_code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Door {
    /// The path that Stripe is told to post to.
    pub const PATH: &'static str = "/webhooks/stripe";

    /// A door at `base` (`http://host:port`).
    #[must_use]
    pub fn new(base: String, secrets: Vec<String>) -> Self {
        Self {
            http: reqwest::Client::new(),
            base,
            secrets,
        }
    }

    /// `http://host:port` of the public port.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Signs and posts an event, as Stripe would.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn deliver(&self, event: &Value) -> Result<Answer> {
        let body = event.to_string();
        let header = self.signature(body.as_bytes(), wall_clock_secs());
        self.post(Self::PATH, body, Some(&header)).await
    }

    /// Posts any bytes to any path with any signature header: for everything that Stripe would not do.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>, signature: Option<&str>) -> Result<Answer> {
        let mut request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json; charset=utf-8")
            .body(body.into());
        if let Some(signature) = signature {
            request = request.header("stripe-signature", signature);
        }
        let response = request.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok()?.parse().ok()),
            body: serde_json::from_slice(&response.bytes().await?).unwrap_or_default(),
        })
    }

    /// A `Stripe-Signature` header for these bytes with the first secret.
    #[must_use]
    pub fn signature(&self, body: &[u8], at_secs: i64) -> String {
        signature_header(&self.secrets[..1], body, at_secs)
    }
}

/// A `Stripe-Signature` header with one `v1` per secret.
#[must_use]
pub fn signature_header(secrets: &[String], body: &[u8], at_secs: i64) -> String {
    let mut header = format!("t={at_secs}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&v1(secret, body, at_secs));
    }
    header
}

/// The `v1` scheme: HMAC-SHA256 over `{t}.{body}`, in hex.
#[must_use]
pub fn v1(secret: &str, body: &[u8], at_secs: i64) -> String {
    // Any length is a valid key, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{at_secs}.").as_bytes());
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// The machine's wall clock, by which signatures are dated.
#[must_use]
#[allow(clippy::disallowed_methods)] // Stripe's clock, not ours
pub fn wall_clock_secs() -> i64 {
    chrono::Utc::now().timestamp()
}

/// An event as Stripe sends it: `object` under `data.object`, in an envelope with a fresh id.
#[must_use]
pub fn event(kind: &str, object: Value) -> Value {
    json!({
        "id": format!("evt_{}", uuid::Uuid::new_v4().simple()),
        "object": "event",
        "api_version": "2026-09-30.endive",
        "created": wall_clock_secs(),
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": kind,
        "data": { "object": object },
    })
}
