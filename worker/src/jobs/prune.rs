//! Removes what nobody needs any more: finished jobs, the signed bytes of old events, comparisons that found nothing new, and how
//! far a backfill came whose command is long gone.
//! Trigger: schedule `prune`, hourly.   Effect: deletes rows, nothing else.
//! Idempotent: what is gone is gone; short batches, each in a transaction of its own.
//! Gives up: after 5 attempts; the next hour tries again.

use std::time::Duration;

use serde_json::json;
use shared::store::jobs::Queue;

use crate::{
    context::Context,
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, minutes},
};

/// Completed and canceled jobs are kept for a week: long enough to ask what happened, and far longer than any tick or
/// event could be enqueued again.
const FINISHED_DAYS: i32 = 7;

/// Discarded jobs wait for a person; a quarter is enough.
const DISCARDED_DAYS: i32 = 90;

/// Stripe itself keeps events for 30 days; ours outlive those by a few.
const BODY_DAYS: i32 = 35;

/// A comparison that found nothing new says nothing after a quarter; the database keeps younger ones.
const RECON_RUN_DAYS: i32 = 91;

/// A pass of a command that was given up; the daily one is never left for so long.
const PASS_DAYS: i32 = 30;

/// Rows per transaction: short locks, and little to roll back.
const BATCH: i64 = 1000;

/// Batches per run and table. More than that is left to the next hour.
const MOST_BATCHES: usize = 1000;

/// See the file's card.
pub struct Prune;

impl ExternalJob for Prune {
    const KIND: &'static str = "prune";
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(5), minutes(1), minutes(10));
    const TIME_LIMIT: Duration = minutes(20);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let jobs = all(cx, claim, Table::Jobs).await?;
        let bodies = all(cx, claim, Table::Bodies).await?;
        let runs = all(cx, claim, Table::ReconRuns).await?;
        let passes = all(cx, claim, Table::BackfillPasses).await?;
        Ok(Outcome::Done(json!({
            "jobs": jobs, "event_bodies": bodies, "recon_runs": runs, "backfill_passes": passes,
        })))
    }
}

#[derive(Clone, Copy)]
enum Table {
    Jobs,
    Bodies,
    ReconRuns,
    BackfillPasses,
}

async fn all(cx: &Context, claim: &Claim, table: Table) -> Result<u64, JobError> {
    let mut removed = 0;
    for _ in 0..MOST_BATCHES {
        let mut tx = cx.db.plain().await?;
        claim.guard(&mut tx).await?;
        let batch = match table {
            Table::Jobs => finished_jobs(&mut tx).await?,
            Table::Bodies => event_bodies(&mut tx).await?,
            Table::ReconRuns => recon_runs(&mut tx).await?,
            Table::BackfillPasses => backfill_passes(&mut tx).await?,
        };
        tx.commit().await?;
        removed += batch;
        if batch < BATCH.unsigned_abs() {
            break;
        }
    }
    Ok(removed)
}

async fn finished_jobs(conn: &mut sqlx::PgConnection) -> Result<u64, JobError> {
    Ok(sqlx::query!(
        "delete from jobs where id in (
           select id from jobs
            where (state in ('completed', 'canceled') and finished_at < app.now() - make_interval(days => $1))
               or (state = 'discarded' and finished_at < app.now() - make_interval(days => $2))
            order by finished_at limit $3 for update skip locked)",
        FINISHED_DAYS,
        DISCARDED_DAYS,
        BATCH,
    )
    .execute(conn)
    .await?
    .rows_affected())
}

async fn event_bodies(conn: &mut sqlx::PgConnection) -> Result<u64, JobError> {
    Ok(sqlx::query!(
        "delete from stripe_event_bodies where stripe_event_id in (
           select stripe_event_id from stripe_event_bodies
            where received_at < clock_timestamp() - make_interval(days => $1)
            order by received_at limit $2)",
        BODY_DAYS,
        BATCH,
    )
    .execute(conn)
    .await?
    .rows_affected())
}

async fn recon_runs(conn: &mut sqlx::PgConnection) -> Result<u64, JobError> {
    let removed = sqlx::query_scalar!(
        r#"select app.prune_recon_runs(app.now() - make_interval(days => $1), $2) as "removed!""#,
        RECON_RUN_DAYS,
        BATCH,
    )
    .fetch_one(conn)
    .await?;
    Ok(removed.unsigned_abs())
}

async fn backfill_passes(conn: &mut sqlx::PgConnection) -> Result<u64, JobError> {
    Ok(sqlx::query!(
        "delete from backfill_passes where pass in (
           select pass from backfill_passes
            where of_job <> '00000000-0000-0000-0000-000000000000' and updated_at < app.now() - make_interval(days => $1)
            limit $2)",
        PASS_DAYS,
        BATCH,
    )
    .execute(conn)
    .await?
    .rows_affected())
}
