//! Payment methods: cards, each of one customer, except for Stripe's test cards which everybody shares.
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::api::Call;
use super::cards::is_test_card;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::PaymentMethod;
use super::state::State;
use super::{customers, objects};

/// What the automatic card updater changes.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CardUpdate {
    pub exp_month: Option<i64>,
    pub exp_year: Option<i64>,
    pub last4: Option<String>,
    /// A new script for the renewed card.
    pub script: Option<Vec<Value>>,
}

/// `GET /v1/payment_methods/{id}`.
pub fn retrieve(state: &mut State, id: &str) -> Result<Value, ApiError> {
    ensure(state, id)?;
    render(state, id)
}

/// `GET /v1/payment_methods?customer=` and `/v1/customers/{id}/payment_methods`.
pub fn list(state: &State, call: &Call, of_path: Option<&str>) -> Result<Value, ApiError> {
    call.params
        .only(&[&LIST_PARAMS[..], &["customer", "type"]].concat())?;
    let customer = of_path.or(call.params.text("customer"));
    let rows = page(&state.payment_methods, &call.params, |row| {
        row.customer.is_some() && (customer.is_none() || row.customer.as_deref() == customer)
    })?;
    Ok(rows.render(&call.path, objects::payment_method))
}

/// `POST /v1/payment_methods/{id}/attach`.
pub fn attach(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.params.only(&["customer"])?;
    let customer = call.params.required("customer")?;
    customers::ensure(state, customer).map_err(|error| error.in_param("customer"))?;
    ensure(state, id)?;
    belongs(state, id, Some(customer))?;
    if let Some(method) = state.payment_methods.get_mut(id)
        && method.customer.is_none()
    {
        method.customer = Some(customer.to_owned());
        state.emit_payment_method("payment_method.attached", id, None);
    }
    render(state, id)
}

/// `POST /v1/payment_methods/{id}/detach`.
pub fn detach(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.params.only(&[])?;
    ensure(state, id)?;
    let before = state
        .payment_methods
        .get_mut(id)
        .and_then(|method| method.customer.take());
    if before.is_none() {
        return Err(ApiError::invalid(
            "The payment method you provided is not attached to a customer.",
        ));
    }
    state.emit_payment_method("payment_method.detached", id, Some(json!({ "customer": before })));
    render(state, id)
}

/// Makes sure that a payment method exists, making it if the rules allow.
pub fn ensure(state: &mut State, id: &str) -> Result<(), ApiError> {
    if state.payment_methods.get(id).is_some() {
        return Ok(());
    }
    if !(is_test_card(id) || state.rules.auto_create && id.starts_with("pm_")) {
        return Err(ApiError::missing("PaymentMethod", id));
    }
    add(state, id, None);
    Ok(())
}

/// Adds a card with a given id, as if it had been there all along: no event.
pub fn add(state: &mut State, id: &str, customer: Option<&str>) {
    let (brand, last4) = match id {
        id if id.contains("mastercard") => ("mastercard", "4444"),
        id if id.contains("amex") => ("amex", "0005"),
        _ => ("visa", "4242"),
    };
    state.payment_methods.push(PaymentMethod {
        id: id.to_owned(),
        created: state.clock.now(),
        customer: customer.map(str::to_owned),
        brand: brand.to_owned(),
        last4: last4.to_owned(),
        exp_month: 12,
        exp_year: 2034,
        fingerprint: fingerprint(&[id]),
        metadata: Default::default(),
    });
}

/// Refuses a card of another customer. A card of nobody becomes the customer's when it is first used.
pub fn belongs(state: &State, id: &str, customer: Option<&str>) -> Result<(), ApiError> {
    let owner = state
        .payment_methods
        .get(id)
        .and_then(|method| method.customer.as_deref());
    if is_test_card(id) || owner.is_none() || owner == customer {
        return Ok(());
    }
    let message = match customer {
        Some(customer) => format!(
            "The customer {customer} does not have a payment method with the ID {id}. \
             The payment method must be attached to the customer."
        ),
        None => format!(
            "The PaymentMethod {id} belongs to the Customer {}. Please include the Customer in the `customer` parameter.",
            owner.unwrap_or_default()
        ),
    };
    Err(ApiError::invalid(message).param("payment_method"))
}

/// Gives a card of nobody to the customer who pays with it.
pub fn adopt(state: &mut State, id: &str, customer: Option<&str>) {
    if let (Some(method), Some(customer)) = (state.payment_methods.get_mut(id), customer)
        && method.customer.is_none()
        && !is_test_card(id)
    {
        method.customer = Some(customer.to_owned());
    }
}

/// The card network renews a card.
pub fn update_automatically(state: &mut State, id: &str, update: &CardUpdate) -> Result<Value, ApiError> {
    ensure(state, id)?;
    if let Some(script) = &update.script {
        state.cards.script(id, script).map_err(ApiError::invalid)?;
    }
    let mut before = serde_json::Map::new();
    if let Some(method) = state.payment_methods.get_mut(id) {
        if let Some(month) = update.exp_month {
            before.insert(
                "exp_month".into(),
                std::mem::replace(&mut method.exp_month, month).into(),
            );
        }
        if let Some(year) = update.exp_year {
            before.insert(
                "exp_year".into(),
                std::mem::replace(&mut method.exp_year, year).into(),
            );
        }
        if let Some(last4) = &update.last4 {
            before.insert(
                "last4".into(),
                std::mem::replace(&mut method.last4, last4.clone()).into(),
            );
            let renewed = fingerprint(&[id, last4]);
            before.insert(
                "fingerprint".into(),
                std::mem::replace(&mut method.fingerprint, renewed).into(),
            );
        }
    }
    state.emit_payment_method(
        "payment_method.automatically_updated",
        id,
        Some(json!({ "card": before })),
    );
    render(state, id)
}

fn render(state: &State, id: &str) -> Result<Value, ApiError> {
    state
        .payment_methods
        .get(id)
        .map(objects::payment_method)
        .ok_or_else(|| ApiError::missing("PaymentMethod", id))
}

/// The same card always has the same fingerprint; a renewed number has another.
fn fingerprint(of: &[&str]) -> String {
    hex::encode(&Sha256::digest(of.join("/"))[..8])
}
