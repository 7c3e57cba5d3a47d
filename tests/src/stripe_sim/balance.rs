//! The account's balance: one row per movement of money.
use serde_json::Value;

use super::api::Call;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::BalanceTransaction;
use super::objects;
use super::state::State;

/// A movement to book.
pub struct Movement<'a> {
    pub amount: i64,
    pub fee: i64,
    pub currency: &'a str,
    /// Stripe's `type`.
    pub kind: &'static str,
    pub reporting_category: &'static str,
    pub source: &'a str,
    pub description: &'a str,
}

/// Books a movement and says under which id.
pub fn book(state: &mut State, movement: Movement<'_>) -> String {
    let id = state.ids.next("txn");
    state.balance.push(BalanceTransaction {
        id: id.clone(),
        created: state.clock.now(),
        amount: movement.amount,
        fee: movement.fee,
        currency: movement.currency.to_owned(),
        kind: movement.kind,
        reporting_category: movement.reporting_category,
        source: movement.source.to_owned(),
        description: movement.description.to_owned(),
    });
    id
}

/// What Stripe keeps of a card payment: 2.9 % and 30 minor units, as on its price list for US cards.
pub fn processing_fee(amount: i64) -> i64 {
    amount * 29 / 1000 + 30
}

/// `GET /v1/balance_transactions/{id}`.
pub fn retrieve(state: &State, id: &str) -> Result<Value, ApiError> {
    let row = state
        .balance
        .get(id)
        .ok_or_else(|| ApiError::missing("balance_transaction", id))?;
    Ok(objects::balance_transaction(row))
}

/// `GET /v1/balance_transactions`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["source", "type", "currency"]].concat())?;
    let equal = |name: &str, value: &str| params.text(name).is_none_or(|wanted| wanted == value);
    let rows = page(&state.balance, params, |row| {
        equal("source", &row.source) && equal("type", row.kind) && equal("currency", &row.currency)
    })?;
    Ok(rows.render("/v1/balance_transactions", objects::balance_transaction))
}
