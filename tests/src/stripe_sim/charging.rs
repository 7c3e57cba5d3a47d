//! The state machine of a payment intent: what confirming comes to, and everything that follows later.
//!
//! ```text
//! requires_payment_method ─┐            ┌─▶ succeeded
//! requires_confirmation   ─┼─ confirm ──┼─▶ processing ── settle ──▶ succeeded | requires_payment_method
//! requires_action         ─┘            ├─▶ requires_action (cardholder present)
//!                                       └─▶ requires_payment_method + last_payment_error (402)
//! ```
//! Whatever happens, an intent captures at most once: [`capture`] is the only way to a succeeded charge and refuses a
//! second one.
use serde_json::json;

use super::balance::{Movement, book, processing_fee};
use super::cards::{Aftermath, Clearing, Decline, Step, aftermath};
use super::charges;
use super::disputes::{self, Opening};
use super::error::ApiError;
use super::model::{Charge, ChargeStatus, IntentStatus, PaymentIntent};
use super::objects::{self, Shape};
use super::payment_intents::{find, unexpected_state};
use super::payment_methods;
use super::state::State;

/// Whether somebody is there to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardholder {
    /// On-session.
    Present,
    /// `off_session=true`.
    Absent,
}

/// Whether an intent can still be confirmed, changed or canceled.
pub fn is_open(status: IntentStatus) -> bool {
    match status {
        IntentStatus::RequiresPaymentMethod
        | IntentStatus::RequiresConfirmation
        | IntentStatus::RequiresAction => true,
        IntentStatus::Processing | IntentStatus::Succeeded | IntentStatus::Canceled => false,
    }
}

/// Confirms an intent: charges its card, by the card's next step.
pub fn confirm(
    state: &mut State,
    id: &str,
    payment_method: Option<&str>,
    cardholder: Cardholder,
    shape: Shape,
) -> Result<(), ApiError> {
    let (intent, method) = prepare(state, id, payment_method, shape)?;
    let step = state.cards.next(&method, intent.customer.as_deref());
    take(state, &intent, &method, step, cardholder, shape)
}

/// The customer pays on-session (a portal, a hosted page, the dashboard); the card's script is not asked.
pub fn pay_on_session(
    state: &mut State,
    id: &str,
    payment_method: Option<&str>,
    step: Step,
    shape: Shape,
) -> Result<(), ApiError> {
    let last_tried = find(state, id)?.last_payment_error.as_ref();
    let last_tried = last_tried
        .and_then(|error| error["payment_method"]["id"].as_str())
        .map(str::to_owned);
    let method = payment_method.map(str::to_owned).or_else(|| {
        find(state, id)
            .ok()
            .and_then(|intent| intent.payment_method.clone())
            .or(last_tried)
    });
    let (intent, method) = prepare(state, id, method.as_deref(), shape)?;
    take(state, &intent, &method, step, Cardholder::Present, shape)
}

/// The outcome of a charge that was processing.
pub fn settle(state: &mut State, id: &str, step: Step, shape: Shape) -> Result<(), ApiError> {
    let intent = find(state, id)?.clone();
    if intent.status != IntentStatus::Processing {
        return Err(unexpected_state(state, &intent, "settled", shape));
    }
    let method = intent.payment_method.clone().unwrap_or_default();
    match step {
        Step::Succeed => capture(state, &intent, &method, shape),
        // The caller is the bank, not the merchant: a decline is what it asked for, not an error.
        Step::Decline(reason) => decline(state, &intent, &method, &reason, shape).map(drop),
        Step::Authenticate | Step::Processing => Err(ApiError::invalid(
            "A processing payment settles with succeed or a decline code.",
        )),
    }
}

/// Checks everything that is refused without an effect, and puts the card into the intent.
fn prepare(
    state: &mut State,
    id: &str,
    payment_method: Option<&str>,
    shape: Shape,
) -> Result<(PaymentIntent, String), ApiError> {
    let intent = find(state, id)?.clone();
    if !is_open(intent.status) {
        return Err(unexpected_state(state, &intent, "confirmed", shape));
    }
    let Some(method) = payment_method
        .map(str::to_owned)
        .or(intent.payment_method.clone())
    else {
        let object = objects::payment_intent(state, &intent, shape);
        return Err(ApiError::invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the \
             PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a \
             payment method.",
        )
        .code("payment_intent_unexpected_state")
        .with("payment_intent", object));
    };
    payment_methods::ensure(state, &method).map_err(|error| error.in_param("payment_method"))?;
    payment_methods::belongs(state, &method, intent.customer.as_deref())?;
    payment_methods::adopt(state, &method, intent.customer.as_deref());
    Ok((intent, method))
}

fn take(
    state: &mut State,
    intent: &PaymentIntent,
    method: &str,
    step: Step,
    cardholder: Cardholder,
    shape: Shape,
) -> Result<(), ApiError> {
    match (step, cardholder) {
        (Step::Succeed, _) => capture(state, intent, method, shape),
        (Step::Decline(reason), _) => Err(decline(state, intent, method, &reason, shape)?),
        (Step::Authenticate, Cardholder::Absent) => {
            let reason = Decline::named("authentication_required").ok_or_else(|| {
                ApiError::new(
                    500,
                    "api_error",
                    "The table of declines lost authentication_required.",
                )
            })?;
            Err(decline(state, intent, method, &reason, shape)?)
        }
        (Step::Authenticate, Cardholder::Present) => {
            move_to(state, &intent.id, method, IntentStatus::RequiresAction);
            state.emit_intent("payment_intent.requires_action", &intent.id);
            Ok(())
        }
        (Step::Processing, _) => {
            add_charge(state, intent, method, ChargeStatus::Pending, None);
            move_to(state, &intent.id, method, IntentStatus::Processing);
            state.emit_intent("payment_intent.processing", &intent.id);
            Ok(())
        }
    }
}

/// The only way to a succeeded charge.
fn capture(state: &mut State, intent: &PaymentIntent, method: &str, shape: Shape) -> Result<(), ApiError> {
    let captured_before = intent.charges.iter().filter_map(|id| state.charges.get(id));
    if captured_before
        .into_iter()
        .any(|charge| charge.status == ChargeStatus::Succeeded)
    {
        return Err(unexpected_state(state, intent, "captured again", shape));
    }
    let charge = finish_charge(state, intent, method, ChargeStatus::Succeeded, None);
    if state.cards.clearing(method) == Clearing::AtOnce {
        put_on_balance(state, &charge)?;
    }
    move_to(state, &intent.id, method, IntentStatus::Succeeded);
    state.emit_charge("charge.succeeded", &charge, None);
    state.emit_intent("payment_intent.succeeded", &intent.id);
    let kind = match aftermath(method) {
        Some(Aftermath::Chargeback) => disputes::Kind::Chargeback,
        Some(Aftermath::Inquiry) => disputes::Kind::Inquiry,
        None => return Ok(()),
    };
    disputes::open(state, &charge, Opening::of(kind)).map(drop)
}

/// A charge that was captured and is not on the balance yet gets there, with its fee: `charge.updated`.
pub fn clear(state: &mut State, charge: &str) -> Result<(), ApiError> {
    let row = charges::find(state, charge)?;
    if row.status != ChargeStatus::Succeeded || row.balance_transaction.is_some() {
        return Err(ApiError::invalid(format!(
            "Charge {charge} took no money, or is on the balance already."
        )));
    }
    put_on_balance(state, charge)?;
    state.emit_charge(
        "charge.updated",
        charge,
        Some(json!({ "balance_transaction": null })),
    );
    Ok(())
}

fn put_on_balance(state: &mut State, charge: &str) -> Result<(), ApiError> {
    let row = charges::find(state, charge)?.clone();
    let movement = Movement {
        amount: row.amount,
        fee: processing_fee(row.amount),
        currency: &row.currency,
        kind: "charge",
        reporting_category: "charge",
        source: charge,
        description: row.description.as_deref().unwrap_or("Payment"),
    };
    let movement = book(state, movement);
    if let Some(row) = state.charges.get_mut(charge) {
        row.balance_transaction = Some(movement);
    }
    Ok(())
}

/// A failed charge; gives the 402 that tells of it.
fn decline(
    state: &mut State,
    intent: &PaymentIntent,
    method: &str,
    reason: &Decline,
    shape: Shape,
) -> Result<ApiError, ApiError> {
    let charge = finish_charge(state, intent, method, ChargeStatus::Failed, Some(reason));
    let card = state
        .payment_methods
        .get(method)
        .ok_or_else(|| ApiError::missing("PaymentMethod", method))?;
    let fields = objects::card_error(reason, Some(&charge), card);
    if let Some(row) = state.intents.get_mut(&intent.id) {
        row.status = IntentStatus::RequiresPaymentMethod;
        row.payment_method = None; // Stripe drops a declined card from the intent
        row.last_payment_error = Some(fields.clone().into());
    }
    state.emit_charge("charge.failed", &charge, None);
    state.emit_intent("payment_intent.payment_failed", &intent.id);
    let error = ApiError { status: 402, fields };
    Ok(error.with(
        "payment_intent",
        objects::payment_intent(state, find(state, &intent.id)?, shape),
    ))
}

fn move_to(state: &mut State, id: &str, method: &str, status: IntentStatus) {
    if let Some(row) = state.intents.get_mut(id) {
        row.status = status;
        row.payment_method = Some(method.to_owned());
        row.last_payment_error = None;
    }
}

/// Ends the pending charge of a processing intent, or adds one that ended at once.
fn finish_charge(
    state: &mut State,
    intent: &PaymentIntent,
    method: &str,
    status: ChargeStatus,
    reason: Option<&Decline>,
) -> String {
    if let Some(id) = intent.latest_charge()
        && let Some(row) = state.charges.get_mut(id)
        && row.status == ChargeStatus::Pending
    {
        row.status = status;
        row.decline = reason.cloned();
        return id.to_owned();
    }
    add_charge(state, intent, method, status, reason)
}

fn add_charge(
    state: &mut State,
    intent: &PaymentIntent,
    method: &str,
    status: ChargeStatus,
    reason: Option<&Decline>,
) -> String {
    let id = state.ids.next("ch");
    state.charges.push(Charge {
        id: id.clone(),
        created: state.clock.now(),
        amount: intent.amount,
        currency: intent.currency.clone(),
        status,
        payment_intent: intent.id.clone(),
        customer: intent.customer.clone(),
        payment_method: method.to_owned(),
        description: intent.description.clone(),
        metadata: intent.metadata.clone(),
        decline: reason.cloned(),
        balance_transaction: None,
        amount_refunded: 0,
        refunds: Vec::new(),
        disputes: Vec::new(),
    });
    if let Some(row) = state.intents.get_mut(&intent.id) {
        row.charges.push(id.clone());
    }
    id
}
