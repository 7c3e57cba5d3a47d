//! Control calls that play customers and their cards.
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::stripe_sim::cards::{Clearing, Step};
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::model::RefundStatus;
use crate::stripe_sim::objects::{self, Shape};
use crate::stripe_sim::payment_methods::CardUpdate;
use crate::stripe_sim::state::State;
use crate::stripe_sim::{charging, customers, payment_intents, payment_methods};

/// `POST /_sim/customers`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCustomer {
    id: String,
}

/// `POST /_sim/payment_methods`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCard {
    id: String,
    customer: Option<String>,
    script: Option<Vec<Value>>,
    brand: Option<String>,
    last4: Option<String>,
    exp_month: Option<i64>,
    exp_year: Option<i64>,
}

/// `POST /_sim/cards`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    payment_method: Option<String>,
    customer: Option<String>,
    script: Option<Vec<Value>>,
    refunds: Option<RefundStatus>,
    clears: Option<Clearing>,
}

/// `POST /_sim/payment_intents/{id}/pay` and `…/settle`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    payment_method: Option<String>,
    outcome: Option<Value>,
}

pub fn add_customer(state: &mut State, new: NewCustomer) -> Answer {
    if !new.id.starts_with("cus_") {
        return Err(ApiError::invalid("A customer's id begins with cus_.").param("id"));
    }
    if state.customers.get(&new.id).is_none() {
        customers::add(state, &new.id);
    }
    customers::retrieve(state, &new.id)
}

pub fn add_card(state: &mut State, new: NewCard) -> Answer {
    if !new.id.starts_with("pm_") {
        return Err(ApiError::invalid("A payment method's id begins with pm_.").param("id"));
    }
    if let Some(customer) = &new.customer
        && state.customers.get(customer).is_none()
    {
        customers::add(state, customer);
    }
    if let Some(script) = &new.script {
        state.cards.script(&new.id, script).map_err(ApiError::invalid)?;
    }
    if state.payment_methods.get(&new.id).is_none() {
        payment_methods::add(state, &new.id, None);
    }
    if let Some(card) = state.payment_methods.get_mut(&new.id) {
        card.customer = new.customer.or(card.customer.take());
        card.brand = new.brand.unwrap_or(std::mem::take(&mut card.brand));
        card.last4 = new.last4.unwrap_or(std::mem::take(&mut card.last4));
        card.exp_month = new.exp_month.unwrap_or(card.exp_month);
        card.exp_year = new.exp_year.unwrap_or(card.exp_year);
    }
    payment_methods::retrieve(state, &new.id)
}

pub fn renew_card(state: &mut State, id: &str, update: CardUpdate) -> Answer {
    payment_methods::update_automatically(state, id, &update)
}

pub fn script(state: &mut State, order: Script) -> Answer {
    let ((None, Some(id)) | (Some(id), None)) = (&order.payment_method, &order.customer) else {
        return Err(ApiError::invalid("Name either a payment_method or a customer."));
    };
    if let Some(script) = &order.script {
        state.cards.script(id, script).map_err(ApiError::invalid)?;
    }
    if (order.refunds.is_some() || order.clears.is_some()) && order.customer.is_some() {
        return Err(ApiError::invalid(
            "What refunds come to and when a charge clears is a matter of the card: name a payment_method.",
        ));
    }
    if let Some(status) = order.refunds {
        state.cards.refunds_become(id, status);
    }
    if let Some(clearing) = order.clears {
        state.cards.clears(id, clearing);
    }
    Ok(json!({ "id": id, "script": order.script, "refunds": order.refunds, "clears": order.clears }))
}

pub fn pay(state: &mut State, id: &str, payment: Payment) -> Answer {
    let outcome = outcome(&payment)?;
    match charging::pay_on_session(state, id, payment.payment_method.as_deref(), outcome, Shape::New) {
        // The cardholder is told of a decline; for whoever plays the cardholder it is what they asked for.
        Err(error) if error.status != 402 => Err(error),
        Ok(()) | Err(_) => payment_intents::render(state, id, Shape::New),
    }
}

pub fn settle(state: &mut State, id: &str, payment: Payment) -> Answer {
    let outcome = outcome(&payment)?;
    charging::settle(state, id, outcome, Shape::New)?;
    Ok(objects::payment_intent(
        state,
        payment_intents::find(state, id)?,
        Shape::New,
    ))
}

fn outcome(payment: &Payment) -> Result<Step, ApiError> {
    payment
        .outcome
        .as_ref()
        .map_or(Ok(Step::Succeed), Step::parse)
        .map_err(ApiError::invalid)
}
