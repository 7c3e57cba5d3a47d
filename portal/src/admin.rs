//! The admin port: `/livez`, `/startupz`, `/readyz`, `/metrics`. Never public.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value, json};
use shared::store::{
    Db,
    migrations::{self, SchemaState},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// A probe that waits longer than this has its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Admin {
    db: Db,
    metrics: Arc<Metrics>,
    draining: CancellationToken,
}

/// Probes and metrics. That the first two answer at all is the check: nothing listens before the start has succeeded.
pub fn routes(db: Db, metrics: Arc<Metrics>, draining: CancellationToken) -> Router {
    let alive = async || Json(json!({"ok": true}));
    Router::new()
        .route("/livez", get(alive))
        .route("/startupz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Admin {
            db,
            metrics,
            draining,
        })
}

async fn ready(State(admin): State<Admin>) -> Response {
    let schema = timeout(PROBE_TIMEOUT, look(&admin.db)).await;
    let (database, schema) = match schema {
        Err(_) => (Err("no answer in time".to_owned()), None),
        Ok(Err(fault)) => (Err(fault.to_string()), None),
        Ok(Ok(state)) => (Ok(()), Some(state)),
    };
    let schema = match schema {
        Some(SchemaState::Behind { have, want, .. }) => Err(format!(
            "schema version {have}, this build needs {want}: run `quittance migrate`"
        )),
        Some(SchemaState::Current | SchemaState::Ahead { .. }) => Ok(()),
        None => Err("unknown while the database does not answer".to_owned()),
    };
    let draining = if admin.draining.is_cancelled() {
        Err("the portal is shutting down".to_owned())
    } else {
        Ok(())
    };
    let mut checks = Map::new();
    let mut ok = true;
    for (name, check) in [("database", database), ("schema", schema), ("draining", draining)] {
        let shown = match check {
            Ok(()) => json!({"ok": true}),
            Err(why) => {
                ok = false;
                admin.metrics.not_ready.with_label_values(&[name]).inc();
                json!({"ok": false, "message": why})
            }
        };
        checks.insert(name.to_owned(), shown);
    }
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body: Value = json!({"ok": ok, "checks": checks});
    (status, Json(body)).into_response()
}

async fn look(db: &Db) -> shared::store::Result<SchemaState> {
    let mut conn = db.pool().acquire().await?;
    migrations::check(&mut conn).await
}

async fn render(State(admin): State<Admin>) -> Response {
    match admin.metrics.text() {
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
