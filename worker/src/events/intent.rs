//! `payment_intent.*`, and Stripe invoices whose PaymentIntent is one of ours.

use shared::{
    domain::collection::{IntentSeen, Source},
    ids::CycleId,
    store::{Tx, cycles, routes},
};

use super::Unfetched;
use crate::{
    collection::{self, At},
    context::Context,
    queue::JobError,
};

/// Fetches an intent.
///
/// # Errors
/// When Stripe does not know it, or gives no usable answer.
pub async fn fetch(cx: &Context, id: &str) -> Result<IntentSeen, Unfetched> {
    Ok(collection::intent_seen(&cx.stripe.payment_intent(id).await?)?)
}

/// Applies an intent to its cycle. `false` when it belongs to none.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply(tx: &mut Tx, at: At<'_>, seen: &IntentSeen) -> Result<bool, JobError> {
    let Some((_, route)) = routes::find(tx, std::slice::from_ref(&seen.id)).await? else {
        return Ok(false);
    };
    if route.kind != "payment_intent" || route.firm != at.firm {
        return Ok(false);
    }
    apply_to_cycle(tx, at, CycleId(route.our_id), seen).await
}

/// Applies an intent to a cycle that its metadata names: its creation was not recorded yet.
///
/// # Errors
/// When the database is away or a guard refuses.
pub async fn apply_to_cycle(
    tx: &mut Tx,
    at: At<'_>,
    cycle: CycleId,
    seen: &IntentSeen,
) -> Result<bool, JobError> {
    let Some(mut cycle) = cycles::lock(tx, at.firm, cycle).await? else {
        return Ok(false);
    };
    match &cycle.intent {
        Some(intent) if *intent != seen.id => return Ok(false),
        Some(_) => {}
        None => {
            cycles::set_intent(tx, at.firm, cycle.id, &seen.id).await?;
            cycle.intent = Some(seen.id.clone());
        }
    }
    collection::apply(tx, at, &cycle, seen, Source::Event, None).await?;
    Ok(true)
}
