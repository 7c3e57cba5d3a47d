//! One API call from its arrival to its answer: authentication, faults, idempotency, execution, log.
//!
//! Runs in a task of its own: a caller who hangs up does not undo what Stripe is about to do.
use std::time::Duration;

use serde_json::{Map, Value};

use super::api::{self, Call};
use super::error::ApiError;
use super::faults::{Fault, Kind};
use super::idempotency::{Begin, Stored};
use super::requests::Logged;
use super::state::{Origin, Sim};

/// The longest that anybody waits at a barrier.
const MAX_HOLD: Duration = Duration::from_secs(60);
/// The longest that an answer waits for its events (`before_response`).
const MAX_WAIT_FOR_EVENTS: Duration = Duration::from_secs(10);

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub request_id: String,
    /// Set on a replay: the request that was executed.
    pub original_request: Option<String>,
    /// Extra headers of this answer.
    pub headers: Vec<(&'static str, String)>,
    /// A gateway's page is HTML.
    pub html: bool,
}

/// How the answer goes out.
#[derive(Debug)]
pub enum Wire {
    /// As it should.
    Whole(Answer),
    /// Half, silence, the other half.
    Trickle(Answer, Duration),
    /// Half, then the connection breaks.
    Truncated(Answer),
    /// Not at all: the connection breaks.
    Dropped,
}

/// Answers a call.
pub async fn exchange(sim: &Sim, call: Call) -> Wire {
    let (request_id, fault) = {
        let mut state = sim.lock();
        let request_id = state.ids.next("req");
        match authenticate(call.authorization.as_deref()) {
            Err(error) => {
                drop(state);
                let answer = Answer::error(&error, request_id);
                return finish(sim, &call, None, answer);
            }
            Ok(()) => (request_id, state.faults.strike(&call.method, &call.path)),
        }
    };
    if let Some(fault) = &fault
        && let Some(wire) = struck_before(fault, &request_id)
    {
        return match wire {
            Wire::Whole(answer) => finish(sim, &call, Some(fault), answer),
            other => {
                log(sim, &call, Some(fault), &request_id, None);
                other
            }
        };
    }
    let key = call.idempotency_key.as_deref().filter(|_| call.method == "POST");
    if let Some(key) = key {
        let begin = {
            let mut state = sim.lock();
            let now = state.clock.now();
            state.idempotency.begin(&call.path, key, &call.params, now)
        };
        match begin {
            Begin::Execute => {}
            Begin::Refuse(error) => {
                return finish(sim, &call, fault.as_ref(), Answer::error(&error, request_id));
            }
            Begin::Replay(stored) => {
                let answer = Answer {
                    original_request: Some(stored.request_id),
                    ..Answer::new(stored.status, stored.body, request_id)
                };
                return after(sim, &call, fault.as_ref(), answer).await;
            }
        }
    }
    match fault.as_ref().map(|fault| (fault.kind, fault.ms)) {
        Some((Kind::DelayBefore, ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some((Kind::HoldBefore, _)) => hold(sim).await,
        _ => {}
    }
    let (answer, fresh) = run(
        sim,
        &call,
        key,
        fault.as_ref().map(|fault| fault.kind),
        request_id,
    );
    sim.wake.notify_waiters();
    if !fresh.is_empty() {
        let tried = |state: &super::state::State| {
            !state.webhooks.settings.before_response
                || state.webhooks.settings.paused
                || fresh
                    .iter()
                    .all(|id| state.events.table.get(id).is_none_or(|event| event.is_tried()))
        };
        if !sim.wait_until(MAX_WAIT_FOR_EVENTS, tried).await {
            tracing::warn!(
                path = call.path,
                "an endpoint did not take the events in time; answering the call anyway"
            );
        }
    }
    after(sim, &call, fault.as_ref(), answer).await
}

/// Executes under one lock, so that the effect, its events and the remembered answer appear together.
fn run(
    sim: &Sim,
    call: &Call,
    key: Option<&str>,
    fault: Option<Kind>,
    request_id: String,
) -> (Answer, Vec<String>) {
    let mut state = sim.lock();
    let broken = || ApiError::new(500, "api_error", "An unknown error occurred.");
    state.origin = Origin {
        request_id: Some(request_id.clone()),
        idempotency_key: key.map(str::to_owned),
    };
    let result = match fault {
        Some(Kind::ServerErrorStored) => Err(broken()),
        // Only what would have succeeded breaks: a refusal stays one.
        Some(Kind::ServerErrorAfter) => api::execute(&mut state, call).and_then(|_| Err(broken())),
        _ => api::execute(&mut state, call),
    };
    state.origin = Origin::default();
    let answer = match result {
        Ok(object) => Answer::new(200, object.to_string(), request_id),
        Err(error) => Answer::error(&error, request_id),
    };
    if let Some(key) = key {
        let stored = Stored {
            status: answer.status,
            body: answer.body.clone(),
            request_id: answer.request_id.clone(),
        };
        state.idempotency.finish(&call.path, key, stored);
    }
    (answer, std::mem::take(&mut state.events.fresh))
}

/// Faults that come instead of the call.
fn struck_before(fault: &Fault, request_id: &str) -> Option<Wire> {
    let error = |status, kind, message: &str| {
        Answer::error(&ApiError::new(status, kind, message), request_id.to_owned())
    };
    let mut answer = match fault.kind {
        Kind::ResetBefore => return Some(Wire::Dropped),
        Kind::ServerErrorBefore => error(500, "api_error", "An unknown error occurred."),
        Kind::BadGateway => bad_gateway(request_id),
        Kind::RateLimited => {
            let message = "Request rate limit exceeded. You can learn more about rate limits at \
                           https://docs.stripe.com/rate-limits.";
            let mut answer = Answer::error(
                &ApiError::new(429, "invalid_request_error", message).code("rate_limit"),
                request_id.to_owned(),
            );
            if let Some(reason) = &fault.reason {
                answer
                    .headers
                    .push(("stripe-rate-limited-reason", reason.clone()));
            }
            answer
        }
        Kind::LockTimeout => {
            let message = "This object cannot be accessed right now because another API request or Stripe process is \
                           currently accessing it.";
            let error = ApiError::new(429, "invalid_request_error", message).code("lock_timeout");
            let mut answer = Answer::error(&error, request_id.to_owned());
            if fault.should_retry.is_none() {
                answer.headers.push(("stripe-should-retry", "true".into()));
            }
            answer
        }
        Kind::ServerErrorStored
        | Kind::ServerErrorAfter
        | Kind::BadGatewayAfter
        | Kind::ResetAfter
        | Kind::TruncateAfter
        | Kind::TrickleAfter
        | Kind::DelayBefore
        | Kind::DelayAfter
        | Kind::HoldBefore
        | Kind::HoldAfter => return None,
    };
    if let Some(seconds) = fault.retry_after_secs {
        answer.headers.push(("retry-after", seconds.to_string()));
    }
    Some(Wire::Whole(answer))
}

/// Faults that befall the answer.
async fn after(sim: &Sim, call: &Call, fault: Option<&Fault>, answer: Answer) -> Wire {
    let Some(struck) = fault else {
        return finish(sim, call, None, answer);
    };
    let pause = Duration::from_millis(struck.ms);
    match struck.kind {
        Kind::DelayAfter => tokio::time::sleep(pause).await,
        Kind::HoldAfter => hold(sim).await,
        Kind::ResetAfter => {
            log(sim, call, fault, &answer.request_id, None);
            return Wire::Dropped;
        }
        Kind::BadGatewayAfter => {
            let page = bad_gateway(&answer.request_id);
            return finish(sim, call, fault, page);
        }
        Kind::TrickleAfter => {
            log(sim, call, fault, &answer.request_id, Some(&answer));
            return Wire::Trickle(answer, pause);
        }
        Kind::TruncateAfter => {
            log(sim, call, fault, &answer.request_id, None);
            return Wire::Truncated(answer);
        }
        Kind::ServerErrorBefore
        | Kind::ServerErrorStored
        | Kind::ServerErrorAfter
        | Kind::BadGateway
        | Kind::RateLimited
        | Kind::LockTimeout
        | Kind::ResetBefore
        | Kind::DelayBefore
        | Kind::HoldBefore => {}
    }
    finish(sim, call, fault, answer)
}

fn finish(sim: &Sim, call: &Call, fault: Option<&Fault>, mut answer: Answer) -> Wire {
    // What Stripe was seen to advise: a success and a decline are final.
    let usual = (call.method == "POST" && matches!(answer.status, 200 | 402)).then_some(false);
    if let Some(retry) = fault.and_then(|fault| fault.should_retry).or(usual) {
        answer.headers.push(("stripe-should-retry", retry.to_string()));
    }
    log(sim, call, fault, &answer.request_id, Some(&answer));
    Wire::Whole(answer)
}

async fn hold(sim: &Sim) {
    let released = sim.lock().faults.hold();
    if tokio::time::timeout(MAX_HOLD, released).await.is_err() {
        tracing::warn!(
            "nobody released a held call within {} s; letting it go on",
            MAX_HOLD.as_secs()
        );
    }
}

/// Any test key will do; a live one has no business here.
fn authenticate(authorization: Option<&str>) -> Result<(), ApiError> {
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
    Ok(())
}

fn bad_gateway(request_id: &str) -> Answer {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>\
                </center>\r\n</body>\r\n</html>\r\n";
    Answer {
        html: true,
        ..Answer::new(502, page.to_owned(), request_id.to_owned())
    }
}

fn log(sim: &Sim, call: &Call, fault: Option<&Fault>, request_id: &str, answer: Option<&Answer>) {
    let params: Map<String, Value> = call
        .params
        .pairs()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let error = answer
        .filter(|answer| answer.status >= 400 && !answer.html)
        .and_then(|answer| {
            let body: Value = serde_json::from_str(&answer.body).ok()?;
            let error = &body["error"];
            error["code"]
                .as_str()
                .or(error["type"].as_str())
                .map(str::to_owned)
        });
    let mut state = sim.lock();
    let at = state.clock.now();
    state.requests.push(Logged {
        seq: 0,
        at,
        request_id: request_id.to_owned(),
        method: call.method.clone(),
        path: call.path.clone(),
        params: params.into(),
        idempotency_key: call.idempotency_key.clone(),
        replayed: answer.is_some_and(|answer| answer.original_request.is_some()),
        fault: fault.map(|fault| fault.kind.word()),
        status: answer.map(|answer| answer.status),
        error,
    });
}

impl Answer {
    fn new(status: u16, body: String, request_id: String) -> Self {
        Self {
            status,
            body,
            request_id,
            original_request: None,
            headers: Vec::new(),
            html: false,
        }
    }

    fn error(error: &ApiError, request_id: String) -> Self {
        Self::new(error.status, error.body(&request_id).to_string(), request_id)
    }
}
