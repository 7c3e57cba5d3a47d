//! Products and their prices.
use serde_json::Value;

use super::model::{Price, Product};
use super::objects;
use crate::stripe_sim::api::Call;
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::lists::{LIST_PARAMS, page};
use crate::stripe_sim::state::State;

/// `POST /v1/products`.
pub fn create_product(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&["name", "description", "metadata"])?;
    let row = Product {
        id: state.ids.next("prod"),
        created: state.clock.now(),
        name: params.required("name")?.to_owned(),
        metadata: params.metadata()?,
    };
    let object = objects::product(&row);
    state.products.push(row);
    Ok(object)
}

/// `POST /v1/prices`.
pub fn create_price(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[
        "product",
        "unit_amount",
        "currency",
        "recurring",
        "metadata",
        "nickname",
    ])?;
    let product = params.required("product")?.to_owned();
    if state.products.get(&product).is_none() {
        return Err(ApiError::missing("product", &product).in_param("product"));
    }
    if params.required("recurring[interval]")? != "month" {
        return Err(ApiError::invalid("The simulator has monthly prices only.").param("recurring[interval]"));
    }
    params.required("unit_amount")?;
    let row = Price {
        id: state.ids.next("price"),
        created: state.clock.now(),
        product,
        unit_amount: params.integer("unit_amount")?.unwrap_or_default(),
        currency: params.required("currency")?.to_lowercase(),
        metadata: params.metadata()?,
    };
    let object = objects::price(&row);
    state.prices.push(row);
    Ok(object)
}

/// `GET /v1/products/{id}`.
pub fn product(state: &State, id: &str) -> Result<Value, ApiError> {
    let row = state.products.get(id).map(objects::product);
    row.ok_or_else(|| ApiError::missing("product", id))
}

/// `GET /v1/prices/{id}`.
pub fn price(state: &State, id: &str) -> Result<Value, ApiError> {
    let row = state.prices.get(id).map(objects::price);
    row.ok_or_else(|| ApiError::missing("price", id))
}

/// `GET /v1/prices`.
pub fn prices(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.params.only(&[&LIST_PARAMS[..], &["product"]].concat())?;
    let product = call.params.text("product");
    let rows = page(&state.prices, &call.params, |row| {
        product.is_none_or(|product| row.product == product)
    })?;
    Ok(rows.render("/v1/prices", objects::price))
}
