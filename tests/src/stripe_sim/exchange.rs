//! One API call from its arrival to its answer: authentication, faults, idempotency, execution, log.
//!
//! Runs in a task of its own: a caller who hangs up does not undo what Stripe is about to do.
use std::time::Duration;

use serde_json::{Map, Value};

use super::answer::{Answer, Transfer};
use super::api::{self, Call};
use super::breakage;
use super::clock::wall_ms;
use super::error::ApiError;
use super::faults::{Fault, Kind};
use super::idempotency::{Begin, Stored};
use super::requests::Logged;
use super::state::{Origin, Sim, State};

/// The longest that an answer waits for its events (`before_response`).
const MAX_WAIT_FOR_EVENTS: Duration = Duration::from_secs(10);

/// Answers a call.
pub async fn exchange(sim: &Sim, call: Call) -> (Answer, Transfer) {
    let arrived_ms = wall_ms();
    let request_id = sim.lock().ids.next("req");
    let mut fault = None;
    let authenticated = authenticate(&sim.lock(), call.authorization.as_deref());
    let (answer, transfer) = match authenticated {
        Err(error) => (Answer::error(&error, &request_id), Transfer::Whole),
        Ok(()) => {
            fault = strike(&mut sim.lock(), &call);
            match fault
                .as_ref()
                .and_then(|fault| breakage::instead(fault, &request_id))
            {
                Some(broken) => broken,
                None => begin(sim, &call, fault.as_ref(), &request_id).await,
            }
        }
    };
    let answer = advise(&call, fault.as_ref(), answer);
    log(sim, &call, arrived_ms, fault.as_ref(), &answer, transfer);
    (answer, transfer)
}

/// What goes wrong with this call: by a rule, or else by the dice.
fn strike(state: &mut State, call: &Call) -> Option<Fault> {
    let ruled = state.faults.strike(&call.method, &call.path);
    ruled.or_else(|| {
        let customer = customer_of(state, call).unwrap_or_else(|| "-".into());
        state.dice.call(&call.method, &call.path, &customer)
    })
}

/// Whom a call is about.
fn customer_of(state: &State, call: &Call) -> Option<String> {
    let id = call.path.split('/').nth(3);
    let of_intent = id.and_then(|id| state.intents.get(id)?.customer.clone());
    let of_charge = || id.and_then(|id| state.charges.get(id)?.customer.clone());
    of_intent
        .or_else(of_charge)
        .or_else(|| call.params.text("customer").map(str::to_owned))
}

/// Executes a call, unless its idempotency key already has an answer or a conflict.
async fn begin(sim: &Sim, call: &Call, fault: Option<&Fault>, request_id: &str) -> (Answer, Transfer) {
    let answer = match claim_key(sim, call) {
        Begin::Refuse(error) => return (Answer::error(&error, request_id), Transfer::Whole),
        Begin::Replay(stored) => Answer {
            original_request: Some(stored.request_id),
            ..Answer::new(stored.status, stored.body, request_id)
        },
        Begin::Execute => {
            if let Some(fault) = fault {
                breakage::before_effect(sim, fault).await;
            }
            let (answer, events) = execute(sim, call, fault.map(|fault| fault.kind), request_id);
            sim.wake.notify_waiters();
            wait_for_events(sim, &events).await;
            answer
        }
    };
    match fault {
        Some(fault) => breakage::after_effect(sim, fault, answer).await,
        None => (answer, Transfer::Whole),
    }
}

fn claim_key(sim: &Sim, call: &Call) -> Begin {
    let Some(key) = key(call) else {
        return Begin::Execute;
    };
    let mut state = sim.lock();
    let now = state.clock.now();
    state.idempotency.begin(&call.path, key, &call.params, now)
}

/// Only a POST has a key; on other methods Stripe ignores it.
fn key(call: &Call) -> Option<&str> {
    call.idempotency_key.as_deref().filter(|_| call.method == "POST")
}

/// Executes under one lock, so that the effect, its events and the remembered answer appear together.
fn execute(sim: &Sim, call: &Call, fault: Option<Kind>, request_id: &str) -> (Answer, Vec<String>) {
    let mut state = sim.lock();
    let key = key(call);
    state.origin = Origin {
        request_id: Some(request_id.to_owned()),
        idempotency_key: key.map(str::to_owned),
    };
    let result = match fault {
        Some(Kind::ServerErrorStored) => Err(breakage::server_error()),
        // Only what would have succeeded breaks: a refusal stays one.
        Some(Kind::ServerErrorAfter) => {
            api::execute(&mut state, call).and_then(|_| Err(breakage::server_error()))
        }
        _ => api::execute(&mut state, call),
    };
    state.origin = Origin::default();
    let answer = match result {
        Ok(object) => Answer::new(200, object.to_string(), request_id),
        Err(error) => Answer::error(&error, request_id),
    };
    if let Some(key) = key {
        let (body, request_id) = (answer.body.clone(), request_id.to_owned());
        state.idempotency.finish(
            &call.path,
            key,
            Stored {
                status: answer.status,
                body,
                request_id,
            },
        );
    }
    (answer, std::mem::take(&mut state.events.fresh))
}

/// With `before_response`, the product hears of the change before its call is answered.
async fn wait_for_events(sim: &Sim, events: &[String]) {
    let tried = |state: &State| {
        let settings = &state.webhooks.settings;
        let is_tried = |id: &String| state.events.table.get(id).is_none_or(|event| event.is_tried());
        !settings.before_response || settings.paused || events.iter().all(is_tried)
    };
    if !sim.wait_until(MAX_WAIT_FOR_EVENTS, tried).await {
        tracing::warn!("an endpoint did not take the events in time; answering the call anyway");
    }
}

/// Any test key will do that nobody has revoked; a live one has no business here.
fn authenticate(state: &State, authorization: Option<&str>) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::new(401, "invalid_request_error", message));
    let Some(key) = authorization.and_then(|value| value.strip_prefix("Bearer ")) else {
        return refuse(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using \
             Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        );
    };
    if key.starts_with("sk_live_") || key.starts_with("rk_live_") {
        return refuse("This is a simulator: it refuses live keys. Use a key that begins with sk_test_.");
    }
    if !(key.starts_with("sk_test_") || key.starts_with("rk_test_")) {
        return refuse("Invalid API Key provided: it should begin with sk_test_ or rk_test_.");
    }
    if state.revoked_keys.contains(key) {
        return refuse("Invalid API Key provided: it was revoked.");
    }
    Ok(())
}

/// `Stripe-Should-Retry`, as recorded from Stripe: successes and declines are final, a lock is not.
fn advise(call: &Call, fault: Option<&Fault>, answer: Answer) -> Answer {
    let usual = match (answer.status, fault.map(|fault| fault.kind)) {
        (200 | 402, _) if call.method == "POST" => Some(false),
        (429, Some(Kind::LockTimeout)) => Some(true),
        _ => None,
    };
    match fault.and_then(|fault| fault.should_retry).or(usual) {
        Some(retry) => answer.header("stripe-should-retry", retry.to_string()),
        None => answer,
    }
}

fn log(sim: &Sim, call: &Call, arrived_ms: i64, fault: Option<&Fault>, answer: &Answer, transfer: Transfer) {
    let pairs = call.params.pairs().iter();
    let params: Map<String, Value> = pairs
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let arrived = matches!(transfer, Transfer::Whole | Transfer::Trickle(_));
    let mut state = sim.lock();
    let at = state.clock.now();
    state.requests.push(Logged {
        seq: 0,
        at,
        arrived_ms,
        request_id: answer.request_id.clone(),
        method: call.method.clone(),
        path: call.path.clone(),
        params: params.into(),
        idempotency_key: call.idempotency_key.clone(),
        replayed: answer.original_request.is_some(),
        fault: fault.map(|fault| fault.kind.word()),
        status: arrived.then_some(answer.status),
        error: error_code(answer).filter(|_| arrived),
    });
}

fn error_code(answer: &Answer) -> Option<String> {
    if answer.status < 400 {
        return None;
    }
    let body: Value = serde_json::from_str(&answer.body).ok()?; // a gateway's page is none
    let error = &body["error"];
    error["code"]
        .as_str()
        .or(error["type"].as_str())
        .map(str::to_owned)
}
