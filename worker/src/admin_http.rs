//! The admin port of a worker: `/livez`, `/readyz`, `/startupz`, `/metrics`. Never public.
//!
//! Alive means that the runtime answers, also while draining and without Postgres. Ready means that work gets done.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use shared::{
    probe::{self, Check},
    store::{
        self, Db,
        migrations::{self, SchemaState},
        queues::{self, Pause},
    },
};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    metrics::Metrics,
    queue::{health::Health, lane},
    redis_link::Redis,
};

/// A probe that waits longer than this for the database or for Redis has its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the probes look at.
#[derive(Clone)]
pub struct Probes {
    /// The database.
    pub db: Db,
    /// Redis.
    pub redis: Redis,
    /// The loops.
    pub health: Health,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Binds the port; port 0 takes a free one. Serving begins with [`serve`].
///
/// # Errors
/// When the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the process ends: probes must be answered to the last.
pub async fn serve(listener: TcpListener, probes: Probes) {
    let routes = Router::new()
        .route("/livez", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .route("/metrics", get(metrics))
        .with_state(probes);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!("admin port failed: {error}");
    }
}

async fn ready(State(probes): State<Probes>, RawQuery(query): RawQuery) -> Response {
    let (seen, redis) = tokio::join!(look(&probes.db), redis(&probes.redis));
    let paused = seen.as_ref().map_or(&[][..], |seen| seen.paused.as_slice());
    let mut checks = vec![
        check("database", seen.as_ref().map(|_| None).map_err(Clone::clone)),
        check("schema", schema(&seen)),
        check("redis", redis.map(|()| None)),
        pulse("heartbeat", probes.health.heartbeat.is_alive()),
        pulse("scheduler", probes.health.scheduler.is_alive()),
        check(
            "not_draining",
            if probes.health.draining.is_cancelled() {
                Err("the worker is shutting down".to_owned())
            } else {
                Ok(None)
            },
        ),
    ];
    for (queue, relay) in &probes.health.relays {
        let (name, result) = pulse(&format!("queue_{}", queue.as_str()), relay.is_alive());
        // A queue that somebody paused makes no worker unready: it does what it was told.
        let paused = paused.iter().find(|pause| pause.queue == queue.as_str());
        let told = result.map(|nothing| paused.map(paused_text).or(nothing));
        checks.push((name, told));
    }
    answer("readyz", query.as_deref(), checks)
}

/// Once: the schema has been seen, and the first heartbeat written. Settings were read before this port was bound.
async fn started(State(probes): State<Probes>, RawQuery(query): RawQuery) -> Response {
    let seen = look(&probes.db).await;
    let checks = vec![
        check("configuration", Ok(None)),
        check("database", seen.as_ref().map(|_| None).map_err(Clone::clone)),
        check("schema", schema(&seen)),
        pulse("heartbeat", probes.health.heartbeat.has_beaten()),
    ];
    answer("startupz", query.as_deref(), checks)
}

async fn metrics(State(probes): State<Probes>) -> Response {
    match probes.metrics.text() {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn check(name: &str, result: Result<Option<String>, String>) -> Check {
    (name.to_owned(), result)
}

fn pulse(name: &str, alive: bool) -> Check {
    let result = if alive {
        Ok(None)
    } else {
        Err("no round completed lately".to_owned())
    };
    check(name, result)
}

/// What a reachable database says.
struct Seen {
    schema: SchemaState,
    paused: Vec<Pause>,
}

async fn look(db: &Db) -> Result<Seen, String> {
    let look = async {
        let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
        let schema = migrations::check(&mut conn).await?;
        let paused = match schema {
            SchemaState::Behind { .. } => Vec::new(),
            SchemaState::Current | SchemaState::Ahead { .. } => queues::pauses(&mut conn).await?,
        };
        store::Result::Ok(Seen { schema, paused })
    };
    match timeout(PROBE_TIMEOUT, look).await {
        Ok(Ok(seen)) => Ok(seen),
        // Who asks does not wait as long as the pool does, and the pool would only say that it waited.
        Ok(Err(store::Error::Unavailable(_))) | Err(_) => Err(db.why_away(PROBE_TIMEOUT).await),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

/// One that this build knows how to use.
fn schema(seen: &Result<Seen, String>) -> Result<Option<String>, String> {
    match seen.as_ref().map(|seen| seen.schema) {
        Ok(SchemaState::Current | SchemaState::Ahead { .. }) => Ok(None),
        Ok(SchemaState::Behind { have, want, .. }) => Err(format!(
            "the database has version {have}, this build needs {want}: run `quittance migrate`"
        )),
        Err(_) => Err("unknown while the database does not answer".to_owned()),
    }
}

fn paused_text(pause: &Pause) -> String {
    format!(
        "paused since {} by {}: {}",
        pause.at.format("%F %T UTC"),
        pause.by,
        pause.reason
    )
}

async fn redis(redis: &Redis) -> Result<(), String> {
    match timeout(PROBE_TIMEOUT, lane::greet(redis)).await {
        Ok(greeted) => greeted.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn answer(name: &str, query: Option<&str>, checks: Vec<Check>) -> Response {
    let healthy = checks.iter().all(|(_, result)| result.is_ok());
    let (code, status) = if healthy {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failing")
    };
    if probe::is_verbose(query) {
        return (code, probe::lines(name, &checks)).into_response();
    }
    let checks = probe::json(&checks);
    (code, Json(json!({ "status": status, "checks": checks }))).into_response()
}
