//! A PaymentIntent and why its last attempt failed.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Charge, ChargeRef, Fields, ShapeError, StripeObject, fields};

/// One effort to collect an amount; at Stripe it ends in at most one successful charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentIntent {
    /// `pi_…`
    pub id: String,
    /// Verbatim: `requires_payment_method`, `requires_confirmation`, `requires_action`, `processing`, `succeeded`, `canceled`, …
    pub status: String,
    /// What is to be collected, in minor units.
    pub amount: i64,
    /// What was collected, in minor units; zero where the version does not say.
    pub amount_received: i64,
    /// Lower-case code.
    pub currency: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// `pm_…` (or a source) that it will be, or was, tried with.
    pub payment_method: Option<String>,
    /// The latest charge: `latest_charge` since 2022-11-15, the first of `charges.data` before.
    pub latest_charge: Option<ChargeRef>,
    /// Why the last attempt failed.
    pub last_payment_error: Option<PaymentError>,
    /// Our own references.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// `in_…` of Stripe's own invoice; gone since 2025-03-31.
    pub invoice: Option<String>,
    /// The request that answered with this snapshot (`req_…`); none when it came inside an event or an error.
    pub request_id: Option<String>,
}

impl StripeObject for PaymentIntent {
    const NAME: &'static str = "payment_intent";

    fn read(pi: &Fields<'_>) -> Result<Self, ShapeError> {
        let latest_charge = match pi.get("latest_charge") {
            Some(charge) => ChargeRef::read(charge),
            // Newest first in the old list; an entry that we cannot read whole still names its charge.
            None => pi.entries("charges").first().and_then(ChargeRef::read),
        };
        Ok(Self {
            id: pi.text("id")?,
            status: pi.text("status")?,
            amount: pi.integer("amount")?,
            amount_received: pi.integer_if_any("amount_received")?.unwrap_or(0),
            currency: pi.text("currency")?,
            customer: pi.reference("customer"),
            payment_method: pi.reference("payment_method").or_else(|| pi.reference("source")),
            last_payment_error: pi.child("last_payment_error").map(|error| {
                let charge = latest_charge.as_ref().and_then(|latest| latest.charge.as_deref());
                PaymentError::read(&error).completed_by(charge)
            }),
            latest_charge,
            metadata: pi.metadata(),
            created: pi.time("created")?,
            invoice: pi.reference("invoice"),
            request_id: None,
        })
    }
}

/// Why an attempt failed: Stripe's and the card network's codes, verbatim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentError {
    /// Such as `card_declined`, `authentication_required`, `expired_card`.
    pub code: Option<String>,
    /// The issuer's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// Stripe's advice: `do_not_try_again`, `confirm_card_data`, `try_again_later`.
    pub advice_code: Option<String>,
    /// The network's advice, such as Mastercard's `02`.
    pub network_advice_code: Option<String>,
    /// The network's raw code, such as Visa's `51`.
    pub network_decline_code: Option<String>,
    /// The failed charge (`ch_…`).
    pub charge: Option<String>,
    /// What was charged (`pm_…`).
    pub payment_method: Option<String>,
}

impl PaymentError {
    /// Reads `last_payment_error`, or the `error` of an answer: they have the same fields.
    pub(in crate::stripe) fn read(error: &Fields<'_>) -> Self {
        Self {
            code: error.text_if_any("code"),
            decline_code: error.text_if_any("decline_code"),
            advice_code: error.text_if_any("advice_code"),
            network_advice_code: error.text_if_any("network_advice_code"),
            network_decline_code: error.text_if_any("network_decline_code"),
            charge: error.reference("charge"),
            payment_method: error
                .get("payment_method")
                .and_then(fields::reference)
                .or_else(|| error.get("source").and_then(fields::reference)),
        }
    }

    /// Why a charge failed, of which no error tells any more.
    #[must_use]
    pub fn of_charge(charge: &Charge) -> Self {
        Self::default().completed_by(Some(charge))
    }

    /// Takes from the failed charge what the error itself lacks: older versions have the advice only there.
    fn completed_by(mut self, charge: Option<&Charge>) -> Self {
        let Some(charge) = charge else { return self };
        if self.charge.as_ref().is_some_and(|id| *id != charge.id) {
            return self;
        }
        self.decline_code = self
            .decline_code
            .or_else(|| charge.decline_code().map(str::to_owned));
        let outcome = charge.outcome.clone().unwrap_or_default();
        self.charge.get_or_insert_with(|| charge.id.clone());
        self.code = self.code.or_else(|| charge.failure_code.clone());
        self.advice_code = self.advice_code.or(outcome.advice_code);
        self.network_advice_code = self.network_advice_code.or(outcome.network_advice_code);
        self.network_decline_code = self.network_decline_code.or(outcome.network_decline_code);
        self
    }
}
