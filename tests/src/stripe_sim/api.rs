//! The Stripe API: one call in, one object or error out. Synchronous, under the lock, without any network.
use serde_json::{Value, json};

use super::billing::{self, catalogue, invoices, sessions, subscriptions};
use super::error::ApiError;
use super::objects::{self, Shape};
use super::params::Params;
use super::state::State;
use super::webhooks::endpoints;
use super::{balance, charges, customers, disputes, events, payment_intents, payment_methods, refunds};

/// One API call.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    /// With `/v1`.
    pub path: String,
    pub params: Params,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    pub idempotency_key: Option<String>,
    /// The value of `Stripe-Version`, or the simulator's own.
    pub version: String,
    /// The shape that belongs to the version.
    pub shape: Shape,
}

/// What may be expanded; `data` leads into lists.
const EXPANDABLE: &[&str] = &[
    "data",
    "balance_transaction",
    "charge",
    "customer",
    "default_payment_method",
    "failure_balance_transaction",
    "invoice_settings",
    "latest_charge",
    "latest_invoice",
    "payment_intent",
    "payment_method",
    "payments",
];

/// Executes a call, then expands what it asked to expand.
pub fn execute(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let paths = call.params.list("expand");
    // Before the call: one that has taken effect must not be refused any more.
    if let Some(path) = paths
        .iter()
        .find(|path| !path.split('.').all(|field| EXPANDABLE.contains(&field)))
    {
        return Err(ApiError::invalid(format!("This property cannot be expanded ({path}).")).param("expand"));
    }
    billing::renewal::tick(state);
    let mut object = route(state, call)?;
    for path in paths {
        expand(state, &mut object, path, call.shape);
    }
    Ok(object)
}

fn route(state: &mut State, call: &Call) -> Result<Value, ApiError> {
    let path = call.path.strip_prefix("/v1/").unwrap_or_default();
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("POST", ["customers"]) => customers::create(state, call),
        ("GET", ["customers"]) => customers::list(state, call),
        ("GET", ["customers", id]) => customers::retrieve(state, id),
        ("POST", ["customers", id]) => billing::customers::update(state, call, id),
        ("GET", ["customers", id, "payment_methods"]) => payment_methods::list(state, call, Some(id)),
        ("GET", ["payment_methods"]) => payment_methods::list(state, call, None),
        ("GET", ["payment_methods", id]) => payment_methods::retrieve(state, id),
        ("POST", ["payment_methods", id, "attach"]) => payment_methods::attach(state, call, id),
        ("POST", ["payment_methods", id, "detach"]) => payment_methods::detach(state, call, id),
        ("POST", ["payment_intents"]) => payment_intents::create(state, call),
        ("GET", ["payment_intents"]) => payment_intents::list(state, call),
        ("GET", ["payment_intents", id]) => payment_intents::retrieve(state, call, id),
        ("POST", ["payment_intents", id]) => payment_intents::update(state, call, id),
        ("POST", ["payment_intents", id, "confirm"]) => payment_intents::confirm(state, call, id),
        ("POST", ["payment_intents", id, "cancel"]) => payment_intents::cancel(state, call, id),
        ("GET", ["charges"]) => charges::list(state, call),
        ("GET", ["charges", id]) => charges::retrieve(state, call, id),
        ("GET", ["charges", id, "refunds"]) => refunds::list(state, call, Some(id)),
        ("POST", ["refunds"]) => refunds::create(state, call),
        ("GET", ["refunds"]) => refunds::list(state, call, None),
        ("GET", ["refunds", id]) => refunds::retrieve(state, call, id),
        ("GET", ["disputes"]) => disputes::list(state, call),
        ("GET", ["disputes", id]) => disputes::retrieve(state, call, id),
        ("GET", ["balance_transactions"]) => balance::list(state, call),
        ("GET", ["balance_transactions", id]) => balance::retrieve(state, id),
        ("POST", ["products"]) => catalogue::create_product(state, call),
        ("GET", ["products", id]) => catalogue::product(state, id),
        ("POST", ["prices"]) => catalogue::create_price(state, call),
        ("GET", ["prices"]) => catalogue::prices(state, call),
        ("GET", ["prices", id]) => catalogue::price(state, id),
        ("POST", ["subscriptions"]) => subscriptions::create(state, call),
        ("GET", ["subscriptions"]) => subscriptions::list(state, call),
        ("GET", ["subscriptions", id]) => subscriptions::retrieve(state, call, id),
        ("POST", ["subscriptions", id]) => subscriptions::update(state, call, id),
        ("DELETE", ["subscriptions", id]) => subscriptions::cancel(state, call, id),
        ("GET", ["invoices"]) => invoices::list(state, call),
        ("GET", ["invoices", id]) => invoices::retrieve(state, call, id),
        ("POST", ["billing_portal", "sessions"]) => sessions::portal(state, call),
        ("POST", ["checkout", "sessions"]) => sessions::checkout(state, call),
        ("GET", ["events"]) => events::list(state, call),
        ("GET", ["events", id]) => events::retrieve(state, call, id),
        ("GET", ["webhook_endpoints"]) => endpoints::list(state, call),
        ("GET", ["account"]) => Ok(account()),
        (method, _) => Err(ApiError::new(
            404,
            "invalid_request_error",
            format!(
                "Unrecognized request URL ({method}: {}). The simulator does not play this part of Stripe.",
                call.path
            ),
        )),
    }
}

fn account() -> Value {
    json!({
        "id": "acct_simulator", "object": "account", "business_type": "company", "charges_enabled": true,
        "country": "US", "created": 0, "default_currency": "usd", "details_submitted": true, "email": null,
        "metadata": {}, "payouts_enabled": true, "type": "standard",
    })
}

/// Replaces an id by the object that it stands for: `latest_charge`, `data.latest_charge.balance_transaction`.
fn expand(state: &State, object: &mut Value, path: &str, shape: Shape) {
    if let Value::Array(elements) = object {
        return elements
            .iter_mut()
            .for_each(|element| expand(state, element, path, shape));
    }
    let (field, rest) = path
        .split_once('.')
        .map_or((path, None), |(field, rest)| (field, Some(rest)));
    // There only when it is asked for; the old shape has a field for the intent.
    if field == "payments" && object["object"] == "invoice" {
        if shape == Shape::New {
            let id = object["id"].as_str().unwrap_or_default().to_owned();
            object["payments"] = billing::objects::payments(state, &id);
        }
        return;
    }
    let Some(target) = object.get_mut(field) else {
        // An intent in the old shape has its charges embedded.
        if field == "latest_charge"
            && let (Some(rest), Some(charges)) = (rest, object.pointer_mut("/charges/data"))
        {
            expand(state, charges, rest, shape);
        }
        return;
    };
    if let Some(found) = target.as_str().and_then(|id| lookup(state, id, shape)) {
        *target = found;
    }
    if let Some(rest) = rest {
        expand(state, target, rest, shape);
    }
}

fn lookup(state: &State, id: &str, shape: Shape) -> Option<Value> {
    let (prefix, _) = id.split_once('_')?;
    match prefix {
        "pi" => state
            .intents
            .get(id)
            .map(|row| objects::payment_intent(state, row, shape)),
        "ch" => state
            .charges
            .get(id)
            .map(|row| objects::charge(state, row, shape)),
        "re" => state.refunds.get(id).map(|row| objects::refund(row, shape)),
        "dp" => state
            .disputes
            .get(id)
            .map(|row| objects::dispute(state, row, shape)),
        "txn" => state.balance.get(id).map(objects::balance_transaction),
        "cus" => state.customers.get(id).map(objects::customer),
        "sub" => state
            .subscriptions
            .get(id)
            .map(|row| billing::objects::subscription(state, row, shape)),
        "in" => state
            .invoices
            .get(id)
            .map(|row| billing::objects::invoice(state, row, shape)),
        "pm" => state.payment_methods.get(id).map(objects::payment_method),
        _ => None,
    }
}
