//! `charge.refunded`, `charge.updated` and `refund.*`: refunds are rows by their own id, never a change of an amount.
//! A charge is updated when it gets on the balance: then what Stripe kept of it comes with its intent.

use serde_json::json;
use shared::{
    currency::Currency,
    domain::{
        collection::IntentSeen,
        refund::{self, Change, RefundState},
    },
    money::Money,
    store::{
        Tx,
        audit::{self, Actor, Entry, Severity},
        payments::{self, Payment, SeenRefund},
    },
};

use super::{Unfetched, intent};
use crate::{
    collection::{self, At},
    context::Context,
    queue::JobError,
    stripe::Refund,
};

/// A charge as it is at Stripe now.
#[derive(Debug)]
pub struct SeenCharge {
    id: String,
    intent: Option<IntentSeen>,
    refunds: Vec<Refund>,
}

/// Fetches a charge, its refunds and its intent.
///
/// # Errors
/// When Stripe does not know it, or gives no usable answer.
pub async fn fetch(cx: &Context, charge: &str) -> Result<SeenCharge, Unfetched> {
    let seen = cx.stripe.charge(charge).await?;
    let refunds = cx.stripe.refunds_of_charge(charge).await?;
    let intent = match &seen.payment_intent {
        Some(intent) => Some(collection::intent_seen(&cx.stripe.payment_intent(intent).await?)?),
        None => None,
    };
    Ok(SeenCharge {
        id: seen.id,
        intent,
        refunds,
    })
}

/// Records the refunds of a charge; its payment first, should that not be recorded yet. `false` when the charge is not
/// ours, or never captured anything.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply(tx: &mut Tx, at: At<'_>, seen: &SeenCharge) -> Result<bool, JobError> {
    let Some(payment) = payment_of(tx, at, &seen.id, seen.intent.as_ref()).await? else {
        return Ok(false);
    };
    for refund in &seen.refunds {
        record(tx, at, &payment, refund).await?;
    }
    Ok(true)
}

/// The payment of a charge, its invoice locked. What happened to the charge may reach us before the payment itself:
/// then the intent is applied first.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn payment_of(
    tx: &mut Tx,
    at: At<'_>,
    charge: &str,
    seen: Option<&IntentSeen>,
) -> Result<Option<Payment>, JobError> {
    if let Some(seen) = seen {
        intent::apply(tx, at, seen).await?;
    }
    let payment = payments::by_charge(tx, at.firm, charge).await?;
    if let Some(invoice) = payment.as_ref().and_then(|p| p.invoice) {
        payments::lock_invoice(tx, at.firm, invoice).await?;
    }
    Ok(payment)
}

async fn record(tx: &mut Tx, at: At<'_>, payment: &Payment, seen: &Refund) -> Result<(), JobError> {
    let state = RefundState::from_stripe(&seen.status).map_err(|e| JobError::fail(e.to_string()))?;
    let current = payments::refund_state(tx, at.firm, &seen.id).await?;
    let current = current
        .map(|word| word.parse::<RefundState>())
        .transpose()
        .map_err(|e| JobError::fail(e.to_string()))?;
    let (severity, action) = match refund::observe(current, state) {
        Change::AlreadyApplied => return Ok(()),
        Change::Contradicts { .. } => (Severity::Critical, "refund.failed"),
        Change::Apply(state) => {
            let currency = Currency::parse(&seen.currency).map_err(|e| JobError::fail(e.to_string()))?;
            let row = SeenRefund {
                stripe_id: &seen.id,
                payment: payment.id,
                amount: Money::new(seen.amount, currency),
                state: state.as_str(),
                reason: seen.reason.as_deref().unwrap_or_default(),
            };
            payments::upsert_refund(tx, at.firm, at.now, &row).await?;
            match state {
                RefundState::Requested | RefundState::Pending => (Severity::Info, "refund.requested"),
                RefundState::Succeeded => (Severity::Info, "refund.succeeded"),
                RefundState::Failed | RefundState::Canceled => (Severity::Warning, "refund.failed"),
            }
        }
    };
    let entry = Entry {
        action,
        severity,
        actor: Actor::Stripe,
        subject_kind: "invoice",
        subject: payment.invoice.map_or(payment.id.0, |i| i.0),
        cause: at.cause,
        meta: json!({"refund": seen.id, "amount_minor": seen.amount, "currency": seen.currency, "status": seen.status}),
    };
    Ok(audit::record(tx, at.firm, at.now, &entry).await?)
}
