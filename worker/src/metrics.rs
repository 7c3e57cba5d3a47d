//! What the worker counts, in Prometheus' words: base units, `_total` counters, labels of few values. Never an id.
//!
//! Depths and ages are gauges that one query fills every few seconds ([`crate::queue::depth`]); a scrape reads memory.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use shared::{
    counts,
    domain::{audit_action::ACTIONS, delivery::Channel},
    store::jobs::Queue,
};

/// Upper bounds in seconds for how long a job waited or ran: from a lane's polling interval to a day of backlog.
const DURATIONS: [f64; 14] = [
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0, 86400.0,
];

/// Upper bounds for the number of attempts a job took.
const ATTEMPTS: [f64; 7] = [1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 25.0];

/// How bad an alert is.
pub const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];

/// What comes of an attempt to deliver an alert.
pub const TOLD: [&str; 7] = [
    "delivered",
    "retried",
    "failed",
    "gone",
    "dropped",
    "held",
    "waiting",
];

/// Why jobs were taken back.
pub const RESCUES: [&str; 3] = ["worker_dead", "lease_lost", "quarantined"];

/// All of the worker's metrics and the registry that prints them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// One scrape at a time takes over what `shared` has counted.
    scrape: Mutex<()>,
    enqueued: IntCounterVec,
    audited: IntCounterVec,
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
    /// Whether this worker's relay fills a lane: 1 on one worker of all.
    pub leader: IntGaugeVec,
    /// Queues that somebody paused: 1.
    pub queue_paused: IntGaugeVec,
    /// Events in the inbox that have not taken effect, by state.
    pub inbox_events: IntGaugeVec,
    /// How long ago the oldest event came that nobody has looked at.
    pub inbox_age: IntGauge,
    /// Attempts whose end nobody knows.
    pub unknown_outcomes: IntGauge,
    /// Differences that nobody has settled, of the ledger with itself and with the facts.
    pub ledger_imbalance: IntGauge,
    /// All differences that nobody has settled.
    pub findings: IntGauge,
    /// Open disputes that are to be answered within 72 hours.
    pub disputes_due_soon: IntGauge,
    /// Alerts that are not resolved.
    pub alerts_open: IntGaugeVec,
    /// Deliveries of alerts by channel and what came of an attempt.
    pub alert_deliveries: IntCounterVec,
    /// Automatic charging is stopped everywhere: 1.
    pub autopay_paused: IntGauge,
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
            dispatch_gap: gauge(&r, "dispatch_gap", "Due jobs not yet handed to Redis")?,
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
            leader: gauges(&r, "leader", "This worker fills the lane", &["queue"])?,
            queue_paused: gauges(&r, "queue_paused", "Somebody paused the queue", &["queue"])?,
            inbox_events: gauges(&r, "inbox_events", "Events without effect so far", &["state"])?,
            inbox_age: gauge(
                &r,
                "webhook_inbox_unprocessed_age_seconds",
                "Age of the oldest event that nobody has looked at",
            )?,
            unknown_outcomes: gauge(&r, "stripe_unknown_outcomes", "Attempts whose end nobody knows")?,
            ledger_imbalance: gauge(
                &r,
                "ledger_imbalance",
                "Unsettled differences of the ledger; must be 0",
            )?,
            findings: gauge(
                &r,
                "recon_findings_open",
                "Unsettled differences with Stripe or within",
            )?,
            disputes_due_soon: gauge(&r, "disputes_due_soon", "Open disputes due within 72 hours")?,
            alerts_open: gauges(&r, "alerts_open", "Alerts that are not resolved", &["severity"])?,
            alert_deliveries: counters(
                &r,
                "alert_deliveries_total",
                "Deliveries of alerts by what came of them",
                &["channel", "outcome"],
            )?,
            autopay_paused: gauge(&r, "autopay_paused", "Automatic charging is stopped everywhere")?,
            enqueued: counters(
                &r,
                "jobs_enqueued_total",
                "Jobs that this process put into queues",
                &["queue"],
            )?,
            audited: counters(
                &r,
                "audit_events_total",
                "Entries that this process made in the audit log",
                &["action"],
            )?,
            pool_connections: gauges(&r, "db_pool_connections", "Connections to Postgres", &["state"])?,
            scrape: Mutex::default(),
            registry: r,
        };
        let build = gauges(
            &metrics.registry,
            "build_info",
            "What is running",
            &["component", "version"],
        )?;
        build
            .with_label_values(&["worker", env!("CARGO_PKG_VERSION")])
            .set(1);
        metrics.begin_at_nothing();
        Ok(metrics)
    }

    /// What is known to have few values is there from the start, so that a rate can be taken and an alert be seen to rest.
    fn begin_at_nothing(&self) {
        for queue in Queue::ALL.map(Queue::as_str) {
            for gauge in [
                &self.leader,
                &self.queue_paused,
                &self.jobs_dead,
                &self.lane_depth,
            ] {
                gauge.with_label_values(&[queue]).set(0);
            }
            for counter in [&self.dispatched, &self.lane_restarts] {
                counter.with_label_values(&[queue]).inc_by(0);
            }
        }
        for reason in RESCUES {
            self.rescued.with_label_values(&[reason]).inc_by(0);
        }
        for severity in SEVERITIES {
            self.alerts_open.with_label_values(&[severity]).set(0);
        }
        for channel in Channel::ALL {
            for outcome in TOLD {
                let labels = [channel.as_str(), outcome];
                self.alert_deliveries.with_label_values(&labels).inc_by(0);
            }
        }
        for action in ACTIONS {
            self.audited.with_label_values(&[action]).inc_by(0);
        }
    }

    /// Takes over what `shared`, which knows no Prometheus, has counted.
    fn take_over(&self) {
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counts::jobs_enqueued().map(|(queue, count)| (&self.enqueued, queue, count));
        let counted =
            counted.chain(counts::audit_entries().map(|(action, count)| (&self.audited, action, count)));
        for (counters, label, count) in counted {
            let counter = counters.with_label_values(&[label]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Everything as Prometheus reads it.
    ///
    /// # Errors
    /// When a metric is inconsistent: a bug.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.take_over();
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

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
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
