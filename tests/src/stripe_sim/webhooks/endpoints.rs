//! Webhook endpoints over the API: what the simulator was started with.
use serde_json::{Value, json};

use super::Endpoint;
use crate::stripe_sim::api::Call;
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::state::State;

/// `GET /v1/webhook_endpoints`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    call.params.only(&["limit", "starting_after", "ending_before"])?;
    let data: Vec<Value> = state
        .webhooks
        .endpoints()
        .iter()
        .rev()
        .map(|row| render(state, row))
        .collect();
    Ok(json!({ "object": "list", "url": "/v1/webhook_endpoints", "has_more": false, "data": data }))
}

/// An endpoint over the API; its secret is never told again.
pub fn render(state: &State, endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id, "object": "webhook_endpoint", "created": endpoint.created, "livemode": false,
        "url": endpoint.url, "status": "enabled", "enabled_events": ["*"], "application": null, "description": null,
        "metadata": {}, "api_version": state.webhooks.settings.api_version,
    })
}
