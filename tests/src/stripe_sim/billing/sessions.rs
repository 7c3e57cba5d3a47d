//! Pages that Stripe shows to customers: the billing portal, and a checkout that ends in a subscription.
use serde_json::Value;

use super::model::Session;
use super::subscriptions::{self, New};
use super::{customers as cards, objects};
use crate::stripe_sim::api::Call;
use crate::stripe_sim::customers;
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::state::State;

/// `POST /v1/billing_portal/sessions`.
pub fn portal(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&["customer", "return_url", "configuration", "flow_data", "locale"])?;
    let customer = params.required("customer")?.to_owned();
    customers::ensure(state, &customer).map_err(|error| error.in_param("customer"))?;
    let row = Session {
        id: state.ids.next("bps"),
        created: state.clock.now(),
        customer,
        price: None,
        return_url: params.required("return_url")?.to_owned(),
        metadata: Default::default(),
        subscription: None,
    };
    let object = objects::session(&row);
    state.sessions.push(row);
    Ok(object)
}

/// `POST /v1/checkout/sessions`, in mode `subscription`.
pub fn checkout(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[
        "mode",
        "customer",
        "line_items",
        "success_url",
        "cancel_url",
        "subscription_data",
        "metadata",
    ])?;
    if params.required("mode")? != "subscription" {
        return Err(ApiError::invalid("The simulator plays checkouts of subscriptions only.").param("mode"));
    }
    let customer = params.required("customer")?.to_owned();
    customers::ensure(state, &customer).map_err(|error| error.in_param("customer"))?;
    let price = params.required("line_items[0][price]")?.to_owned();
    if state.prices.get(&price).is_none() {
        return Err(ApiError::missing("price", &price).in_param("line_items[0][price]"));
    }
    let row = Session {
        id: state.ids.next("cs_test"),
        created: state.clock.now(),
        customer,
        price: Some(price),
        return_url: params.required("success_url")?.to_owned(),
        metadata: params.map("subscription_data[metadata]"),
        subscription: None,
    };
    let object = objects::session(&row);
    state.sessions.push(row);
    Ok(object)
}

/// The customer gives a card on the page and subscribes.
pub fn complete(state: &mut State, id: &str, card: &str) -> Result<Value, ApiError> {
    let missing = || ApiError::missing("checkout.session", id);
    let row = state.sessions.get(id).cloned().ok_or_else(missing)?;
    let Some(price) = row.price.filter(|_| row.subscription.is_none()) else {
        return Err(ApiError::invalid("This page is no checkout, or it is complete."));
    };
    cards::set_card(state, &row.customer, card)?;
    let new = New {
        customer: &row.customer,
        price: &price,
        card: Some(card),
        metadata: row.metadata,
    };
    let subscription = subscriptions::begin(state, &new)?;
    if let Some(row) = state.sessions.get_mut(id) {
        row.subscription = Some(subscription);
    }
    let object = state.sessions.get(id).map(objects::session).ok_or_else(missing)?;
    state.emit("checkout.session.completed", &object, None);
    Ok(object)
}
