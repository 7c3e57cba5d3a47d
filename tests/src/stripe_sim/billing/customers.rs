//! What Stripe Billing keeps on a customer: where invoices go, and the card that pays for them.
use serde_json::Value;

use crate::stripe_sim::api::Call;
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::state::State;
use crate::stripe_sim::{customers, payment_methods};

/// The parameter with the card.
const CARD: &str = "invoice_settings[default_payment_method]";

/// `POST /v1/customers/{id}`.
pub fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&["email", "name", "description", "metadata", "invoice_settings"])?;
    customers::ensure(state, id)?;
    let metadata = params.metadata()?;
    if let Some(card) = params.text(CARD) {
        set_card(state, id, card)?;
    }
    if let Some(row) = state.customers.get_mut(id) {
        row.email = params.text("email").map(str::to_owned).or(row.email.take());
        row.name = params.text("name").map(str::to_owned).or(row.name.take());
        row.metadata.extend(metadata);
    }
    state.emit_customer("customer.updated", id);
    customers::retrieve(state, id)
}

/// Makes a card the one that pays a customer's invoices.
pub fn set_card(state: &mut State, customer: &str, card: &str) -> Result<(), ApiError> {
    payment_methods::ensure(state, card).map_err(|error| error.in_param(CARD))?;
    payment_methods::belongs(state, card, Some(customer))?;
    payment_methods::adopt(state, card, Some(customer));
    if let Some(row) = state.customers.get_mut(customer) {
        row.default_payment_method = Some(card.to_owned());
    }
    Ok(())
}
