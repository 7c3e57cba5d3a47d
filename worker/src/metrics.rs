//! What the worker counts, in Prometheus' words: base units, `_total` counters, labels of few values. Never an id.
//!
//! Depths and ages are gauges that one query fills every few seconds ([`crate::queue::depth`]); a scrape reads memory.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Upper bounds in seconds for how long a job waited or ran: from a lane's polling interval to a day of backlog.
const DURATIONS: [f64; 14] = [
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0, 86400.0,
];

/// Upper bounds for the number of attempts a job took.
const ATTEMPTS: [f64; 7] = [1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 25.0];

/// All of the worker's metrics and the registry that prints them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Jobs that are not finished, by queue and state.
    pub jobs: IntGaugeVec,
    /// Discarded jobs by queue: each waits for a person.
    pub jobs_dead: IntGaugeVec,
    /// How long the oldest due job has been due. The signal to page on.
    pub oldest_available_age: IntGaugeVec,
    /// Due jobs that were not handed to Redis yet.
    pub dispatch_gap: IntGauge,
    /// Ids waiting in the lane.
    pub lane_depth: IntGaugeVec,
    /// Ids handed to the lane.
    pub dispatched: IntCounterVec,
    /// Runs by queue, kind and outcome.
    pub completed: IntCounterVec,
    /// From due to started.
    pub wait_duration: HistogramVec,
    /// From started to recorded.
    pub run_duration: HistogramVec,
    /// Attempts that a finished job took.
    pub attempts: HistogramVec,
    /// Jobs taken back from workers that died or fell silent.
    pub rescued: IntCounterVec,
    /// Results of claims that had been lost meanwhile; they changed nothing.
    pub stale_completions: IntCounter,
    /// Workers by state.
    pub workers: IntGaugeVec,
    /// Jobs running in this process, by queue.
    pub slots_used: IntGaugeVec,
    /// Jobs that this process would run at most, by queue.
    pub slots_total: IntGaugeVec,
    /// Ticks that fired.
    pub schedule_fired: IntCounterVec,
    /// Ticks recorded as skipped.
    pub schedule_missed: IntCounterVec,
    /// How late the last tick was handled.
    pub schedule_lag: IntGaugeVec,
    /// Restarts of a lane after Redis failed it.
    pub lane_restarts: IntCounterVec,
    /// Calls of Stripe's API by operation and result.
    pub stripe_requests: IntCounterVec,
    /// How long they took.
    pub stripe_duration: HistogramVec,
    /// Second payments of one collection that were stopped before they were made.
    pub double_charge_blocked: IntCounter,
    /// Connections of this process to Postgres.
    pub pool_connections: IntGaugeVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics share a name: a bug that the first test finds.
    pub fn new() -> Result<Self, prometheus::Error> {
        let r = Registry::new_custom(Some("quittance".to_owned()), None)?;
        let metrics = Self {
            jobs: gauges(&r, "jobs", "Unfinished jobs", &["queue", "state"])?,
            jobs_dead: gauges(&r, "jobs_dead", "Discarded jobs", &["queue"])?,
            oldest_available_age: gauges(
                &r,
                "queue_oldest_available_age_seconds",
                "Age of the oldest due job",
                &["queue"],
            )?,
            dispatch_gap: {
                let gauge = IntGauge::new("dispatch_gap", "Due jobs not yet handed to Redis")?;
                r.register(Box::new(gauge.clone()))?;
                gauge
            },
            lane_depth: gauges(&r, "lane_depth", "Ids waiting in Redis", &["queue"])?,
            dispatched: counters(&r, "jobs_dispatched_total", "Ids handed to Redis", &["queue"])?,
            completed: counters(
                &r,
                "jobs_completed_total",
                "Runs of jobs by how they ended",
                &["queue", "kind", "outcome"],
            )?,
            wait_duration: histograms(
                &r,
                "job_wait_duration_seconds",
                "From due to started",
                &["queue"],
                &DURATIONS,
            )?,
            run_duration: histograms(
                &r,
                "job_run_duration_seconds",
                "From started to recorded",
                &["queue", "kind"],
                &DURATIONS,
            )?,
            attempts: histograms(
                &r,
                "job_attempts",
                "Attempts that a finished job took",
                &["kind"],
                &ATTEMPTS,
            )?,
            rescued: counters(&r, "jobs_rescued_total", "Jobs taken back", &["reason"])?,
            stale_completions: counter(
                &r,
                "jobs_stale_completions_total",
                "Results of lost claims, without effect",
            )?,
            workers: gauges(&r, "workers", "Workers by state", &["state"])?,
            slots_used: gauges(&r, "worker_slots_used", "Jobs running here", &["queue"])?,
            slots_total: gauges(&r, "worker_slots_total", "Most jobs running here", &["queue"])?,
            schedule_fired: counters(&r, "schedule_fired_total", "Ticks that fired", &["schedule"])?,
            schedule_missed: counters(&r, "schedule_missed_total", "Ticks skipped", &["schedule"])?,
            schedule_lag: gauges(
                &r,
                "schedule_lag_seconds",
                "Lateness of the last tick",
                &["schedule"],
            )?,
            lane_restarts: counters(
                &r,
                "lane_restarts_total",
                "Restarts of a lane after Redis failed it",
                &["queue"],
            )?,
            stripe_requests: counters(
                &r,
                "stripe_requests_total",
                "Calls of Stripe's API",
                &["op", "code"],
            )?,
            stripe_duration: histograms(
                &r,
                "stripe_request_duration_seconds",
                "Calls of Stripe's API",
                &["op"],
                &DURATIONS,
            )?,
            double_charge_blocked: counter(&r, "double_charge_blocked_total", "Second payments stopped")?,
            pool_connections: gauges(&r, "db_pool_connections", "Connections to Postgres", &["state"])?,
            registry: r,
        };
        let build = gauges(&metrics.registry, "build_info", "This build", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// Everything as Prometheus reads it.
    ///
    /// # Errors
    /// When a metric is inconsistent: a bug.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Counts the calls of Stripe's API.
impl crate::stripe::Observer for Metrics {
    fn on_request(&self, operation: crate::stripe::Operation, code: &str, elapsed: std::time::Duration) {
        self.stripe_requests
            .with_label_values(&[operation.as_str(), code])
            .inc();
        self.stripe_duration
            .with_label_values(&[operation.as_str()])
            .observe(elapsed.as_secs_f64());
    }
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, prometheus::Error> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_the_product_name() {
        let metrics = Metrics::new().unwrap();
        metrics
            .completed
            .with_label_values(&["events", "process_stripe_event", "done"])
            .inc();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(text.contains("quittance_build_info"), "{text}");
        assert!(
            text.contains(
                r#"quittance_jobs_completed_total{kind="process_stripe_event",outcome="done",queue="events"} 1"#
            ),
            "{text}"
        );
    }
}
