//! A refund: money on its way back to the card.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Fields, ShapeError, StripeObject};

/// A refund. A pending one may still fail, and a failed one gives the money back to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// `re_…` or `pyr_…`
    pub id: String,
    /// In minor units.
    pub amount: i64,
    /// Lower-case code.
    pub currency: String,
    /// `ch_…`
    pub charge: Option<String>,
    /// `pi_…`
    pub payment_intent: Option<String>,
    /// Verbatim: `pending`, `requires_action`, `succeeded`, `failed`, `canceled`. The oldest versions have none, and
    /// there a refund was final when it was made.
    pub status: String,
    /// Verbatim: `duplicate`, `fraudulent`, `requested_by_customer`, …
    pub reason: Option<String>,
    /// Verbatim, when it failed.
    pub failure_reason: Option<String>,
    /// Our own references, where the refund is ours.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created: DateTime<Utc>,
}

impl StripeObject for Refund {
    const NAME: &'static str = "refund";

    fn read(refund: &Fields<'_>) -> Result<Self, ShapeError> {
        Ok(Self {
            id: refund.text("id")?,
            amount: refund.integer("amount")?,
            currency: refund.text("currency")?,
            charge: refund.reference("charge"),
            payment_intent: refund.reference("payment_intent"),
            status: refund
                .text_if_any("status")
                .unwrap_or_else(|| "succeeded".to_owned()),
            reason: refund.text_if_any("reason"),
            failure_reason: refund.text_if_any("failure_reason"),
            metadata: refund.metadata(),
            created: refund.time("created")?,
        })
    }
}
