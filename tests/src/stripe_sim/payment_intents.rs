//! Payment intents over the API: create, read, update, cancel. Taking the money is `charging`'s.
use serde_json::Value;

use super::api::Call;
use super::charging::{self, Cardholder};
use super::currencies::check_amount;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::model::{IntentStatus, Metadata, PaymentIntent};
use super::objects::{self, Shape};
use super::params::Params;
use super::state::State;
use super::{customers, payment_methods};

/// Accepted although nothing here depends on them.
const IGNORED: &[&str] = &[
    "automatic_payment_methods",
    "capture_method",
    "confirmation_method",
    "mandate",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "use_stripe_sdk",
];

/// `POST /v1/payment_intents`.
pub fn create(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    let known = [
        "amount",
        "currency",
        "customer",
        "payment_method",
        "confirm",
        "off_session",
        "error_on_requires_action",
        "metadata",
        "description",
        "setup_future_usage",
    ];
    params.only(&[&known[..], IGNORED].concat())?;
    if params
        .text("capture_method")
        .is_some_and(|method| method == "manual")
    {
        return Err(ApiError::invalid("The simulator captures automatically only.").param("capture_method"));
    }
    let currency = params.required("currency")?.to_lowercase();
    params.required("amount")?;
    let amount = params.integer("amount")?.unwrap_or_default();
    check_amount(amount, &currency)?;
    let customer = params.text("customer");
    if let Some(customer) = customer {
        customers::ensure(state, customer).map_err(|error| error.in_param("customer"))?;
    }
    let payment_method = params.text("payment_method");
    if let Some(method) = payment_method {
        usable(state, method, customer)?;
    }
    let confirm = params.boolean("confirm")?.unwrap_or(false);
    let cardholder = cardholder(params)?;
    if confirm && payment_method.is_none() {
        return Err(ApiError::invalid("You cannot confirm without a payment method.")
            .code("parameter_missing")
            .param("payment_method"));
    }
    let id = state.ids.next("pi");
    state.intents.push(PaymentIntent {
        id: id.clone(),
        created: state.clock.now(),
        amount,
        currency,
        status: match payment_method {
            Some(_) => IntentStatus::RequiresConfirmation,
            None => IntentStatus::RequiresPaymentMethod,
        },
        customer: customer.map(str::to_owned),
        payment_method: payment_method.map(str::to_owned),
        description: params.text("description").map(str::to_owned),
        setup_future_usage: params.text("setup_future_usage").map(str::to_owned),
        metadata: params.metadata()?,
        charges: Vec::new(),
        last_payment_error: None,
        canceled_at: None,
        cancellation_reason: None,
    });
    state.emit_intent("payment_intent.created", &id);
    if confirm {
        charging::confirm(state, &id, None, cardholder, call.shape)?;
    }
    render(state, &id, call.shape)
}

/// `GET /v1/payment_intents/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.params.only(&["client_secret"])?;
    render(state, id, call.shape)
}

/// `GET /v1/payment_intents`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.params.only(&[&LIST_PARAMS[..], &["customer"]].concat())?;
    let customer = call.params.text("customer");
    let rows = page(&state.intents, &call.params, |row| {
        customer.is_none() || row.customer.as_deref() == customer
    })?;
    Ok(rows.render("/v1/payment_intents", |row| {
        objects::payment_intent(state, row, call.shape)
    }))
}

/// `POST /v1/payment_intents/{id}`.
pub fn update(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let params = &call.params;
    let known = [
        "amount",
        "currency",
        "customer",
        "payment_method",
        "metadata",
        "description",
        "setup_future_usage",
    ];
    params.only(&[&known[..], IGNORED].concat())?;
    let intent = find(state, id)?.clone();
    let touches_payment = ["amount", "currency", "customer", "payment_method"]
        .iter()
        .any(|name| params.text(name).is_some());
    if touches_payment && !charging::is_open(intent.status) {
        return Err(unexpected_state(state, &intent, "updated", call.shape));
    }
    let amount = params.integer("amount")?.unwrap_or(intent.amount);
    let currency = params
        .text("currency")
        .map_or(intent.currency.clone(), str::to_lowercase);
    check_amount(amount, &currency)?;
    let metadata = params.metadata()?;
    let customer = params.text("customer").or(intent.customer.as_deref());
    if let Some(customer) = customer {
        customers::ensure(state, customer).map_err(|error| error.in_param("customer"))?;
    }
    if let Some(method) = params.text("payment_method") {
        usable(state, method, customer)?;
    }
    if let Some(row) = state.intents.get_mut(id) {
        row.amount = amount;
        row.currency = currency;
        row.customer = customer.map(str::to_owned);
        row.description = params
            .text("description")
            .map(str::to_owned)
            .or(intent.description);
        row.setup_future_usage = params
            .text("setup_future_usage")
            .map(str::to_owned)
            .or(intent.setup_future_usage);
        if let Some(method) = params.text("payment_method") {
            row.payment_method = Some(method.to_owned());
            row.status = IntentStatus::RequiresConfirmation;
        } else if touches_payment && row.status == IntentStatus::RequiresAction {
            row.status = IntentStatus::RequiresConfirmation; // what was to be authenticated is no longer what is asked
        }
        merge(&mut row.metadata, metadata);
        row.last_payment_error = None; // Stripe clears it with an update of any kind; the charge that failed stands
    }
    render(state, id, call.shape)
}

/// `POST /v1/payment_intents/{id}/confirm`.
pub fn confirm(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    let params = &call.params;
    let known = ["payment_method", "off_session", "error_on_requires_action"];
    params.only(&[&known[..], IGNORED].concat())?;
    charging::confirm(
        state,
        id,
        params.text("payment_method"),
        cardholder(params)?,
        call.shape,
    )?;
    render(state, id, call.shape)
}

/// `POST /v1/payment_intents/{id}/cancel`.
pub fn cancel(state: &mut State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.params.only(&["cancellation_reason"])?;
    let reason = call.params.text("cancellation_reason");
    let reasons = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
    if let Some(reason) = reason
        && !reasons.contains(&reason)
    {
        return Err(ApiError::invalid(format!(
            "Invalid cancellation_reason: must be one of {}",
            reasons.join(", ")
        ))
        .param("cancellation_reason"));
    }
    let intent = find(state, id)?.clone();
    if !charging::is_open(intent.status) {
        return Err(unexpected_state(state, &intent, "canceled", call.shape));
    }
    let now = state.clock.now();
    if let Some(row) = state.intents.get_mut(id) {
        row.status = IntentStatus::Canceled;
        row.canceled_at = Some(now);
        row.cancellation_reason = reason.map(str::to_owned);
    }
    state.emit_intent("payment_intent.canceled", id);
    render(state, id, call.shape)
}

/// An intent, or 404.
pub fn find<'s>(state: &'s State, id: &str) -> Result<&'s PaymentIntent, ApiError> {
    state
        .intents
        .get(id)
        .ok_or_else(|| ApiError::missing("payment_intent", id).param("intent"))
}

/// The intent as JSON.
pub fn render(state: &State, id: &str, shape: Shape) -> Result<Value, ApiError> {
    Ok(objects::payment_intent(state, find(state, id)?, shape))
}

/// 400 `payment_intent_unexpected_state`, with the intent as it is.
pub fn unexpected_state(state: &State, intent: &PaymentIntent, wanted: &str, shape: Shape) -> ApiError {
    let object = objects::payment_intent(state, intent, shape);
    let status = object["status"].as_str().unwrap_or_default().to_owned();
    ApiError::invalid(format!(
        "This PaymentIntent could not be {wanted} because it has a status of {status}."
    ))
    .code("payment_intent_unexpected_state")
    .with("payment_intent", object)
}

fn usable(state: &mut State, method: &str, customer: Option<&str>) -> Result<(), ApiError> {
    payment_methods::ensure(state, method).map_err(|error| error.in_param("payment_method"))?;
    payment_methods::belongs(state, method, customer)
}

/// `off_session` is a boolean on creation and may be `one_off` or `recurring` too. Who asks for an error instead of
/// `requires_action` has nobody to send through an authentication either.
fn cardholder(params: &Params) -> Result<Cardholder, ApiError> {
    let off_session = match params.text("off_session") {
        Some("one_off" | "recurring") => true,
        _ => params.boolean("off_session")?.unwrap_or(false),
    };
    let alone = off_session || params.boolean("error_on_requires_action")?.unwrap_or(false);
    Ok(if alone {
        Cardholder::Absent
    } else {
        Cardholder::Present
    })
}

/// An empty value deletes its key.
fn merge(metadata: &mut Metadata, changes: Metadata) {
    for (key, value) in changes {
        if value.is_empty() {
            metadata.remove(&key);
        } else {
            metadata.insert(key, value);
        }
    }
}
