//! Delivers events: one task per endpoint (more when asked), signing each try afresh.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::wall_seconds;
use super::signature::Signature;
use super::state::Sim;
use super::webhooks::{Delivery, DeliveryAttempt, Next};

/// How long an endpoint may take to answer. Stripe does not document its limit; 3 to 30 s have been observed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The client that delivers: follows no redirect, uses no proxy.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
}

/// Delivers to one endpoint until it is removed.
pub async fn run(sim: Arc<Sim>, endpoint: String) {
    loop {
        // Registered before looking, so that a ring between looking and waiting is not lost.
        let bell = sim.wake.notified();
        tokio::pin!(bell);
        bell.as_mut().enable();
        let next = sim.lock().webhooks.next(&endpoint, Instant::now());
        match next {
            Next::Send(delivery) => deliver(&sim, &endpoint, delivery).await,
            Next::Wait(at) => {
                tokio::select! {
                    () = bell => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                }
            }
            Next::Idle => bell.await,
            Next::Stop => return,
        }
    }
}

async fn deliver(sim: &Sim, endpoint: &str, delivery: Delivery) {
    let attempt = attempt(sim, endpoint, &delivery.event, Signature::Good).await;
    let mut state = sim.lock();
    let state = &mut *state;
    let (succeeded, age_secs) = match (&attempt, state.events.table.get(&delivery.event)) {
        (Some(attempt), Some(event)) => (attempt.succeeded(), state.clock.now() - event.created),
        _ => (true, 0), // the event or the endpoint is gone: nothing to try again
    };
    state
        .webhooks
        .settle(endpoint, delivery, succeeded, age_secs, Instant::now());
    sim.progress.notify_waiters();
    sim.wake.notify_waiters();
}

/// Tries once and writes it into the event's log.
pub async fn attempt(
    sim: &Sim,
    endpoint: &str,
    event: &str,
    signature: Signature,
) -> Option<DeliveryAttempt> {
    let (url, secrets, body) = {
        let state = sim.lock();
        let endpoint = state.webhooks.endpoint(endpoint)?;
        let event = state.events.table.get(event)?;
        (endpoint.url.clone(), endpoint.secrets.clone(), event.body())
    };
    let mut request = sim
        .client
        .post(url)
        .header("content-type", "application/json; charset=utf-8");
    request = request.header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)");
    if let Some(header) = signature.header(&secrets, &body, wall_seconds()) {
        request = request.header("stripe-signature", header);
    }
    let attempt = match request.body(body).send().await {
        Ok(answer) => DeliveryAttempt {
            endpoint: endpoint.to_owned(),
            status: Some(answer.status().as_u16()),
            error: None,
        },
        Err(error) => {
            let error = Some(error.without_url().to_string());
            DeliveryAttempt {
                endpoint: endpoint.to_owned(),
                status: None,
                error,
            }
        }
    };
    if let Some(event) = sim.lock().events.table.get_mut(event) {
        event.attempts.push(attempt.clone());
        if attempt.succeeded() {
            event.awaiting.retain(|id| id != endpoint);
        }
    }
    Some(attempt)
}

/// Adds an endpoint and starts its senders; without secrets of its own it signs with those from the command line.
pub fn start(sim: &Arc<Sim>, url: String, secrets: Vec<String>) -> String {
    let (id, senders) = {
        let mut state = sim.lock();
        let (id, created) = (state.ids.next("we"), state.clock.now());
        let secrets = if secrets.is_empty() {
            state.rules.webhook_secrets.clone()
        } else {
            secrets
        };
        state.webhooks.add_endpoint(id.clone(), created, url, secrets);
        (id, state.rules.webhook_concurrency)
    };
    for _ in 0..senders {
        tokio::spawn(run(Arc::clone(sim), id.clone()));
    }
    id
}
