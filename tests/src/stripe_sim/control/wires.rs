//! Control calls about events and how they reach the product.
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Answer;
use crate::stripe_sim::chaos::Fate;
use crate::stripe_sim::error::ApiError;
use crate::stripe_sim::events::Event;
use crate::stripe_sim::params::Params;
use crate::stripe_sim::sender;
use crate::stripe_sim::signature::Signature;
use crate::stripe_sim::state::{Origin, Sim, State};
use crate::stripe_sim::webhooks::{self, Change};

/// The longest that a flush waits for the endpoints to answer.
const MAX_FLUSH: Duration = Duration::from_secs(60);

/// `POST /_sim/webhook_endpoints`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    url: String,
    #[serde(default)]
    secrets: Vec<String>,
}

/// `POST /_sim/webhook_endpoints/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSecrets {
    secrets: Vec<String>,
}

/// `POST /_sim/events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    id: Option<String>,
    r#type: String,
    object: Box<RawValue>,
    api_version: Option<String>,
    #[serde(default)]
    livemode: bool,
    account: Option<String>,
    previous_attributes: Option<Value>,
    /// Whether it goes to the endpoints; `false` only puts it into the log.
    deliver: Option<bool>,
}

/// `POST /_sim/events/{id}/deliver`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    #[serde(default)]
    signature: Signature,
}

pub fn change(sim: &Sim, change: Change) -> Answer {
    let mut state = sim.lock();
    state.webhooks.change(change);
    Ok(report(&state))
}

/// The settings, how much is on its way, and the event made last.
pub fn report(state: &State) -> Value {
    let mut report = state.webhooks.report();
    report["newest"] = json!(state.events.table.before(None).next().map(|event| &event.id));
    report
}

pub async fn flush(sim: &Sim) -> Answer {
    sim.lock().webhooks.begin_flush(Instant::now());
    sim.wake.notify_waiters();
    sim.wait_until(MAX_FLUSH, |state| state.webhooks.is_flushed())
        .await;
    Ok(json!(sim.lock().webhooks.flush))
}

pub fn endpoints(state: &State) -> Value {
    let data: Vec<Value> = state
        .webhooks
        .endpoints()
        .iter()
        .map(|row| webhooks::endpoints::render(state, row))
        .collect();
    json!({ "data": data })
}

pub fn add_endpoint(sim: &Arc<Sim>, new: NewEndpoint) -> Answer {
    if reqwest::Url::parse(&new.url).is_err() {
        return Err(ApiError::invalid(format!("{} is no URL.", new.url)).param("url"));
    }
    if new.secrets.is_empty() && sim.lock().rules.webhook_secrets.is_empty() {
        return Err(ApiError::invalid("The endpoint needs a secret to sign with.").param("secrets"));
    }
    let id = sender::start(sim, new.url, new.secrets);
    let state = sim.lock();
    let endpoint = state
        .webhooks
        .endpoint(&id)
        .ok_or_else(|| ApiError::missing("webhook_endpoint", &id))?;
    Ok(webhooks::endpoints::render(&state, endpoint))
}

/// Signs with these from the next delivery on; what is under way has its header already.
pub fn roll_secrets(sim: &Sim, id: &str, new: NewSecrets) -> Answer {
    if new.secrets.is_empty() {
        return Err(ApiError::invalid("The endpoint needs a secret to sign with.").param("secrets"));
    }
    let mut state = sim.lock();
    state
        .webhooks
        .roll_secrets(id, new.secrets)
        .ok_or_else(|| ApiError::missing("webhook_endpoint", id))?;
    Ok(json!({ "id": id, "object": "webhook_endpoint" }))
}

pub fn remove_endpoint(sim: &Sim, id: &str) -> Answer {
    let mut state = sim.lock();
    state
        .webhooks
        .remove_endpoint(id)
        .ok_or_else(|| ApiError::missing("webhook_endpoint", id))?;
    Ok(json!({ "id": id, "object": "webhook_endpoint", "deleted": true }))
}

pub fn events(state: &State, query: &Params) -> Answer {
    query.only(&["type", "object", "limit"])?;
    let (kind, object) = (query.text("type"), query.text("object"));
    let limit = query
        .integer("limit")?
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let of_object =
        |event: &Event| object.is_none_or(|id| event.object.get().contains(&format!("\"id\":\"{id}\"")));
    let wanted = |event: &&Event| kind.is_none_or(|kind| event.kind == kind) && of_object(event);
    let mut data: Vec<Value> = state
        .events
        .table
        .before(None)
        .filter(wanted)
        .take(limit)
        .map(show)
        .collect();
    data.reverse();
    Ok(json!({ "data": data }))
}

pub fn inject(state: &mut State, new: NewEvent) -> Answer {
    let event = Event {
        id: new.id.unwrap_or_else(|| state.ids.next("evt")),
        created: state.clock.now(),
        kind: new.r#type,
        api_version: new
            .api_version
            .unwrap_or_else(|| state.webhooks.settings.api_version.clone()),
        livemode: new.livemode,
        account: new.account,
        object: new.object,
        previous: new.previous_attributes,
        origin: Origin::default(),
        awaiting: Vec::new(),
        dropped: new.deliver == Some(false),
        attempts: Vec::new(),
    };
    let id = event.id.clone();
    if state.events.table.get(&id).is_some() {
        return Err(ApiError::invalid(format!(
            "There is an event {id} already; deliver it again instead."
        ))
        .param("id"));
    }
    state.announce(event, Fate::Usual);
    state
        .events
        .table
        .get(&id)
        .map(show)
        .ok_or_else(|| ApiError::missing("event", &id))
}

pub async fn deliver(sim: &Sim, id: &str, delivery: Delivery) -> Answer {
    let endpoints = {
        let state = sim.lock();
        state
            .events
            .table
            .get(id)
            .ok_or_else(|| ApiError::missing("event", id))?;
        state.webhooks.endpoint_ids()
    };
    let mut attempts = Vec::new();
    for endpoint in endpoints {
        attempts.extend(sender::attempt(sim, &endpoint, id, delivery.signature).await);
    }
    Ok(json!({ "id": id, "attempts": attempts }))
}

fn show(event: &Event) -> Value {
    let mut shown = event.render();
    shown["sim"] =
        json!({ "attempts": event.attempts, "awaiting": event.awaiting, "dropped": event.dropped });
    shown
}
