//! The admin port: `/livez`, `/startupz`, `/readyz`, `/metrics`. Never public.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use shared::probe::{self, Check};

use crate::{
    health::{self, Health},
    metrics::Metrics,
};

#[derive(Clone)]
struct Admin {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Probes and metrics. That the first answers at all is the check: the runtime ticks.
pub fn routes(health: Health, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || Json(json!({"ok": true}))))
        .route("/startupz", get(started))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Admin {
            health: Arc::new(health),
            metrics,
        })
}

async fn started(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    answer("startupz", query.as_deref(), &admin.health.startup())
}

async fn ready(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let checks = admin.health.readiness().await;
    for (check, _) in health::failing(&checks) {
        admin.metrics.not_ready.with_label_values(&[check]).inc();
    }
    answer("readyz", query.as_deref(), &checks)
}

fn answer(name: &str, query: Option<&str>, checks: &[Check]) -> Response {
    let ok = health::failing(checks).next().is_none();
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if probe::is_verbose(query) {
        return (status, probe::lines(name, checks)).into_response();
    }
    let body = json!({"ok": ok, "checks": probe::json(checks)});
    (status, Json(body)).into_response()
}

async fn render(State(admin): State<Admin>) -> Response {
    match admin.metrics.text(admin.health.pool()) {
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
