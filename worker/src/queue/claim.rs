//! Opening a job whose id came out of the lane, and claiming an external one. Postgres decides: an id that is late,
//! early, paused, out of turn or delivered twice leads to nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::{
    failpoint::{self, Effect},
    ids::{FirmId, JobId},
    store::{
        Error, Result,
        silence::{ANSWER, answered},
    },
};
use sqlx::PgPool;

use super::job::{Claim, Job};
use crate::deadline::{Deadline, Lease};

/// What became of an id.
#[derive(Debug)]
pub enum Opened {
    /// Nothing to do: ended, not due, or being run elsewhere.
    Gone,
    /// Not now: its queue is paused, or an earlier job of its order key comes first. The relay will bring it again.
    NotNow,
    /// May be run.
    Ready {
        /// The job, with the number of the attempt that begins.
        job: Box<Job>,
        /// Business time.
        now: DateTime<Utc>,
    },
}

/// Reads a job that is due, and notes that this worker is about to run it if it is of a transactional kind: the note
/// is what rescue finds when the worker dies. One statement; the note is unlogged, so it costs no fsync. A job that
/// another worker has noted is left to it, or to rescue, which counts its death before the job runs again.
///
/// # Errors
/// When the database is away.
pub async fn open(pool: &PgPool, id: JobId, worker_id: &str, transactional: &[String]) -> Result<Opened> {
    let query = sqlx::query!(
        r#"
        with due as materialized (
          select j.*, app.now() as now,
                 not exists (select from queue_pauses p where p.queue = j.queue)
                 and not exists (select from jobs r where r.order_key = j.order_key and r.state = 'running')
                 and not exists (select from jobs e where e.order_key = j.order_key and e.seq < j.seq
                                    and e.state in ('available', 'retryable', 'running') and e.run_at <= app.now()) as in_turn
            from jobs j
           where j.id = $1 and j.state in ('available', 'retryable') and j.run_at <= app.now()
             and not exists (select from job_runs o where o.job_id = j.id and o.worker_id <> $2)),
        noted as (
          insert into job_runs (job_id, worker_id)
          select d.id, $2 from due d where d.in_turn and d.kind = any($3)
          on conflict do nothing)
        select firm_id, kind as "kind!", payload as "payload!", attempt as "attempt!", max_attempts as "max_attempts!",
               run_at as "run_at!", traceparent, created_at as "created_at!", now as "now!", in_turn as "in_turn!"
          from due
        "#,
        id.0,
        worker_id,
        transactional,
    );
    let row = failpoint::around(Effect::Note, answered(ANSWER, query.fetch_optional(pool))).await?;
    let Some(row) = row else { return Ok(Opened::Gone) };
    if !row.in_turn {
        return Ok(Opened::NotNow);
    }
    let job = Job {
        id,
        firm_id: row.firm_id.map(FirmId),
        kind: row.kind,
        payload: row.payload,
        attempt: row.attempt.saturating_add(1),
        max_attempts: row.max_attempts,
        run_at: row.run_at,
        created_at: row.created_at,
        traceparent: row.traceparent,
    };
    Ok(Opened::Ready {
        job: Box::new(job),
        now: row.now,
    })
}

/// Claims an external job: it is running under a lease from here on, its attempt is counted, and its fence has grown.
/// `None`: someone else was faster.
///
/// # Errors
/// [`Error::Conflict`] when another job of its order key is running; otherwise when the database is away.
pub async fn take(pool: &PgPool, job: Job, worker_id: &str, lease: Duration) -> Result<Option<Claim>> {
    let held_until = Deadline::after(lease);
    let query = sqlx::query_scalar!(
        "update jobs set state = 'running', attempt = $3, fence = fence + 1, lease_owner = $2,
                lease_until = clock_timestamp() + make_interval(secs => $4), started_at = app.now()
          where id = (select id from jobs where id = $1 and state in ('available', 'retryable') and run_at <= app.now()
                         and attempt = $3 - 1
                         for update skip locked)
          returning fence",
        job.id.0,
        worker_id,
        job.attempt,
        lease.as_secs_f64(),
    );
    let fence = failpoint::around(Effect::Claim, answered(ANSWER, query.fetch_optional(pool))).await?;
    Ok(fence.map(|fence| Claim {
        job,
        fence,
        owner: worker_id.to_owned(),
        lease: Lease::until(held_until),
    }))
}

/// Extends the lease. `false`: it is no longer ours.
///
/// # Errors
/// When the database is away.
pub async fn renew(pool: &PgPool, claim: &Claim, lease: Duration) -> Result<bool> {
    let held_until = Deadline::after(lease);
    let query = sqlx::query!(
        "update jobs set lease_until = clock_timestamp() + make_interval(secs => $4)
          where id = $1 and fence = $2 and lease_owner = $3 and state = 'running'",
        claim.job.id.0,
        claim.fence,
        claim.owner,
        lease.as_secs_f64(),
    );
    let done = answered(ANSWER, query.execute(pool)).await?;
    let is_ours = done.rows_affected() == 1;
    if is_ours {
        claim.lease.renew(held_until);
    }
    Ok(is_ours)
}

/// Puts an id back: the relay may bring it again at once. The attempt is not counted. A row that is locked is being
/// run, and is left alone.
///
/// # Errors
/// When the database is away; the redispatch covers it then.
pub async fn put_back(pool: &PgPool, id: JobId, worker_id: &str) -> Result<()> {
    let query = sqlx::query!(
        "with noted as (delete from job_runs where job_id = $1 and worker_id = $2)
         update jobs set dispatched_at = null
          where id = (select id from jobs where id = $1 and state in ('available', 'retryable') for update skip locked)",
        id.0,
        worker_id,
    );
    failpoint::around(Effect::Settle, answered(ANSWER, query.execute(pool))).await?;
    Ok(())
}

/// Like [`put_back`], for a transactional run that was cut off: waits for its transaction to be rolled back.
///
/// # Errors
/// When the database is away; the redispatch covers it then.
pub async fn release(pool: &PgPool, id: JobId, worker_id: &str) -> Result<()> {
    let query = sqlx::query!(
        "with noted as (delete from job_runs where job_id = $1 and worker_id = $2)
         update jobs set dispatched_at = null where id = $1 and state in ('available', 'retryable')",
        id.0,
        worker_id,
    );
    failpoint::around(Effect::Settle, answered(ANSWER, query.execute(pool))).await?;
    Ok(())
}

/// Gives a claimed external job back unfinished: its attempt does not count, its fence stays, its lease ends.
/// `false`: it was not ours any more.
///
/// # Errors
/// When the database is away; the lease runs out then.
pub async fn give_back(pool: &PgPool, claim: &Claim) -> Result<bool> {
    let query = sqlx::query!(
        "update jobs set state = 'available', attempt = greatest(attempt - 1, 0), lease_owner = null, lease_until = null,
                dispatched_at = null
          where id = $1 and fence = $2 and lease_owner = $3 and state = 'running'",
        claim.job.id.0,
        claim.fence,
        claim.owner,
    );
    let done = failpoint::around(Effect::Settle, answered(ANSWER, query.execute(pool))).await?;
    Ok(done.rows_affected() == 1)
}

/// Whether an error says that a job of the same order key is running.
#[must_use]
pub fn is_out_of_turn(error: &Error) -> bool {
    matches!(error, Error::Conflict { constraint } if constraint == "jobs_one_running_per_order_key")
}
