//! A client's automatic payment, switched on and off. What is being collected follows in the same transaction.

use serde::Serialize;

use super::{Fault, Result};
use crate::{
    domain::collection::Asked,
    ids::{ClientId, FirmId},
    store::{
        Tx,
        audit::By,
        autopay::{self, State},
        cycles,
        payment_methods::{self, PaymentMethod},
    },
};

/// How a client's automatic payment stands after a change.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AutopayShown {
    /// The client.
    pub client: String,
    /// Whether anything is other than it was.
    pub changed: bool,
    /// Collections that stood still and go on.
    pub resumed: usize,
    /// Collections that wait for another card than the one that is charged.
    pub waiting: usize,
    /// Whether it is on.
    pub autopay_enabled: bool,
    /// The card that is charged, by its Stripe id.
    pub autopay_payment_method: Option<String>,
}

/// Locks a client with what is being collected of it, and says how its automatic payment stands.
///
/// # Errors
/// When the database is away.
pub async fn lock(tx: &mut Tx, firm: FirmId, client: ClientId) -> Result<State> {
    autopay::lock_collection(tx, firm, client).await?;
    Ok(autopay::lock(tx, firm, client).await?)
}

/// How it stands now.
///
/// # Errors
/// When the database is away.
pub async fn shown(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    (changed, resumed): (bool, usize),
) -> Result<AutopayShown> {
    let waiting = cycles::waiting_for_a_card(tx, firm, client).await?;
    let after = autopay::lock(tx, firm, client).await?;
    Ok(AutopayShown {
        client: after.client,
        changed,
        resumed,
        waiting,
        autopay_enabled: after.enabled,
        autopay_payment_method: after.method,
    })
}

/// Has a client's invoices collected by card: those never tried at once, those given up when it was off where they were, and those
/// that one of our faults or a missing customer stopped.
///
/// # Errors
/// When the client has no customer or no such card, the card cannot be charged, or the database is away.
pub async fn autopay_on(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    (card, reason): (Option<&str>, Option<&str>),
    by: &By<'_>,
) -> Result<AutopayShown> {
    let before = lock(tx, firm, client).await?;
    let method = usable(tx, firm, client, card.or(before.method.as_deref())).await?;
    let differs = !before.enabled || before.method_id != Some(method.id);
    if before.customer.is_none() {
        return Err(Fault::refused(
            "no_customer",
            "the client has no customer at Stripe to be charged",
        ));
    }
    if differs {
        autopay::switch_on(tx, firm, client, (before.method_id, method.id), reason, by).await?;
    }
    let resumed = cycles::review_paused(tx, firm, client, Asked::ByPerson, by.at, by.cause).await?;
    shown(tx, firm, client, (differs, resumed)).await
}

/// Stops it; retries that are planned are given up.
///
/// # Errors
/// When the database is away.
pub async fn autopay_off(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<AutopayShown> {
    let before = lock(tx, firm, client).await?;
    if before.enabled {
        autopay::switch_off(tx, firm, client, reason, by).await?;
    }
    shown(tx, firm, client, (before.enabled, 0)).await
}

/// The card to be charged from now on.
///
/// # Errors
/// When none is named, it is none of this client's, it cannot be charged any more, or the database is away.
pub async fn usable(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    wanted: Option<&str>,
) -> Result<PaymentMethod> {
    let Some(wanted) = wanted else {
        return Err(Fault::invalid(
            "payment-method",
            "the client has no card set: name one",
        ));
    };
    let method = payment_methods::find(tx, firm, client, wanted).await?;
    let method = method.ok_or_else(|| {
        Fault::NotFound(format!(
            "{wanted:?} is no payment method of this client: add it first"
        ))
    })?;
    if method.usable {
        Ok(method)
    } else {
        Err(Fault::refused(
            "method_unusable",
            format!("{wanted:?} cannot be charged any more: name another card"),
        ))
    }
}
