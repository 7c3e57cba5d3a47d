//! Invoices: made, finalized, collected, paid by hand, void.
use serde_json::Value;

use super::model::{Invoice, InvoiceStatus, Line, Subscription};
use super::{objects, renewal};
use crate::stripe_sim::api::Call;
use crate::stripe_sim::charging::{self, Cardholder};
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::lists::{LIST_PARAMS, page};
use crate::stripe_sim::model::{IntentStatus, PaymentIntent};
use crate::stripe_sim::objects::Shape;
use crate::stripe_sim::state::State;
use crate::stripe_sim::table::Table;

impl Table<Invoice> {
    /// The invoices of a subscription.
    pub fn ids_of(&self, subscription: &str) -> Vec<String> {
        let of = self.iter().filter(|row| row.subscription == subscription);
        of.map(|row| row.id.clone()).collect()
    }
}

/// Makes a draft for a subscription, which names it as its latest.
pub fn create(state: &mut State, of: &Subscription, why: &'static str, lines: Vec<Line>) -> String {
    let id = state.ids.next("in");
    let currency = state.prices.get(&of.price).map(|price| price.currency.clone());
    state.invoices.push(Invoice {
        id: id.clone(),
        created: state.clock.now(),
        number: format!("SIM-{}", id.trim_start_matches("in_")),
        customer: of.customer.clone(),
        subscription: of.id.clone(),
        status: InvoiceStatus::Draft,
        currency: currency.unwrap_or_else(|| "usd".to_owned()),
        billing_reason: why,
        period_start: of.period_start,
        period_end: of.period_end,
        lines,
        amount_paid: 0,
        attempt_count: 0,
        next_attempt: None,
        finalized_at: None,
        paid_at: None,
        intent: None,
    });
    if let Some(row) = state.subscriptions.get_mut(&of.id) {
        row.latest_invoice = Some(id.clone());
    }
    state.emit_invoice("invoice.created", &id);
    id
}

/// Opens a draft, with the intent that it is paid with.
pub fn finalize(state: &mut State, id: &str) {
    let now = state.clock.now();
    let Some(row) = state.invoices.get_mut(id) else {
        return;
    };
    row.status = InvoiceStatus::Open;
    row.finalized_at = Some(now);
    let row = row.clone();
    if row.due() > 0 {
        let intent = state.ids.next("pi");
        state.intents.push(PaymentIntent {
            id: intent.clone(),
            created: now,
            amount: row.due(),
            currency: row.currency,
            status: IntentStatus::RequiresPaymentMethod,
            customer: Some(row.customer),
            payment_method: None,
            description: Some("Subscription".to_owned()),
            setup_future_usage: Some("off_session".to_owned()),
            metadata: Default::default(),
            charges: Vec::new(),
            last_payment_error: None,
            canceled_at: None,
            cancellation_reason: None,
        });
        state.emit_intent("payment_intent.created", &intent);
        if let Some(row) = state.invoices.get_mut(id) {
            row.intent = Some(intent);
        }
    }
    state.emit_invoice("invoice.finalized", id);
}

/// Tries to collect an open invoice with the card of its subscription, or of its customer.
pub fn collect(state: &mut State, id: &str) {
    let Some(row) = state.invoices.get(id).cloned() else {
        return;
    };
    let Some(intent) = row.intent.clone() else {
        return settle(state, id);
    };
    let of = state.subscriptions.get(&row.subscription);
    let card = of.and_then(|of| of.default_payment_method.clone()).or_else(|| {
        state
            .customers
            .get(&row.customer)
            .and_then(|customer| customer.default_payment_method.clone())
    });
    if let Some(row) = state.invoices.get_mut(id) {
        row.attempt_count += 1;
        row.next_attempt = None;
    }
    let got = card.is_some_and(|card| {
        charging::confirm(state, &intent, Some(&card), Cardholder::Absent, Shape::New).is_ok()
    });
    let succeeded = state
        .intents
        .get(&intent)
        .is_some_and(|intent| intent.status == IntentStatus::Succeeded);
    if got && succeeded {
        return settle(state, id);
    }
    renewal::failed(state, &row.subscription, id, row.attempt_count + 1);
    state.emit_invoice("invoice.updated", id);
    state.emit_invoice("invoice.payment_failed", id);
}

/// The money is there.
fn settle(state: &mut State, id: &str) {
    let now = state.clock.now();
    let Some(row) = state.invoices.get_mut(id) else {
        return;
    };
    row.status = InvoiceStatus::Paid;
    row.amount_paid = row.due();
    row.paid_at = Some(now);
    row.next_attempt = None;
    let subscription = row.subscription.clone();
    state.emit_invoice("invoice.updated", id);
    state.emit_invoice("invoice.paid", id);
    state.emit_invoice("invoice.payment_succeeded", id);
    renewal::paid(state, &subscription);
}

/// Somebody pays an open invoice with a card of theirs: on Stripe's page, or in the dashboard.
pub fn pay(state: &mut State, id: &str, card: Option<&str>) -> Result<(), ApiError> {
    let row = open(state, id)?;
    if let Some(card) = card {
        super::customers::set_card(state, &row.customer, card)?;
    }
    collect(state, id);
    Ok(())
}

/// Nobody wants the money any more.
pub fn void(state: &mut State, id: &str) -> Result<(), ApiError> {
    let row = open(state, id)?;
    leave(state, id, InvoiceStatus::Void);
    state.emit_invoice("invoice.voided", id);
    renewal::paid(state, &row.subscription);
    Ok(())
}

/// Nobody expects the money any more.
pub fn give_up(state: &mut State, id: &str) -> Result<(), ApiError> {
    open(state, id)?;
    leave(state, id, InvoiceStatus::Uncollectible);
    state.emit_invoice("invoice.marked_uncollectible", id);
    Ok(())
}

fn leave(state: &mut State, id: &str, status: InvoiceStatus) {
    if let Some(row) = state.invoices.get_mut(id) {
        row.status = status;
        row.next_attempt = None;
    }
}

fn open(state: &State, id: &str) -> Result<Invoice, ApiError> {
    let row = state
        .invoices
        .get(id)
        .ok_or_else(|| ApiError::missing("invoice", id))?;
    match row.status {
        InvoiceStatus::Open | InvoiceStatus::Uncollectible => Ok(row.clone()),
        InvoiceStatus::Draft | InvoiceStatus::Paid | InvoiceStatus::Void => {
            Err(ApiError::invalid("This invoice is not open.").code("invoice_not_editable"))
        }
    }
}

/// `GET /v1/invoices/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let row = state.invoices.get(id);
    row.map(|row| objects::invoice(state, row, call.shape))
        .ok_or_else(|| ApiError::missing("invoice", id))
}

/// `GET /v1/invoices`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["customer", "subscription"]].concat())?;
    let (customer, subscription) = (params.text("customer"), params.text("subscription"));
    let rows = page(&state.invoices, params, |row| {
        customer.is_none_or(|customer| row.customer == customer)
            && subscription.is_none_or(|subscription| row.subscription == subscription)
    })?;
    Ok(rows.render("/v1/invoices", |row| objects::invoice(state, row, call.shape)))
}
