//! One of Stripe's own invoices, as far as it leads to a payment of ours.
use std::collections::BTreeMap;

use serde_json::Value;

use super::{Fields, ShapeError, StripeObject, fields};

/// Stripe's invoice (not ours). Only its references and amounts are of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// `in_…`
    pub id: String,
    /// Verbatim: `draft`, `open`, `paid`, `uncollectible`, `void`; none in the oldest versions.
    pub status: Option<String>,
    /// `cus_…`
    pub customer: Option<String>,
    /// Lower-case code.
    pub currency: String,
    /// In minor units.
    pub amount_due: i64,
    /// In minor units.
    pub amount_paid: i64,
    /// `pi_…` that collects it: `payment_intent` before 2025-03-31, a row of `payments` since.
    pub payment_intent: Option<String>,
    /// `ch_…` that paid it: `charge` before 2025-03-31, a row of `payments` since.
    pub charge: Option<String>,
    /// `sub_…`: `subscription` before 2025-03-31, inside `parent` since.
    pub subscription: Option<String>,
    /// Our own references.
    pub metadata: BTreeMap<String, String>,
}

impl StripeObject for Invoice {
    const NAME: &'static str = "invoice";

    fn read(invoice: &Fields<'_>) -> Result<Self, ShapeError> {
        let parent = invoice
            .child("parent")
            .and_then(|parent| parent.child("subscription_details"));
        Ok(Self {
            id: invoice.text("id")?,
            status: invoice.text_if_any("status"),
            customer: invoice.reference("customer"),
            currency: invoice.text("currency")?,
            amount_due: invoice.integer("amount_due")?,
            amount_paid: invoice.integer_if_any("amount_paid")?.unwrap_or(0),
            payment_intent: invoice
                .reference("payment_intent")
                .or_else(|| of_payments(invoice, "payment_intent")),
            charge: invoice
                .reference("charge")
                .or_else(|| of_payments(invoice, "charge")),
            subscription: invoice
                .reference("subscription")
                .or_else(|| parent.and_then(|details| details.reference("subscription"))),
            metadata: invoice.metadata(),
        })
    }
}

/// The reference `name` among the invoice's payments; the default one first, as that is the one Stripe collects with.
fn of_payments(invoice: &Fields<'_>, name: &str) -> Option<String> {
    let payments = invoice.entries("payments");
    let is_default = |payment: &&Value| payment.get("is_default").and_then(Value::as_bool) == Some(true);
    let of = |payment: &Value| fields::reference(payment.get("payment")?.get(name)?);
    payments
        .iter()
        .find(is_default)
        .and_then(of)
        .or_else(|| payments.iter().find_map(of))
}
