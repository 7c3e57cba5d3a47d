//! Events: every change makes one, with the object as it was at that moment, never to change again.
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::api::Call;
use super::chaos::Fate;
use super::error::ApiError;
use super::lists::{LIST_PARAMS, page};
use super::objects;
use super::state::{Origin, State};
use super::table::{Row, Table};
use super::webhooks::DeliveryAttempt;

/// "Events going back 30 days" are readable.
const RETENTION_SECS: i64 = 30 * 24 * 3600;
/// "An array of up to 20 strings containing specific event names."
const MOST_TYPES: usize = 20;
/// Beyond this many the oldest are forgotten even before: some two kilobytes each.
const LIMIT: usize = 100_000;

/// An event.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub created: i64,
    pub kind: String,
    pub api_version: String,
    pub livemode: bool,
    /// Set on events of connected accounts.
    pub account: Option<String>,
    /// `data.object`, kept as text: it is delivered far more often than looked into.
    pub object: Box<RawValue>,
    /// `data.previous_attributes`.
    pub previous: Option<Value>,
    pub origin: Origin,
    /// Webhook endpoints that have not said 2xx yet.
    pub awaiting: Vec<String>,
    /// Whether it was lost on purpose: no endpoint gets it by itself.
    pub dropped: bool,
    pub attempts: Vec<DeliveryAttempt>,
}

impl Row for Event {
    fn id(&self) -> &str {
        &self.id
    }
    fn created(&self) -> i64 {
        self.created
    }
}

/// The event as it goes over the wire.
#[derive(Serialize)]
struct Envelope<'e> {
    id: &'e str,
    object: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'e str>,
    api_version: &'e str,
    created: i64,
    data: Data<'e>,
    livemode: bool,
    pending_webhooks: usize,
    request: Request<'e>,
    r#type: &'e str,
}

#[derive(Serialize)]
struct Data<'e> {
    object: &'e RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_attributes: Option<&'e Value>,
}

#[derive(Serialize)]
struct Request<'e> {
    id: Option<&'e str>,
    idempotency_key: Option<&'e str>,
}

impl Event {
    fn envelope(&self) -> Envelope<'_> {
        Envelope {
            id: &self.id,
            object: "event",
            account: self.account.as_deref(),
            api_version: &self.api_version,
            created: self.created,
            data: Data {
                object: &self.object,
                previous_attributes: self.previous.as_ref(),
            },
            livemode: self.livemode,
            pending_webhooks: self.awaiting.len(),
            request: Request {
                id: self.origin.request_id.as_deref(),
                idempotency_key: self.origin.idempotency_key.as_deref(),
            },
            r#type: &self.kind,
        }
    }

    /// The bytes that are signed and delivered.
    pub fn body(&self) -> String {
        serde_json::to_string(&self.envelope()).unwrap_or_default()
    }

    /// The event over the API.
    pub fn render(&self) -> Value {
        json!(self.envelope())
    }

    /// Whether it has reached everybody; one that was dropped has reached nobody until it is delivered by hand.
    fn is_delivered(&self) -> bool {
        self.awaiting.is_empty() && (!self.dropped || self.attempts.iter().any(DeliveryAttempt::succeeded))
    }

    /// Whether every endpoint has been tried at least once.
    pub fn is_tried(&self) -> bool {
        self.dropped
            || self
                .awaiting
                .iter()
                .all(|id| self.attempts.iter().any(|attempt| attempt.endpoint == *id))
    }
}

/// All events, and those of the piece of work under way.
pub struct EventLog {
    pub table: Table<Event>,
    /// Ids made since this was last taken: what a caller may want to wait for.
    pub fresh: Vec<String>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            table: Table::bounded(LIMIT),
            fresh: Vec::new(),
        }
    }
}

/// `GET /v1/events/{id}`.
pub fn retrieve(state: &State, call: &Call, id: &str) -> Result<Value, ApiError> {
    call.params.only(&[])?;
    let event = state
        .events
        .table
        .get(id)
        .filter(|event| is_retained(state, event));
    event
        .map(Event::render)
        .ok_or_else(|| ApiError::missing("event", id))
}

/// `GET /v1/events`.
pub fn list(state: &State, call: &Call) -> Result<Value, ApiError> {
    let params = &call.params;
    params.only(&[&LIST_PARAMS[..], &["type", "types", "delivery_success"]].concat())?;
    let mut types = params.list("types");
    if types.len() > MOST_TYPES {
        return Err(ApiError::invalid(format!("You may give at most {MOST_TYPES} types.")).param("types"));
    }
    types.extend(params.text("type"));
    let delivered = params.boolean("delivery_success")?;
    let rows = page(&state.events.table, params, |event| {
        is_retained(state, event)
            && (types.is_empty() || types.iter().any(|wanted| matches(wanted, &event.kind)))
            && delivered.is_none_or(|wanted| wanted == event.is_delivered())
    })?;
    Ok(rows.render("/v1/events", Event::render))
}

/// `charge.*` covers every event of charges.
fn matches(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => wanted == kind,
    }
}

fn is_retained(state: &State, event: &Event) -> bool {
    state.clock.now() - event.created < RETENTION_SECS
}

impl State {
    /// Something happened to a payment intent.
    pub fn emit_intent(&mut self, kind: &str, id: &str) {
        let shape = self.webhooks.settings.shape;
        if let Some(object) = self
            .intents
            .get(id)
            .map(|row| objects::payment_intent(self, row, shape))
        {
            self.emit(kind, &object, None);
        }
    }

    /// Something happened to a charge.
    pub fn emit_charge(&mut self, kind: &str, id: &str, previous: Option<Value>) {
        let shape = self.webhooks.settings.shape;
        if let Some(object) = self.charges.get(id).map(|row| objects::charge(self, row, shape)) {
            self.emit(kind, &object, previous);
        }
    }

    /// Something happened to a refund.
    pub fn emit_refund(&mut self, kind: &str, id: &str) {
        let shape = self.webhooks.settings.shape;
        if let Some(object) = self.refunds.get(id).map(|row| objects::refund(row, shape)) {
            self.emit(kind, &object, None);
        }
    }

    /// Something happened to a dispute.
    pub fn emit_dispute(&mut self, kind: &str, id: &str) {
        let shape = self.webhooks.settings.shape;
        if let Some(object) = self
            .disputes
            .get(id)
            .map(|row| objects::dispute(self, row, shape))
        {
            self.emit(kind, &object, None);
        }
    }

    /// Something happened to a payment method.
    pub fn emit_payment_method(&mut self, kind: &str, id: &str, previous: Option<Value>) {
        if let Some(object) = self.payment_methods.get(id).map(objects::payment_method) {
            self.emit(kind, &object, previous);
        }
    }

    /// Something happened to a customer.
    pub fn emit_customer(&mut self, kind: &str, id: &str) {
        if let Some(object) = self.customers.get(id).map(objects::customer) {
            self.emit(kind, &object, None);
        }
    }

    /// Something happened: one event of it, or two.
    pub fn emit(&mut self, kind: &str, object: &Value, previous: Option<Value>) {
        // "In some cases, two separate Event objects are generated and sent": two ids, one change.
        let fate = self.dice.event(kind, object);
        let doubled = self.webhooks.settings.double || fate == Fate::Doubled;
        let copies = if doubled { 2 } else { 1 };
        for _ in 0..copies {
            let Ok(object) = to_raw_value(object) else { return };
            let event = Event {
                id: self.ids.next("evt"),
                created: self.clock.now(),
                kind: kind.to_owned(),
                api_version: self.webhooks.settings.api_version.clone(),
                livemode: false,
                account: None,
                object,
                previous: previous.clone(),
                origin: self.origin.clone(),
                awaiting: Vec::new(),
                dropped: false,
                attempts: Vec::new(),
            };
            self.announce(event, fate);
        }
    }

    /// Puts an event into the log and on its way to every endpoint.
    pub fn announce(&mut self, mut event: Event, fate: Fate) {
        event.dropped = event.dropped || fate == Fate::Dropped || self.webhooks.drops(&event.kind);
        event.awaiting = self.webhooks.endpoint_ids();
        if !event.dropped {
            let (copies, delay) = match fate {
                Fate::Repeated(more) => (1 + more, Duration::ZERO),
                Fate::Overtaken(delay) | Fate::Late(delay) => (1, delay),
                Fate::Usual | Fate::Dropped | Fate::Doubled => (1, Duration::ZERO),
            };
            for _ in 0..copies {
                self.webhooks.enqueue(&event.id, Instant::now() + delay);
            }
        }
        self.events.fresh.push(event.id.clone());
        self.events.table.push(event);
    }
}
