//! `payment_method.automatically_updated`: the network replaced a card; what waited for a card goes on at once (B-24).

use serde_json::json;
use shared::store::{
    Tx,
    audit::{self, Actor, Entry, Severity},
    autopay, cycles,
    payment_methods::{self, Card},
};

use super::Unfetched;
use crate::{collection::At, context::Context, queue::JobError, stripe::PaymentMethod};

/// Fetches a payment method.
///
/// # Errors
/// When Stripe does not know it, or gives no usable answer.
pub async fn fetch(cx: &Context, id: &str) -> Result<PaymentMethod, Unfetched> {
    Ok(cx.stripe.payment_method(id).await?)
}

/// Stores what the card looks like now, and lets its client's waiting cycles try once. The same update told again changes
/// nothing: a card that was refused for good is not tried once per event. `false` when it is not ours.
///
/// Its client's invoices are locked before the card, in the order of whoever collects.
///
/// # Errors
/// When the database is away.
pub async fn apply(tx: &mut Tx, at: At<'_>, seen: &PaymentMethod) -> Result<bool, JobError> {
    let card = Card {
        brand: seen.brand.as_deref(),
        last4: seen.last4.as_deref(),
        exp_month: seen.exp_month.and_then(|m| i32::try_from(m).ok()),
        exp_year: seen.exp_year.and_then(|y| i32::try_from(y).ok()),
        fingerprint: seen.fingerprint.as_deref(),
    };
    let Some(client) = payment_methods::client_of(tx, at.firm, &seen.id).await? else {
        return Ok(false);
    };
    autopay::lock_collection(tx, at.firm, client).await?;
    let Some(updated) = payment_methods::updated_by_network(tx, at.firm, &seen.id, &card, at.now).await?
    else {
        return Ok(false);
    };
    if !updated.is_new {
        return Ok(true);
    }
    let entry = Entry {
        action: "payment_method.updated",
        severity: Severity::Info,
        actor: Actor::Stripe,
        subject_kind: "payment_method",
        subject: updated.id.0,
        cause: at.cause,
        meta: json!({"exp_month": card.exp_month, "exp_year": card.exp_year}),
    };
    audit::record(tx, at.firm, at.now, &entry).await?;
    if updated.used_for_autopay {
        cycles::method_updated(tx, at.firm, client, at.now, at.cause).await?;
    }
    Ok(true)
}
