//! `charge.refunded`, `charge.updated` and `refund.*`: refunds are rows by their own id, never a change of an amount.
//! A charge is updated when it gets on the balance: then what Stripe kept of it comes with its intent.

use serde_json::json;
use shared::{
    currency::Currency,
    domain::{
        collection::IntentSeen,
        refund::{self, Change, RefundState},
    },
    ids::RefundId,
    money::Money,
    store::{
        Tx,
        audit::{self, Actor, Entry, Severity},
        payments::{self, Payment},
        refunds::{self, SeenRefund},
    },
};
use uuid::Uuid;

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
        record_refund(tx, at, &payment, refund).await?;
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

/// Records a refund, whoever heard of it first: the answer to our own call, an event, or a lookup. Call it with the invoice
/// locked. Returns how far the refund is now.
///
/// # Errors
/// When Stripe says a word that we do not know, the database is away or a guard refuses.
pub async fn record_refund(
    tx: &mut Tx,
    at: At<'_>,
    payment: &Payment,
    seen: &Refund,
) -> Result<RefundState, JobError> {
    let state = RefundState::from_stripe(&seen.status).map_err(|e| JobError::fail(e.to_string()))?;
    let currency = Currency::parse(&seen.currency).map_err(|e| JobError::fail(e.to_string()))?;
    let row = SeenRefund {
        stripe_id: &seen.id,
        ordered: ordered_by(at, seen),
        payment: payment.id,
        amount: Money::new(seen.amount, currency),
        reason: seen.reason.as_deref().unwrap_or_default(),
        failure_code: seen.failure_reason.as_deref(),
    };
    let known = refunds::known(tx, at.firm, &row).await?;
    let change = refund::observe(known.map(|known| known.state), state);
    let (severity, action, now) = match (change, known) {
        (Change::AlreadyApplied, known) => return Ok(known.map_or(state, |known| known.state)),
        (Change::Contradicts { recorded, .. }, _) => (Severity::Critical, "refund.failed", recorded),
        (Change::Apply(state), known) => {
            refunds::save(tx, at.firm, at.now, known, &row, state).await?;
            match state {
                // Whoever ordered it has said so already.
                RefundState::Requested | RefundState::Pending if known.is_some() => return Ok(state),
                RefundState::Requested | RefundState::Pending => (Severity::Info, "refund.requested", state),
                RefundState::Succeeded => (Severity::Info, "refund.succeeded", state),
                RefundState::Failed | RefundState::Canceled => (Severity::Warning, "refund.failed", state),
            }
        }
    };
    // We ordered it, and had taken it for ended without an effect: a person must look what the client got.
    let is_stray = row.ordered.is_some() && known.is_none();
    let entry = Entry {
        action,
        severity: if is_stray { Severity::Critical } else { severity },
        actor: Actor::Stripe,
        subject_kind: "invoice",
        subject: payment.invoice.map_or(payment.id.0, |i| i.0),
        cause: at.cause,
        meta: json!({"refund": seen.id, "ordered": row.ordered, "amount_minor": seen.amount, "currency": seen.currency,
                     "status": seen.status, "failure": seen.failure_reason}),
    };
    audit::record(tx, at.firm, at.now, &entry).await?;
    Ok(now)
}

/// The row of ours that a refund was ordered by, as its metadata says.
fn ordered_by(at: At<'_>, seen: &Refund) -> Option<RefundId> {
    let named = |name: &str| seen.metadata.get(name).map(String::as_str);
    if named("q_scope") != Some("client_billing") || named("q_firm") != Some(at.firm.to_string().as_str()) {
        return None;
    }
    named("q_refund")?.parse::<Uuid>().ok().map(RefundId)
}
