//! A dispute and the movements of money that it caused.
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Fields, ShapeError, StripeObject, fields};

/// A dispute of a charge: an inquiry (`warning_…`, no money moves) or a chargeback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// `dp_…` or `du_…`
    pub id: String,
    /// Verbatim: `warning_needs_response` … `won`, `lost`, `prevented`.
    pub status: String,
    /// In minor units; may differ from the charge's.
    pub amount: i64,
    /// Lower-case code.
    pub currency: String,
    /// `ch_…`
    pub charge: String,
    /// `pi_…`
    pub payment_intent: Option<String>,
    /// Verbatim: `fraudulent`, `product_not_received`, …
    pub reason: Option<String>,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// Until when evidence is taken.
    pub due_by: Option<DateTime<Utc>>,
    /// Whether a refund of the charge would end it.
    pub is_charge_refundable: bool,
    /// The network's own code of the reason, such as Visa's `10.4`.
    pub network_reason_code: Option<String>,
    /// What it moved so far: none, the withdrawal, or the withdrawal and its return.
    pub balance_transactions: Vec<BalanceTransaction>,
    /// Movements of which the version gives only the id (`txn_…`).
    pub unread_balance_transactions: Vec<String>,
}

impl StripeObject for Dispute {
    const NAME: &'static str = "dispute";

    fn read(dispute: &Fields<'_>) -> Result<Self, ShapeError> {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for (index, entry) in dispute.entries("balance_transactions").iter().enumerate() {
            let path = dispute.entry_path("balance_transactions", index);
            match entry {
                Value::String(id) => unread.push(id.clone()),
                entry => read.push(BalanceTransaction::read(&Fields::of(&path, entry)?)?),
            }
        }
        let card = dispute
            .child("payment_method_details")
            .and_then(|details| details.child("card"));
        Ok(Self {
            id: dispute.text("id")?,
            status: dispute.text("status")?,
            amount: dispute.integer("amount")?,
            currency: dispute.text("currency")?,
            charge: dispute.needed_reference("charge")?,
            payment_intent: dispute.reference("payment_intent"),
            reason: dispute.text_if_any("reason"),
            created: dispute.time("created")?,
            due_by: dispute
                .child("evidence_details")
                .and_then(|details| details.time_if_any("due_by")),
            is_charge_refundable: dispute.flag_if_any("is_charge_refundable").unwrap_or(false),
            network_reason_code: card
                .and_then(|card| card.text_if_any("network_reason_code"))
                .or_else(|| dispute.text_if_any("network_reason_code")),
            balance_transactions: read,
            unread_balance_transactions: unread,
        })
    }
}

/// One movement on our Stripe balance. `amount` and `fee` are booked from here, never from a price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceTransaction {
    /// `txn_…`
    pub id: String,
    /// In minor units of the settlement currency; negative takes money from us.
    pub amount: i64,
    /// What Stripe kept; negative gives a fee back.
    pub fee: i64,
    /// `amount - fee`.
    pub net: i64,
    /// The settlement currency, which may differ from the charge's.
    pub currency: String,
    /// When it was booked.
    pub created: DateTime<Utc>,
    /// Verbatim: `dispute`, `dispute_reversal`, …; the `type` where a version has no category.
    pub reporting_category: Option<String>,
    /// What it belongs to (`dp_…`, `ch_…`).
    pub source: Option<String>,
}

impl StripeObject for BalanceTransaction {
    const NAME: &'static str = "balance_transaction";

    fn read(movement: &Fields<'_>) -> Result<Self, ShapeError> {
        Ok(Self {
            id: movement.text("id")?,
            amount: movement.integer("amount")?,
            fee: movement.integer("fee")?,
            net: movement.integer("net")?,
            currency: movement.text("currency")?,
            created: movement.time("created")?,
            reporting_category: movement
                .text_if_any("reporting_category")
                .or_else(|| movement.text_if_any("type")),
            source: movement.get("source").and_then(fields::reference),
        })
    }
}
