//! An invoice of Stripe Billing: what a firm pays for its subscription.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Fields, ShapeError, StripeObject};

/// An invoice as far as we read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// `in_…`
    pub id: String,
    /// `cus_…`
    pub customer: Option<String>,
    /// `sub_…`: a field of its own until 2025-03-31.basil, its parent's since.
    pub subscription: Option<String>,
    /// For people.
    pub number: Option<String>,
    /// Verbatim. The oldest versions have `paid` instead.
    pub status: String,
    /// Lower-case code.
    pub currency: String,
    /// Minor units.
    pub amount_due: i64,
    /// Minor units.
    pub amount_paid: i64,
    /// Minor units.
    pub amount_remaining: i64,
    /// Why it was made.
    pub billing_reason: Option<String>,
    /// What its first line is for: the invoice's own period is the one before, for whatever is billed afterwards.
    pub period_start: Option<DateTime<Utc>>,
    /// As its start.
    pub period_end: Option<DateTime<Utc>>,
    /// When it was finalized.
    pub finalized_at: Option<DateTime<Utc>>,
    /// When somebody has to have sent the money.
    pub due_date: Option<DateTime<Utc>>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// How often Stripe tried.
    pub attempt_count: i32,
    /// When it tries again.
    pub next_payment_attempt: Option<DateTime<Utc>>,
    /// Where it can be looked at and paid.
    pub hosted_invoice_url: Option<String>,
    /// The document.
    pub invoice_pdf: Option<String>,
    /// `pi_…` that it is paid with: a field of its own until 2025-03-31.basil, among its payments since.
    pub payment_intents: Vec<String>,
    /// Our own references.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created: DateTime<Utc>,
}

impl StripeObject for Invoice {
    const NAME: &'static str = "invoice";

    fn read(invoice: &Fields<'_>) -> Result<Self, ShapeError> {
        let details = invoice
            .child("parent")
            .and_then(|parent| parent.child("subscription_details"));
        let changes = invoice.child("status_transitions");
        let changed = |name: &str| changes.as_ref().and_then(|changes| changes.time_if_any(name));
        let paid = invoice.flag_if_any("paid").unwrap_or(false);
        let line = invoice.entries("lines").first();
        let path = invoice.entry_path("lines", 0);
        let period = line
            .and_then(|line| Fields::of(&path, line).ok())
            .and_then(|line| line.child("period"));
        let of_line = |name: &str| period.as_ref().and_then(|period| period.time_if_any(name));
        let payments = invoice.entries("payments").iter().enumerate();
        let paid_with = payments.filter_map(|(index, payment)| {
            let payment = Fields::of(&invoice.entry_path("payments", index), payment).ok()?;
            payment.child("payment")?.reference("payment_intent")
        });
        let due = invoice.integer("amount_due")?;
        let got = invoice.integer_if_any("amount_paid")?.unwrap_or(0);
        Ok(Self {
            id: invoice.text("id")?,
            customer: invoice.reference("customer"),
            subscription: invoice
                .reference("subscription")
                .or_else(|| details.and_then(|details| details.reference("subscription"))),
            number: invoice.text_if_any("number"),
            status: invoice
                .text_if_any("status")
                .unwrap_or_else(|| if paid { "paid" } else { "open" }.to_owned()),
            currency: invoice.text("currency")?,
            amount_due: due,
            amount_paid: got,
            amount_remaining: invoice.integer_if_any("amount_remaining")?.unwrap_or(due - got),
            billing_reason: invoice.text_if_any("billing_reason"),
            period_start: of_line("start").or_else(|| invoice.time_if_any("period_start")),
            period_end: of_line("end").or_else(|| invoice.time_if_any("period_end")),
            finalized_at: changed("finalized_at").or_else(|| invoice.time_if_any("finalized_at")),
            due_date: invoice.time_if_any("due_date"),
            paid_at: changed("paid_at"),
            attempt_count: invoice
                .integer_if_any("attempt_count")?
                .and_then(|count| i32::try_from(count).ok())
                .unwrap_or(0),
            next_payment_attempt: invoice.time_if_any("next_payment_attempt"),
            hosted_invoice_url: invoice.text_if_any("hosted_invoice_url"),
            invoice_pdf: invoice.text_if_any("invoice_pdf"),
            payment_intents: invoice
                .reference("payment_intent")
                .into_iter()
                .chain(paid_with)
                .collect(),
            metadata: invoice.metadata(),
            created: invoice.time("created")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b22_an_invoice_is_read_from_either_shape() {
        let mut common = json!({"id": "in_1", "customer": "cus_1", "number": "A-1", "status": "paid", "currency": "usd", "amount_due": 2900,
            "amount_paid": 2900, "amount_remaining": 0, "billing_reason": "subscription_cycle", "created": 1, "attempt_count": 1,
            "period_start": 1, "period_end": 2, "status_transitions": {"finalized_at": 5, "paid_at": 6},
            "lines": {"data": [{"period": {"start": 10, "end": 20}}]}});
        let mut old = common.clone();
        old["subscription"] = json!("sub_1");
        old["payment_intent"] = json!("pi_1");
        common["parent"] =
            json!({"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}});
        common["payments"] = json!({"data": [{"payment": {"type": "payment_intent", "payment_intent": "pi_1"}}, {"payment": {"type": "charge"}}]});
        let (old, new) = (Invoice::parse(&old).unwrap(), Invoice::parse(&common).unwrap());
        assert_eq!(old, new);
        assert_eq!(new.subscription.as_deref(), Some("sub_1"));
        assert_eq!(new.payment_intents, ["pi_1"]);
        assert_eq!(
            (new.period_start, new.paid_at).0.map(|at| at.timestamp()),
            Some(10)
        );
    }
}
