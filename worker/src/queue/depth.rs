//! How much there is to do: one aggregate query every few seconds fills the gauges, so that a scrape costs nothing.

use std::{sync::Arc, time::Duration};

use shared::store::{Db, Result, jobs::Queue};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::heartbeat::DEAD_AFTER_SECS;
use crate::metrics::Metrics;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// How often the discarded jobs are counted: no index knows them alone, and they wait for a person anyway.
const DISCARDED_EVERY: Duration = Duration::from_secs(60);

/// States of jobs that are not finished.
const OPEN: [&str; 3] = ["available", "retryable", "running"];

/// Fills the gauges until `stop`.
pub async fn run(db: Db, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut discarded_at: Option<Instant> = None;
    loop {
        let mut measured = measure(&db, &metrics).await;
        if measured.is_ok() && discarded_at.is_none_or(|at| at.elapsed() > DISCARDED_EVERY) {
            measured = discarded(&db, &metrics).await;
            discarded_at = Some(Instant::now());
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
    workers(db, metrics).await
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
