//! The envelope of an event.
use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Fields, ShapeError, StripeObject};

/// An event: a hint that an object changed. What it became is asked of Stripe, not read from here.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// `evt_…`
    pub id: String,
    /// Such as `charge.refunded`.
    pub kind: String,
    /// When the change happened, to the second; no order can be told from it.
    pub created: DateTime<Utc>,
    /// The version in which the object is rendered.
    pub api_version: Option<String>,
    /// Which of Stripe's two worlds it comes from.
    pub livemode: bool,
    /// The connected account (`acct_…`) it belongs to.
    pub account: Option<String>,
    /// The API request that caused it (`req_…`).
    pub request_id: Option<String>,
    /// The idempotency key of that request: ours, when we caused it.
    pub idempotency_key: Option<String>,
    /// `data.object`, in the shape of `api_version`.
    pub object: Value,
}

impl StripeObject for Event {
    const NAME: &'static str = "event";

    fn read(event: &Fields<'_>) -> Result<Self, ShapeError> {
        let data = event
            .child("data")
            .ok_or_else(|| event.wrong("data", "not an object"))?;
        let request = event.child("request");
        Ok(Self {
            id: event.text("id")?,
            kind: event.text("type")?,
            created: event.time("created")?,
            api_version: event.text_if_any("api_version"),
            livemode: event
                .flag_if_any("livemode")
                .ok_or_else(|| event.wrong("livemode", "not a flag"))?,
            account: event.text_if_any("account"),
            // Before 2017-05-25 `request` was the id itself.
            request_id: event.reference("request"),
            idempotency_key: request.and_then(|request| request.text_if_any("idempotency_key")),
            object: data
                .get("object")
                .cloned()
                .ok_or_else(|| data.wrong("object", "not an object"))?,
        })
    }
}

/// Without the object: it holds client secrets and billing details.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("created", &self.created)
            .field("api_version", &self.api_version)
            .field("livemode", &self.livemode)
            .finish_non_exhaustive()
    }
}
