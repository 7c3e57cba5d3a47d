//! How much there is to do: one aggregate query every few seconds fills the gauges, so that a scrape costs nothing.

use std::{sync::Arc, time::Duration};

use shared::{
    domain::reconcile::Kind,
    store::{Db, Result, jobs::Queue, silence::answered},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::heartbeat::DEAD_AFTER_SECS;
use crate::metrics::{Metrics, SEVERITIES};

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// Longest measurement: it reads all open jobs.
const LONGEST: Duration = Duration::from_secs(30);

/// How often what waits for people is counted: discarded jobs, open differences and the like.
const SLOWLY_EVERY: Duration = Duration::from_secs(30);

/// States of events that have had no effect.
const OPEN_EVENTS: [&str; 3] = ["pending", "unmatched", "parked"];

/// States of jobs that are not finished.
const OPEN: [&str; 3] = ["available", "retryable", "running"];

/// Fills the gauges until `stop`.
pub async fn run(db: Db, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut slowly_at: Option<Instant> = None;
    loop {
        let mut measured = answered(LONGEST, measure(&db, &metrics)).await;
        if measured.is_ok() && slowly_at.is_none_or(|at| at.elapsed() > SLOWLY_EVERY) {
            measured = answered(LONGEST, slowly(&db, &metrics)).await;
            slowly_at = Some(Instant::now());
        }
        if let Err(error) = measured {
            tracing::debug!("depth not measured: {error}");
        }
        for (state, count) in [
            ("idle", db.pool().num_idle()),
            ("open", usize::try_from(db.pool().size()).unwrap_or(0)),
        ] {
            metrics
                .pool_connections
                .with_label_values(&[state])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn measure(db: &Db, metrics: &Metrics) -> Result<()> {
    let rows = sqlx::query!(
        r#"select queue, state, count(*) as "count!",
                  extract(epoch from app.now() - min(run_at) filter (where state <> 'running'))::bigint as age_secs,
                  count(*) filter (where state <> 'running' and run_at <= app.now() and dispatched_at is null) as "gap!"
             from jobs where state in ('available', 'retryable') or state = 'running'
            group by queue, state"#
    )
    .fetch_all(db.pool())
    .await?;
    for queue in Queue::ALL.map(Queue::as_str) {
        for state in OPEN {
            let count = rows
                .iter()
                .find(|r| r.queue == queue && r.state == state)
                .map_or(0, |r| r.count);
            metrics.jobs.with_label_values(&[queue, state]).set(count);
        }
        let oldest = rows
            .iter()
            .filter(|r| r.queue == queue)
            .filter_map(|r| r.age_secs);
        metrics
            .oldest_available_age
            .with_label_values(&[queue])
            .set(oldest.max().unwrap_or(0).max(0));
    }
    metrics.dispatch_gap.set(rows.iter().map(|r| r.gap).sum());
    inbox(db, metrics).await?;
    workers(db, metrics).await
}

/// The oldest event that nobody has looked at, and the pauses.
async fn inbox(db: &Db, metrics: &Metrics) -> Result<()> {
    let row = sqlx::query!(
        r#"select (select extract(epoch from clock_timestamp() - min(received_at))::bigint from stripe_events where state = 'pending') as age,
                  array(select queue from queue_pauses) as "paused!""#
    )
    .fetch_one(db.pool())
    .await?;
    metrics.inbox_age.set(row.age.unwrap_or(0).max(0));
    for queue in Queue::ALL.map(Queue::as_str) {
        let paused = row.paused.iter().any(|paused| paused == queue);
        metrics
            .queue_paused
            .with_label_values(&[queue])
            .set(i64::from(paused));
    }
    Ok(())
}

/// What waits for people, of all firms: numbers only.
async fn slowly(db: &Db, metrics: &Metrics) -> Result<()> {
    discarded(db, metrics).await?;
    let events = sqlx::query!(
        r#"select state, count(*) as "count!" from stripe_events where state in ('pending', 'unmatched', 'parked') group by state"#
    )
    .fetch_all(db.pool())
    .await?;
    for state in OPEN_EVENTS {
        let count = events
            .iter()
            .find(|row| row.state == state)
            .map_or(0, |row| row.count);
        metrics.inbox_events.with_label_values(&[state]).set(count);
    }
    let rows = sqlx::query!(
        r#"select measure as "measure!", label as "label!", value as "value!" from app.measures()"#
    )
    .fetch_all(db.pool())
    .await?;
    let sum = |measure: &str, label: Option<&str>| {
        let these = rows
            .iter()
            .filter(|row| row.measure == measure && label.is_none_or(|label| row.label == label));
        these.map(|row| row.value).sum::<i64>()
    };
    metrics.unknown_outcomes.set(sum("unknown_outcomes", None));
    metrics.disputes_due_soon.set(sum("disputes_due_soon", None));
    metrics.findings.set(sum("finding", None));
    metrics
        .ledger_imbalance
        .set(sum("finding", Some(Kind::LedgerImbalance.as_str())));
    metrics.autopay_paused.set(sum("autopay_paused", None));
    for severity in SEVERITIES {
        metrics
            .alerts_open
            .with_label_values(&[severity])
            .set(sum("alert", Some(severity)));
    }
    Ok(())
}

async fn workers(db: &Db, metrics: &Metrics) -> Result<()> {
    let row = sqlx::query!(
        r#"select count(*) filter (where alive and not draining) as "active!",
                  count(*) filter (where alive and draining) as "draining!",
                  count(*) filter (where not alive) as "dead!"
             from (select draining, heartbeat_at > clock_timestamp() - make_interval(secs => $1) as alive from workers) w"#,
        DEAD_AFTER_SECS
    )
    .fetch_one(db.pool())
    .await?;
    for (state, count) in [
        ("active", row.active),
        ("draining", row.draining),
        ("dead", row.dead),
    ] {
        metrics.workers.with_label_values(&[state]).set(count);
    }
    Ok(())
}

async fn discarded(db: &Db, metrics: &Metrics) -> Result<()> {
    let rows = sqlx::query!(
        r#"select queue, count(*) as "count!" from jobs where state = 'discarded' group by queue"#
    )
    .fetch_all(db.pool())
    .await?;
    for queue in Queue::ALL.map(Queue::as_str) {
        let count = rows.iter().find(|r| r.queue == queue).map_or(0, |r| r.count);
        metrics.jobs_dead.with_label_values(&[queue]).set(count);
    }
    Ok(())
}
