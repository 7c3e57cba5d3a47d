//! Customers: created, read, or taken as given when an import names one that nobody created here.
use serde_json::Value;

use super::api::Call;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::Customer;
use super::objects;
use super::state::State;

/// `POST /v1/customers`.
pub fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[
        "email",
        "name",
        "description",
        "metadata",
        "phone",
        "address",
        "payment_method",
        "invoice_settings",
    ])?;
    let id = state.ids.next("cus");
    state.customers.push(Customer {
        id: id.clone(),
        created: state.clock.now(),
        email: params.text("email").map(str::to_owned),
        name: params.text("name").map(str::to_owned),
        description: params.text("description").map(str::to_owned),
        default_payment_method: None,
        metadata: params.metadata()?,
    });
    state.emit_customer("customer.created", &id);
    render(state, &id)
}

/// `GET /v1/customers/{id}`.
pub fn retrieve(state: &mut State, id: &str) -> Result<Value, ApiError> {
    ensure(state, id)?;
    render(state, id)
}

/// `GET /v1/customers`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.params.only(&[&LIST_PARAMS[..], &["email"]].concat())?;
    let email = call.params.text("email");
    let rows = page(&state.customers, &call.params, |row| {
        email.is_none() || row.email.as_deref() == email
    })?;
    Ok(rows.render("/v1/customers", objects::customer))
}

/// Makes sure that a customer exists, making it if the rules allow.
pub fn ensure(state: &mut State, id: &str) -> Result<(), ApiError> {
    if state.customers.get(id).is_some() {
        return Ok(());
    }
    if !(state.rules.auto_create && id.starts_with("cus_")) {
        return Err(ApiError::missing("customer", id));
    }
    add(state, id);
    Ok(())
}

/// Adds a customer with a given id, as if it had been there all along: no event.
pub fn add(state: &mut State, id: &str) {
    state.customers.push(Customer {
        id: id.to_owned(),
        created: state.clock.now(),
        email: None,
        name: None,
        description: None,
        default_payment_method: None,
        metadata: Default::default(),
    });
}

fn render(state: &State, id: &str) -> Result<Value, ApiError> {
    state
        .customers
        .get(id)
        .map(objects::customer)
        .ok_or_else(|| ApiError::missing("customer", id))
}
