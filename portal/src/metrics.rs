//! What Prometheus is told. No label carries an id.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

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
        for check in ["database", "schema", "draining"] {
            not_ready.with_label_values(&[check]);
        }
        Ok(Self {
            registry,
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

    /// As Prometheus reads it.
    ///
    /// # Errors
    /// A bug of ours.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|fault| prometheus::Error::Msg(fault.to_string()))
    }
}
