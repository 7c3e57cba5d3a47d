//! What Prometheus is told. No label carries an id.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};
use shared::counts;

use crate::health::CHECKS;

/// From "at once" to the time after which a request is given up.
const SECONDS: &[f64] = &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Every metric of the portal.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    /// Attempts to log in, by what became of them.
    pub logins: IntCounterVec,
    /// Requests that were refused because there were too many.
    pub limited: IntCounterVec,
    /// Probes of our readiness that failed, by check.
    pub not_ready: IntCounterVec,
    enqueued: IntCounterVec,
    audited: IntCounterVec,
    pool_connections: IntGaugeVec,
    /// One scrape at a time takes over what `shared` has counted.
    scrape: Mutex<()>,
}

impl Metrics {
    /// Registers them all.
    ///
    /// # Errors
    /// Two metrics of one name: a bug.
    pub fn try_new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let build = IntGaugeVec::new(
            Opts::new("quittance_build_info", "What is running"),
            &["component", "version"],
        )?;
        build
            .with_label_values(&["portal", env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(build))?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "quittance_portal_request_duration_seconds",
                "From a request to its answer",
            )
            .buckets(SECONDS.to_vec()),
            &["route"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let requests = counters(
            "quittance_portal_requests_total",
            "Requests, by route and status",
            &["method", "route", "status"],
        )?;
        let logins = counters(
            "quittance_portal_logins_total",
            "Attempts to log in, by result",
            &["result"],
        )?;
        let limited = counters(
            "quittance_portal_limited_total",
            "Requests refused because there were too many",
            &["by"],
        )?;
        let not_ready = counters(
            "quittance_portal_not_ready_total",
            "Probes that found us not ready, by check",
            &["check"],
        )?;
        for result in ["succeeded", "failed", "locked"] {
            logins.with_label_values(&[result]); // present from the start, so that a rate can be taken
        }
        for by in ["caller", "address"] {
            limited.with_label_values(&[by]);
        }
        for check in CHECKS {
            not_ready.with_label_values(&[check]);
        }
        let enqueued = counters(
            "quittance_jobs_enqueued_total",
            "Jobs that this process put into queues",
            &["queue"],
        )?;
        let audited = counters(
            "quittance_audit_events_total",
            "Entries that this process made in the audit log",
            &["action"],
        )?;
        let pool_connections = IntGaugeVec::new(
            Opts::new("quittance_db_pool_connections", "Connections to Postgres"),
            &["state"],
        )?;
        registry.register(Box::new(pool_connections.clone()))?;
        Ok(Self {
            registry,
            enqueued,
            audited,
            pool_connections,
            scrape: Mutex::default(),
            requests,
            durations,
            logins,
            limited,
            not_ready,
        })
    }

    /// Counts an answer.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests
            .with_label_values(&[method, route, &status.to_string()])
            .inc();
        self.durations
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// Takes over what `shared`, which knows no Prometheus, has counted.
    fn take_over(&self) {
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = counts::jobs_enqueued().map(|(queue, count)| (&self.enqueued, queue, count));
        let entries = counts::audit_entries().map(|(action, count)| (&self.audited, action, count));
        for (counters, label, count) in jobs.chain(entries) {
            let counter = counters.with_label_values(&[label]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// As Prometheus reads it, with the connections that there are right now.
    ///
    /// # Errors
    /// A bug of ours.
    pub fn text(&self, pool: &sqlx::PgPool) -> prometheus::Result<String> {
        self.take_over();
        for (state, count) in [
            ("idle", pool.num_idle()),
            ("open", usize::try_from(pool.size()).unwrap_or(0)),
        ] {
            let gauge = self.pool_connections.with_label_values(&[state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|fault| prometheus::Error::Msg(fault.to_string()))
    }
}
