//! What Prometheus is told. No label carries an id.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::{health::CHECKS, refusals::Reason, reply::RESULTS};

/// Up to the 5 s after which a delivery is given up.
const ACK_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];
/// From "at once" to the three days for which Stripe keeps trying.
const DELAY_SECONDS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 21_600.0, 86_400.0, 259_200.0,
];
/// Up to the largest batch.
const BATCH_EVENTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Every metric of the ingress.
pub struct Metrics {
    registry: Registry,
    /// Deliveries by what became of them.
    pub requests: IntCounterVec,
    /// Deliveries answered 503, by why.
    pub unavailable: IntCounterVec,
    /// Probes of our readiness that failed, by check.
    pub not_ready: IntCounterVec,
    /// From the request's head to our answer, for genuine events.
    pub ack: Histogram,
    /// From the event's creation at Stripe to its arrival here.
    pub event_delay: Histogram,
    /// Events per commit.
    pub batch_events: Histogram,
    /// One statement and its commit.
    pub commit: Histogram,
    /// Deliveries being worked on.
    pub in_flight: IntGauge,
    /// Deliveries that wait for their commit.
    pub waiting: IntGauge,
    /// Open connections of the public port.
    pub connections: IntGauge,
    /// Connections that committers keep.
    pub committer_connections: IntGauge,
    pool_connections: IntGauge,
}

/// Counts itself while it lives, also when the client goes away and the handler is dropped.
pub struct Counted<'a>(&'a IntGauge);

impl<'a> Counted<'a> {
    /// One more, until dropped.
    pub fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers them all.
    ///
    /// # Errors
    /// Two metrics of one name: a bug.
    pub fn try_new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            for value in values {
                counters.with_label_values(&[value]); // present from the start, so that a rate can be taken
            }
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let build = IntGaugeVec::new(
            Opts::new("quittance_build_info", "What is running"),
            &["component", "version"],
        )?;
        build
            .with_label_values(&["ingress", env!("CARGO_PKG_VERSION")])
            .set(1);
        registry.register(Box::new(build))?;
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            prometheus::Result::Ok(histogram)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        Ok(Self {
            requests: counters(
                "quittance_webhook_requests_total",
                "Deliveries by what became of them",
                "result",
                RESULTS,
            )?,
            unavailable: counters(
                "quittance_webhook_unavailable_total",
                "Deliveries answered 503, by why",
                "reason",
                &Reason::ALL.map(Reason::label),
            )?,
            not_ready: counters(
                "quittance_readiness_failures_total",
                "Answers of /readyz that were no, by failing check",
                "check",
                &CHECKS,
            )?,
            ack: histogram(
                "quittance_webhook_ack_duration_seconds",
                "From a delivery's head to our 2xx",
                ACK_SECONDS,
            )?,
            event_delay: histogram(
                "quittance_webhook_event_delay_seconds",
                "From an event's creation to its arrival",
                DELAY_SECONDS,
            )?,
            batch_events: histogram(
                "quittance_webhook_batch_events",
                "Events per commit",
                BATCH_EVENTS,
            )?,
            commit: histogram(
                "quittance_webhook_commit_duration_seconds",
                "One statement and its commit",
                ACK_SECONDS,
            )?,
            in_flight: gauge("quittance_webhook_in_flight", "Deliveries being worked on")?,
            waiting: gauge(
                "quittance_webhook_waiting",
                "Deliveries that wait for their commit",
            )?,
            connections: gauge(
                "quittance_webhook_connections",
                "Open connections of the public port",
            )?,
            committer_connections: gauge(
                "quittance_db_committer_connections",
                "Connections to Postgres that committers keep",
            )?,
            pool_connections: gauge(
                "quittance_db_pool_connections",
                "Further connections to Postgres, for probes and for committers that reconnect",
            )?,
            registry,
        })
    }

    /// A delivery got its 2xx.
    pub fn acknowledged(&self, took: Duration, delay: Duration) {
        self.ack.observe(took.as_secs_f64());
        self.event_delay.observe(delay.as_secs_f64());
    }

    /// Everything, in Prometheus's text format.
    ///
    /// # Errors
    /// When a metric cannot be encoded: a bug.
    pub fn render(&self, pool: &sqlx::PgPool) -> prometheus::Result<Vec<u8>> {
        self.pool_connections.set(pool.size().into());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
