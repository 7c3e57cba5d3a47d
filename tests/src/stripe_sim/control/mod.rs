//! The control API under `/_sim`: plays everybody who is not the merchant, and looks behind the scenes.
//!
//! JSON in, JSON out, no authentication. Unknown fields are refused with 400, unknown ids with 404 or 400, what Stripe would
//! not let happen with Stripe's own error. Times are virtual Unix seconds, amounts minor units. `webhooks::Settings` and
//! `faults::Kind` explain their words.
//!
//! **Cardholders**
//!
//! | call | does |
//! |---|---|
//! | `POST /customers {id}` | adds a customer (again: no change) |
//! | `POST /payment_methods {id, customer?, script?, brand?, last4?, exp_month?, exp_year?}` | adds a card; again: changes it silently |
//! | `POST /cards {payment_method\|customer, script?, refunds?, clears?}` | what the next charges come to, one step each; see below. `refunds`: `succeeded` `pending` `failed`, for all later refunds to the card. `clears`: `at_once` `later`, when its charges are on the balance |
//! | `POST /payment_methods/{id}/update {exp_month?, exp_year?, last4?, script?}` | the network renews the card: `payment_method.automatically_updated` |
//! | `POST /payment_intents/{id}/pay {payment_method?, outcome?}` | the customer pays on-session; `authenticate` is the same |
//! | `POST /payment_intents/{id}/settle {outcome?}` | ends a processing payment |
//!
//! A step is `"succeed"`, `"authenticate"`, `"processing"`, a decline code, or an object
//! `{"code"?, "decline_code"?, "advice_code"?, "network_decline_code"?, "network_advice_code"?, "message"?}`; a last
//! `"..."` repeats the step before it for ever. A used-up script leaves the card as its id says: `pm_card_…` by Stripe's
//! well-known names, any other succeeds. `outcome` is one step, `"succeed"` where nothing is said.
//!
//! **Banks**
//!
//! | call | does |
//! |---|---|
//! | `POST /refunds {charge\|payment_intent, amount?, outcome?, reason?}` | a refund from the dashboard; `outcome`: `succeeded` `pending` `failed` |
//! | `POST /refunds/{id} {status}` | moves a refund on: `succeeded` `failed` `canceled` `requires_action` |
//! | `POST /charges/{id}/clear` | a captured charge gets on the balance, with its fee: `charge.updated` |
//! | `POST /disputes {charge\|payment_intent, kind, amount?, fee?, reason?, network_reason_code?}` | `kind`: `inquiry` or `chargeback`; fee 1500 |
//! | `POST /disputes/{id} {action, fee_returned?}` | `escalate` `under_review` `win` `lose` `close_inquiry` `prevent` `withdraw` `overturn` (a lost one is won after all) |
//!
//! **Subscriptions**
//!
//! | call | does |
//! |---|---|
//! | `POST /customers/{id}/card {payment_method}` | the card that pays a customer's invoices from now on |
//! | `POST /checkout_sessions/{id} {payment_method}` | the customer gives a card on the page and subscribes |
//! | `POST /invoices/{id} {action, payment_method?}` | `pay` (with another card, which stays), `void`, `give_up` |
//! | `POST /subscriptions/{id} {price?, auto_renewal?, cancel?}` | somebody changes it in the dashboard |
//! | `GET /billing` | all subscriptions and invoices |
//!
//! **Events and webhooks**
//!
//! | call | does |
//! |---|---|
//! | `GET /webhooks` | the settings, `queued`, `in_flight`, `seed`, and `newest`, the event made last |
//! | `POST /webhooks {paused?, drop_next?, drop_types?, duplicate?, double?, shuffle?, delay_ms?, api_version?, shape?, before_response?, seed?}` | changes them, one by one or together |
//! | `POST /webhooks/flush` | tries everything queued now, even while paused, and waits for it: `{delivered, failed, left}` |
//! | `GET /webhook_endpoints`, `POST /webhook_endpoints {url, secrets?}`, `POST /webhook_endpoints/{id} {secrets}`, `DELETE /webhook_endpoints/{id}` | with a secret or several, rolled by the third: each delivery has a signature of each |
//! | `GET /events?type=&object=&limit=` | events with `sim: {attempts, awaiting, dropped}`, oldest first |
//! | `POST /events {type, object, api_version?, livemode?, account?, previous_attributes?, deliver?}` | an event of your own |
//! | `POST /events/{id}/deliver {signature?}` | delivers once more, now, and tells the answers; `signature`: `good` `bad` `stale` `future` `missing` |
//!
//! **Trouble, time, books**
//!
//! | call | does |
//! |---|---|
//! | `POST /faults {path, kind, method?, nth?, times?, ms?, retry_after_secs?, reason?, should_retry?}` | makes API calls go wrong; a path may have `*` for a segment and may end in `/` for everything below |
//! | `GET /faults`, `DELETE /faults` | rules with `matched` and `struck`, and how many calls are `holding`; forgets the rules |
//! | `POST /chaos {seed, calls?, events?, every_customer?, slow_ms?}`, `GET /chaos`, `DELETE /chaos` | trouble by a seed for so many of a thousand calls and events; how often each kind struck |
//! | `POST /answers {shape}` | API calls are answered in this shape (`old`, `new`), whatever version they ask for; `null`: as their version says |
//! | `POST /release` | lets every held call go: `{released}` |
//! | `POST /keys/revoke {key}` | calls with this key are refused with 401 from now on |
//! | `GET /clock`, `POST /clock {now\|offset_ms}` | refused (409) while a database owns the clock |
//! | `GET /books` | what really happened to money; `GET /books/totals`: without the intents |
//! | `GET /requests?method=&path=&after=` | the API calls, oldest first, with the real time of their arrival (`arrived_ms`); `path` is a pattern as in faults |
//! | `GET /health` | `{"ok":true}` |
mod banks;
mod cardholders;
mod wires;

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::billing::{dashboard, renewal};
use super::books::{books, totals};
use super::chaos::Chaos;
use super::clock::wall_ms;
use super::error::ApiError;
use super::faults::{self, Fault};
use super::objects::Shape;
use super::params::Params;
use super::state::Sim;

/// What a control call answers.
type Answer = Result<Value, ApiError>;

/// Answers a control call; `route` is the path without `/_sim`.
pub async fn handle(sim: &Arc<Sim>, method: &str, route: &str, query: &str, body: &[u8]) -> (u16, Value) {
    match dispatch(sim, method, route, &Params::parse(query), body).await {
        Ok(answer) => (200, answer),
        Err(error) => (error.status, json!({ "error": error.fields })),
    }
}

async fn dispatch(sim: &Arc<Sim>, method: &str, route: &str, query: &Params, body: &[u8]) -> Answer {
    let segments: Vec<&str> = route.trim_matches('/').split('/').collect();
    // Whoever looks sees what is due by now.
    renewal::tick(&mut sim.lock());
    let answer = match (method, segments.as_slice()) {
        ("GET", ["health"]) => Ok(json!({ "ok": true })),
        ("GET", ["books"]) => Ok(books(&sim.lock())),
        ("GET", ["books", "totals"]) => Ok(totals(&sim.lock())),
        ("GET", ["requests"]) => requests(sim, query),
        ("POST", ["customers"]) => cardholders::add_customer(&mut sim.lock(), read(body)?),
        ("POST", ["payment_methods"]) => cardholders::add_card(&mut sim.lock(), read(body)?),
        ("POST", ["payment_methods", id, "update"]) => {
            cardholders::renew_card(&mut sim.lock(), id, read(body)?)
        }
        ("POST", ["cards"]) => cardholders::script(&mut sim.lock(), read(body)?),
        ("POST", ["payment_intents", id, "pay" | "authenticate"]) => {
            cardholders::pay(&mut sim.lock(), id, read(body)?)
        }
        ("POST", ["payment_intents", id, "settle"]) => cardholders::settle(&mut sim.lock(), id, read(body)?),
        ("POST", ["customers", id, "card"]) => dashboard::set_card(&mut sim.lock(), id, &read(body)?),
        ("POST", ["checkout_sessions", id]) => dashboard::checkout(&mut sim.lock(), id, &read(body)?),
        ("POST", ["invoices", id]) => dashboard::invoice(&mut sim.lock(), id, &read(body)?),
        ("POST", ["subscriptions", id]) => dashboard::subscription(&mut sim.lock(), id, &read(body)?),
        ("GET", ["billing"]) => Ok(dashboard::report(&sim.lock())),
        ("POST", ["refunds"]) => banks::refund(&mut sim.lock(), read(body)?),
        ("POST", ["refunds", id]) => banks::move_refund(&mut sim.lock(), id, read(body)?),
        ("POST", ["charges", id, "clear"]) => banks::clear(&mut sim.lock(), id),
        ("POST", ["disputes"]) => banks::open_dispute(&mut sim.lock(), read(body)?),
        ("POST", ["disputes", id]) => banks::move_dispute(&mut sim.lock(), id, read(body)?),
        ("GET", ["webhooks"]) => Ok(wires::report(&sim.lock())),
        ("POST", ["webhooks"]) => wires::change(sim, read(body)?),
        ("POST", ["webhooks", "flush"]) => wires::flush(sim).await,
        ("GET", ["webhook_endpoints"]) => Ok(wires::endpoints(&sim.lock())),
        ("POST", ["webhook_endpoints"]) => wires::add_endpoint(sim, read(body)?),
        ("POST", ["webhook_endpoints", id]) => wires::roll_secrets(sim, id, read(body)?),
        ("DELETE", ["webhook_endpoints", id]) => wires::remove_endpoint(sim, id),
        ("GET", ["events"]) => wires::events(&sim.lock(), query),
        ("POST", ["events"]) => wires::inject(&mut sim.lock(), read(body)?),
        ("POST", ["events", id, "deliver"]) => wires::deliver(sim, id, read(body)?).await,
        ("GET", ["faults"]) => Ok(sim.lock().faults.report()),
        ("POST", ["faults"]) => add_fault(sim, read(body)?),
        ("DELETE", ["faults"]) => {
            sim.lock().faults.clear();
            Ok(json!({ "data": [] }))
        }
        ("GET", ["chaos"]) => Ok(sim.lock().dice.report()),
        ("POST", ["chaos"]) => set_chaos(sim, Some(read(body)?)),
        ("DELETE", ["chaos"]) => set_chaos(sim, None),
        ("POST", ["keys", "revoke"]) => revoke(sim, read(body)?),
        ("POST", ["release"]) => Ok(json!({ "released": sim.lock().faults.release() })),
        ("POST", ["answers"]) => set_answers(sim, read(body)?),
        ("GET", ["clock"]) => Ok(clock(sim)),
        ("POST", ["clock"]) => set_clock(sim, read(body)?),
        (method, _) => Err(ApiError::new(
            404,
            "invalid_request_error",
            format!("The simulator has no {method} /_sim{route}; see docs/SIMULATOR.md."),
        )),
    };
    // Whatever happened may have made events.
    sim.lock().events.fresh.clear();
    sim.wake.notify_waiters();
    answer
}

/// Reads a JSON body; an empty one counts as `{}`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(format!("The JSON body is not understood: {error}")))
}

fn add_fault(sim: &Sim, fault: Fault) -> Answer {
    let mut state = sim.lock();
    state.faults.add(fault).map_err(ApiError::invalid)?;
    Ok(state.faults.report())
}

fn set_chaos(sim: &Sim, chaos: Option<Chaos>) -> Answer {
    let mut state = sim.lock();
    state.dice.set(chaos);
    Ok(state.dice.report())
}

fn requests(sim: &Sim, query: &Params) -> Answer {
    query.only(&["method", "path", "after"])?;
    let after = query
        .integer("after")?
        .and_then(|after| u64::try_from(after).ok())
        .unwrap_or(0);
    let (method, path) = (query.text("method"), query.text("path"));
    let state = sim.lock();
    let calls = state.requests.iter().filter(|call| {
        call.seq > after
            && method.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&call.method))
            && path.is_none_or(|pattern| faults::matches(pattern, &call.path))
    });
    Ok(json!({ "data": calls.collect::<Vec<_>>() }))
}

/// `POST /_sim/answers`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    shape: Option<Shape>,
}

fn set_answers(sim: &Sim, answers: Answers) -> Answer {
    sim.lock().answers = answers.shape;
    Ok(json!({ "shape": answers.shape }))
}

/// `POST /_sim/keys/revoke`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    key: String,
}

fn revoke(sim: &Sim, revoked: Revoked) -> Answer {
    sim.lock().revoked_keys.insert(revoked.key);
    Ok(json!({ "revoked": true }))
}

/// Where virtual time is to be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SetClock {
    /// Unix seconds.
    Now(i64),
    OffsetMs(i64),
}

fn clock(sim: &Sim) -> Value {
    let clock = &sim.lock().clock;
    json!({ "now": clock.now(), "offset_ms": clock.offset_ms(), "follows_database": clock.follows_database() })
}

fn set_clock(sim: &Sim, wanted: SetClock) -> Answer {
    {
        let clock = &mut sim.lock().clock;
        if clock.follows_database() {
            let message = "The clock follows a database; move it there (quittance clock advance …).";
            return Err(ApiError::new(409, "invalid_request_error", message));
        }
        clock.set_offset_ms(match wanted {
            SetClock::OffsetMs(offset) => offset,
            SetClock::Now(now) => now.saturating_mul(1000).saturating_sub(wall_ms()),
        });
    }
    Ok(clock(sim))
}

#[cfg(test)]
mod tests {
    /// Who uses the simulator reads the page, who changes it reads the source; both must say the same.
    #[test]
    fn the_page_and_the_source_describe_the_same_calls() {
        let page = include_str!("../../../../docs/SIMULATOR.md");
        let rows = include_str!("mod.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"));
        let missing: Vec<&str> = rows.filter(|row| !page.contains(*row)).collect();
        assert!(
            missing.is_empty(),
            "docs/SIMULATOR.md lacks these rows: {missing:#?}"
        );
    }
}
