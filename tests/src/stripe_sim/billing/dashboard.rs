//! Control calls that play the dashboard of Stripe Billing and the firm at Stripe's pages.
use serde::Deserialize;
use serde_json::{Value, json};

use super::{customers, invoices, objects, sessions, subscriptions};
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::objects::Shape;
use crate::stripe_sim::state::State;

/// `POST /_sim/customers/{id}/card`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardOfCustomer {
    payment_method: String,
}

/// `POST /_sim/invoices/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceAction {
    action: InvoiceVerb,
    payment_method: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InvoiceVerb {
    Pay,
    Void,
    GiveUp,
}

/// `POST /_sim/subscriptions/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionChange {
    price: Option<String>,
    auto_renewal: Option<bool>,
    cancel: Option<bool>,
}

/// `POST /_sim/checkout_sessions/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkout {
    payment_method: String,
}

type Answer = Result<Value, ApiError>;

pub fn set_card(state: &mut State, customer: &str, order: &CardOfCustomer) -> Answer {
    crate::stripe_sim::customers::ensure(state, customer)?;
    customers::set_card(state, customer, &order.payment_method)?;
    state.emit_customer("customer.updated", customer);
    Ok(json!({ "ok": true }))
}

pub fn invoice(state: &mut State, id: &str, order: &InvoiceAction) -> Answer {
    match order.action {
        InvoiceVerb::Pay => invoices::pay(state, id, order.payment_method.as_deref())?,
        InvoiceVerb::Void => invoices::void(state, id)?,
        InvoiceVerb::GiveUp => invoices::give_up(state, id)?,
    }
    let row = state.invoices.get(id);
    Ok(json!(row.map(|row| objects::invoice(state, row, Shape::New))))
}

pub fn subscription(state: &mut State, id: &str, order: &SubscriptionChange) -> Answer {
    if let Some(price) = &order.price {
        subscriptions::change_price(state, id, price, true)?;
    }
    if let Some(renews) = order.auto_renewal {
        subscriptions::renew_itself(state, id, renews);
    }
    if order.cancel == Some(true) {
        super::renewal::end(state, id, super::model::SubscriptionStatus::Canceled);
    } else {
        state.emit_subscription("customer.subscription.updated", id);
    }
    let row = state.subscriptions.get(id);
    Ok(json!(row.map(|row| objects::subscription(
        state,
        row,
        Shape::New
    ))))
}

pub fn checkout(state: &mut State, id: &str, order: &Checkout) -> Answer {
    sessions::complete(state, id, &order.payment_method)
}

/// Everything of Stripe Billing: what a story compares with.
pub fn report(state: &State) -> Value {
    let subscriptions = state
        .subscriptions
        .iter()
        .map(|row| objects::subscription(state, row, Shape::New));
    let invoices = state
        .invoices
        .iter()
        .map(|row| objects::invoice(state, row, Shape::New));
    json!({ "subscriptions": subscriptions.collect::<Vec<_>>(), "invoices": invoices.collect::<Vec<_>>() })
}
