//! A charge: one movement of a card's money, or the failed try of one.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{BalanceTransaction, Fields, ShapeError, StripeObject, fields};

/// A charge. Its refunds are not read here: since 2022-11-15 they are not inside any more, so they are listed instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// `ch_…` or `py_…`
    pub id: String,
    /// Verbatim: `succeeded`, `pending`, `failed`.
    pub status: String,
    /// In minor units, as all amounts here.
    pub amount: i64,
    /// What was captured.
    pub amount_captured: i64,
    /// What went back through refunds so far.
    pub amount_refunded: i64,
    /// Lower-case code.
    pub currency: String,
    /// `pi_…`
    pub payment_intent: Option<String>,
    /// Our own references, which it takes from its intent.
    pub metadata: BTreeMap<String, String>,
    /// Whether it is of live mode.
    pub livemode: Option<bool>,
    /// `cus_…`
    pub customer: Option<String>,
    /// What was charged (`pm_…`).
    pub payment_method: Option<String>,
    /// Whether it succeeded or was authorised.
    pub paid: bool,
    /// Refunded in full.
    pub refunded: bool,
    /// Whether it was ever disputed.
    pub disputed: bool,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// `in_…` of Stripe's own invoice; gone since 2025-03-31.
    pub invoice: Option<String>,
    /// Why it failed.
    pub failure_code: Option<String>,
    /// What the network said.
    pub outcome: Option<ChargeOutcome>,
    /// What it did to the balance, and what Stripe kept: where it is on the balance and the answer holds it.
    pub balance_transaction: Option<BalanceTransaction>,
}

/// What the network said to a charge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChargeOutcome {
    /// Why it failed, finer than the charge's `failure_code`: what an error calls `decline_code`, or Stripe's own reason.
    pub reason: Option<String>,
    /// Stripe's advice.
    pub advice_code: Option<String>,
    /// The network's advice.
    pub network_advice_code: Option<String>,
    /// The network's raw code.
    pub network_decline_code: Option<String>,
}

impl StripeObject for Charge {
    const NAME: &'static str = "charge";

    fn read(charge: &Fields<'_>) -> Result<Self, ShapeError> {
        let amount = charge.integer("amount")?;
        let amount_refunded = charge.integer("amount_refunded")?;
        let status = charge.text("status")?;
        let paid = charge.flag_if_any("paid").unwrap_or(status == "succeeded");
        // Before 2020 there was only the flag, and a capture was of the whole amount.
        let captured_whole = || {
            if charge.flag_if_any("captured").unwrap_or(paid) {
                amount
            } else {
                0
            }
        };
        Ok(Self {
            id: charge.text("id")?,
            status,
            amount,
            amount_captured: charge
                .integer_if_any("amount_captured")?
                .unwrap_or_else(captured_whole),
            amount_refunded,
            currency: charge.text("currency")?,
            payment_intent: charge.reference("payment_intent"),
            metadata: charge.metadata(),
            livemode: charge.flag_if_any("livemode"),
            customer: charge.reference("customer"),
            payment_method: charge
                .reference("payment_method")
                .or_else(|| charge.reference("source")),
            paid,
            refunded: charge
                .flag_if_any("refunded")
                .unwrap_or(amount > 0 && amount_refunded >= amount),
            disputed: charge
                .flag_if_any("disputed")
                .unwrap_or_else(|| charge.get("dispute").is_some()),
            created: charge.time("created")?,
            invoice: charge.reference("invoice"),
            failure_code: charge.text_if_any("failure_code"),
            balance_transaction: charge
                .child("balance_transaction")
                .map(|movement| BalanceTransaction::read(&movement))
                .transpose()?,
            outcome: charge.child("outcome").map(|outcome| ChargeOutcome {
                reason: outcome.text_if_any("reason"),
                advice_code: outcome.text_if_any("advice_code"),
                network_advice_code: outcome.text_if_any("network_advice_code"),
                network_decline_code: outcome.text_if_any("network_decline_code"),
            }),
        })
    }
}

impl Charge {
    /// The issuer's reason, where the charge knows one that its `failure_code` does not say already.
    #[must_use]
    pub fn decline_code(&self) -> Option<&str> {
        let reason = self.outcome.as_ref()?.reason.as_deref();
        reason.filter(|reason| self.failure_code.as_deref() != Some(*reason))
    }
}

/// A charge as an intent refers to it: always its id, and itself where it was expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeRef {
    /// `ch_…` or `py_…`
    pub id: String,
    /// The charge itself, where the answer holds it.
    pub charge: Option<Box<Charge>>,
}

impl ChargeRef {
    /// Reads an id, or a charge; one that cannot be read whole still gives its id.
    pub(super) fn read(value: &Value) -> Option<Self> {
        Some(Self {
            id: fields::reference(value)?,
            charge: Charge::parse(value).ok().map(Box::new),
        })
    }
}
