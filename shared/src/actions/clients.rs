//! A client's cards and its automatic payment. What is being collected follows in the same transaction.

use serde::Serialize;
use serde_json::json;

use super::{Fault, Result};
use crate::{
    domain::collection::Asked,
    ids::{ClientId, FirmId, JobId},
    store::{
        Tx,
        audit::By,
        autopay::{self, State},
        cycles,
        jobs::{self, NewJob, Queue},
        payment_methods::{self, Card, PaymentMethod},
    },
};

/// The job that asks Stripe for a card and attaches it.
pub const ATTACH: &str = "attach_card";
/// Longest id of a card.
const LONGEST_ID: usize = 255;

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
async fn lock(tx: &mut Tx, firm: FirmId, client: ClientId) -> Result<State> {
    autopay::lock_collection(tx, firm, client).await?;
    Ok(autopay::lock(tx, firm, client).await?)
}

/// How it stands now.
async fn shown(
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
async fn usable(tx: &mut Tx, firm: FirmId, client: ClientId, wanted: Option<&str>) -> Result<PaymentMethod> {
    let Some(wanted) = wanted else {
        return Err(Fault::invalid(
            "id",
            "the client has no card set: name one with --payment-method",
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

/// Has a worker ask Stripe for a card and attach it, for whoever asks nobody itself.
///
/// # Errors
/// When this is no id of a card, or the database is away.
pub async fn order_card(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    (card, charge_it): (&str, bool),
    by: &By<'_>,
) -> Result<Option<JobId>> {
    let is_id = card.len() <= LONGEST_ID
        && card.contains('_')
        && card.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_id {
        return Err(Fault::invalid(
            "payment_method",
            "give Stripe's id of the card, such as pm_1",
        ));
    }
    let payload = json!({
        "client_id": client, "payment_method": card, "charge_it": charge_it, "asked_by": by.actor.name(),
    });
    let key = format!("{client}:{card}:{}", by.cause.id);
    let job = NewJob::new(Queue::Maintenance, ATTACH, key, payload, by.at).firm(firm);
    Ok(jobs::enqueue(tx, &job).await?)
}

/// Attaches a card as Stripe has it, or writes down what it looks like now, and has it charged from now on where that is wanted.
///
/// # Errors
/// When Stripe keeps it for another customer, it cannot be charged, or the database is away.
pub async fn attach_card(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    ((id, customer), card, charge_it): ((&str, Option<&str>), &Card<'_>, bool),
    by: &By<'_>,
) -> Result<AutopayShown> {
    let before = lock(tx, firm, client).await?;
    if customer.is_none() || customer != before.customer.as_deref() {
        return Err(Fault::refused(
            "other_customer",
            format!("Stripe keeps {id} for another customer, or for none"),
        ));
    }
    let waited = cycles::waiting_for_a_card(tx, firm, client).await?;
    let (added, went_on) = attach(tx, firm, client, &before, (id, card), by).await?;
    let taken = charge_it && use_card(tx, firm, client, &before, id, by).await?;
    let resumed = went_on + if taken { waited } else { 0 };
    shown(tx, firm, client, (added || taken, resumed)).await
}

/// Has a card of the client's charged from now on. Returns whether another one, or none, was before.
async fn use_card(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    before: &State,
    card: &str,
    by: &By<'_>,
) -> Result<bool> {
    let method = usable(tx, firm, client, Some(card)).await?;
    let differs = !before.enabled || before.method_id != Some(method.id);
    if differs {
        autopay::switch_on(tx, firm, client, (before.method_id, method.id), None, by).await?;
    }
    Ok(differs)
}

/// Where it is the card that is charged, what stood still because of it goes on; one that was refused for good is not tried again
/// while it is as it was. Returns whether anything about it is new, and how many collections go on.
async fn attach(
    tx: &mut Tx,
    firm: FirmId,
    client: ClientId,
    before: &State,
    (id, card): (&str, &Card<'_>),
    by: &By<'_>,
) -> Result<(bool, usize)> {
    let stored = payment_methods::find(tx, firm, client, id).await?;
    let Some(stored) = stored else {
        // Whether it is charged from now on is for the client to say: `client autopay on`.
        payment_methods::attach(tx, firm, client, id, card, by).await?;
        return Ok((true, 0));
    };
    // What an issuer refused for good is refused again while nothing about it has changed (B-24).
    let is_new = stored.detached || !stored.looks_like(card);
    let is_charged = before.enabled && before.method_id == Some(stored.id);
    let mut resumed = 0;
    if is_new {
        payment_methods::update(tx, firm, client, stored.id, card, by).await?;
        if is_charged {
            resumed += cycles::method_updated(tx, firm, client, by.at, by.cause).await?;
        }
    }
    if is_charged {
        resumed += cycles::review_paused(tx, firm, client, Asked::WithCard, by.at, by.cause).await?;
    }
    Ok((is_new, resumed))
}
