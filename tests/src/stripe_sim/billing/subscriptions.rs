//! Subscriptions over the API: made, changed, ended. What time does to them is `renewal`'s.
use serde_json::Value;

use super::model::{InvoiceStatus, Line, Subscription, SubscriptionStatus};
use super::{invoices, objects, renewal};
use crate::stripe_sim::api::Call;
use crate::stripe_sim::customers;
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::lists::{LIST_PARAMS, page};
use crate::stripe_sim::model::Metadata;
use crate::stripe_sim::state::State;

/// What a subscription is made of.
pub struct New<'a> {
    pub customer: &'a str,
    pub price: &'a str,
    pub card: Option<&'a str>,
    pub metadata: Metadata,
}

/// `POST /v1/subscriptions`.
pub fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[
        "customer",
        "items",
        "payment_behavior",
        "off_session",
        "metadata",
        "default_payment_method",
        "proration_behavior",
    ])?;
    let customer = params.required("customer")?;
    customers::ensure(state, customer).map_err(|error| error.in_param("customer"))?;
    let new = New {
        customer,
        price: params.required("items[0][price]")?,
        card: params.text("default_payment_method"),
        metadata: params.metadata()?,
    };
    let has_card = new.card.is_some()
        || state
            .customers
            .get(customer)
            .is_some_and(|row| row.default_payment_method.is_some());
    let is_free = state
        .prices
        .get(new.price)
        .is_some_and(|price| price.unit_amount == 0);
    if !has_card && !is_free {
        return Err(ApiError::invalid(
            "This customer has no attached payment source or default payment method. Please consider adding a default payment \
             method.",
        )
        .code("resource_missing"));
    }
    let id = begin(state, &new)?;
    retrieve(state, call, &id)
}

/// Makes a subscription and collects its first invoice.
pub fn begin(state: &mut State, new: &New<'_>) -> Result<String, ApiError> {
    if state.prices.get(new.price).is_none() {
        return Err(ApiError::missing("price", new.price).in_param("items[0][price]"));
    }
    let (id, now) = (state.ids.next("sub"), state.clock.now());
    let row = Subscription {
        id: id.clone(),
        created: now,
        customer: new.customer.to_owned(),
        item: state.ids.next("si"),
        price: new.price.to_owned(),
        status: SubscriptionStatus::Incomplete,
        period_start: now,
        period_end: renewal::end_of_period(now, 1),
        anchor: now,
        periods: 1,
        cancel_at_period_end: false,
        canceled_at: None,
        ended_at: None,
        default_payment_method: new.card.map(str::to_owned),
        latest_invoice: None,
        pending: Vec::new(),
        metadata: new.metadata.clone(),
    };
    let lines = renewal::lines_of(state, &row);
    state.subscriptions.push(row.clone());
    state.emit_subscription("customer.subscription.created", &id);
    let invoice = invoices::create(state, &row, "subscription_create", lines);
    invoices::finalize(state, &invoice);
    invoices::collect(state, &invoice);
    Ok(id)
}

/// `GET /v1/subscriptions/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let row = state.subscriptions.get(id);
    row.map(|row| objects::subscription(state, row, call.shape))
        .ok_or_else(|| ApiError::missing("subscription", id))
}

/// `GET /v1/subscriptions`: without those that are over, unless `status` is `all`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["customer", "status"]].concat())?;
    let (customer, all) = (params.text("customer"), params.text("status") == Some("all"));
    let rows = page(&state.subscriptions, params, |row| {
        customer.is_none_or(|customer| row.customer == customer) && (all || !row.status.is_over())
    })?;
    Ok(rows.render("/v1/subscriptions", |row| {
        objects::subscription(state, row, call.shape)
    }))
}

/// `POST /v1/subscriptions/{id}`.
pub fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[
        "items",
        "proration_behavior",
        "cancel_at_period_end",
        "metadata",
        "default_payment_method",
    ])?;
    let row = state
        .subscriptions
        .get(id)
        .ok_or_else(|| ApiError::missing("subscription", id))?;
    if row.status.is_over() {
        return Err(ApiError::invalid(
            "A canceled subscription can only update its metadata.",
        ));
    }
    if let Some(item) = params.text("items[0][id]").filter(|item| *item != row.item) {
        return Err(ApiError::missing("subscription_item", item).in_param("items[0][id]"));
    }
    let prorates = params.text("proration_behavior") != Some("none");
    if let Some(price) = params.text("items[0][price]") {
        change_price(state, id, price, prorates)?;
    }
    if let Some(ends) = params.boolean("cancel_at_period_end")? {
        renew_itself(state, id, !ends);
    }
    state.emit_subscription("customer.subscription.updated", id);
    retrieve(state, call, id)
}

/// Another price from now on: the next invoice gives back what is left of the old one and has what is left at the new one.
pub fn change_price(state: &mut State, id: &str, price: &str, prorates: bool) -> Result<(), ApiError> {
    let amount = |state: &State, price: &str| state.prices.get(price).map(|row| row.unit_amount);
    let Some(new) = amount(state, price) else {
        return Err(ApiError::missing("price", price).in_param("items[0][price]"));
    };
    let now = state.clock.now();
    let Some(row) = state.subscriptions.get(id).cloned() else {
        return Err(ApiError::missing("subscription", id));
    };
    let old = amount(state, &row.price).unwrap_or_default();
    let (left, whole) = (
        (row.period_end - now).max(0),
        (row.period_end - row.period_start).max(1),
    );
    let part = |amount: i64, price: &str| Line {
        amount: amount * left / whole,
        start: now,
        end: row.period_end,
        proration: true,
        price: price.to_owned(),
    };
    if let Some(changed) = state.subscriptions.get_mut(id) {
        if prorates && row.price != price {
            changed.pending.push(part(-old, &row.price));
            changed.pending.push(part(new, price));
        }
        changed.price = price.to_owned();
    }
    Ok(())
}

/// Lets it renew itself, or not.
pub fn renew_itself(state: &mut State, id: &str, renews: bool) {
    let now = state.clock.now();
    if let Some(row) = state.subscriptions.get_mut(id) {
        row.cancel_at_period_end = !renews;
        row.canceled_at = (!renews).then_some(now);
    }
}

/// `DELETE /v1/subscriptions/{id}`: ends it at once; what is open of it stays open.
pub fn cancel(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.params
        .only(&["invoice_now", "prorate", "cancellation_details"])?;
    let row = state
        .subscriptions
        .get(id)
        .ok_or_else(|| ApiError::missing("subscription", id))?;
    if row.status.is_over() {
        return Err(ApiError::missing("subscription", id));
    }
    renewal::end(state, id, SubscriptionStatus::Canceled);
    let drafts = state.invoices.ids_of(id);
    for invoice in drafts {
        if let Some(row) = state.invoices.get_mut(&invoice)
            && row.status == InvoiceStatus::Draft
        {
            row.status = InvoiceStatus::Void;
        }
    }
    retrieve(state, call, id)
}
