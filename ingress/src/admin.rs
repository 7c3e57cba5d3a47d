//! The admin port: probes and metrics. Never reachable from outside.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use shared::probe;

use crate::{health::Health, metrics::Metrics};

#[derive(Clone)]
struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// `/livez`, `/startupz`, `/readyz`, `/metrics`.
pub fn routes(health: Health, metrics: Arc<Metrics>) -> Router {
    // That these two answer at all is the check: the runtime ticks, and nothing listens before the start has succeeded.
    // The second names what had to be so for that (`start.rs`). They stay 200 while draining and while Postgres is away: a restart would help with neither.
    let alive = async || Json(json!({"ok": true}));
    let started = async || {
        let ok = json!({"ok": true});
        Json(json!({"ok": true, "checks": {"configuration": ok, "database": ok, "schema": ok, "mode": ok}}))
    };
    Router::new()
        .route("/livez", get(alive))
        .route("/startupz", get(started))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Admin {
            health: Arc::new(health),
            metrics,
        })
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let readiness = admin.health.readiness().await;
    for (check, _) in readiness.failing() {
        admin.metrics.not_ready.with_label_values(&[check]).inc();
    }
    let status = if readiness.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if probe::is_verbose(query.as_deref()) {
        let checks = readiness
            .checks()
            .map(|(name, result)| -> probe::Named<'_> { (name, result) });
        return (status, probe::verbose("readyz", checks)).into_response();
    }
    (status, Json(readiness)).into_response()
}

async fn render(State(admin): State<Admin>) -> Response {
    match admin.metrics.render(admin.health.pool()) {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(fault) => {
            tracing::error!(%fault, "metrics could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
