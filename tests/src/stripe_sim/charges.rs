//! Charges over the API: read only, they come from payment intents.
use serde_json::Value;

use super::api::Call;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::Charge;
use super::objects;
use super::state::State;

/// `GET /v1/charges/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    Ok(objects::charge(state, find(state, id)?, call.shape))
}

/// `GET /v1/charges`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["payment_intent", "customer"]].concat())?;
    let (intent, customer) = (params.text("payment_intent"), params.text("customer"));
    let rows = page(&state.charges, params, |row| {
        intent.is_none_or(|id| row.payment_intent == id)
            && (customer.is_none() || row.customer.as_deref() == customer)
    })?;
    Ok(rows.render("/v1/charges", |row| objects::charge(state, row, call.shape)))
}

/// A charge, or 404.
pub fn find<'s>(state: &'s State, id: &str) -> Result<&'s Charge, ApiError> {
    state
        .charges
        .get(id)
        .ok_or_else(|| ApiError::missing("charge", id))
}
