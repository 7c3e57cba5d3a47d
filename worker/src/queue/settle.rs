//! Writing down how a run ended. Every statement proves that the run was still ours, and says which job of the same
//! order key may follow at once.
//!
//! The states: `Done` and `AlreadyApplied` complete, `Snooze` makes available later without counting the attempt,
//! `Cancel` cancels; an error makes retryable with a backoff, or discards when the attempts are used up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::{
    failpoint::{self, Effect},
    ids::JobId,
    store::{
        Result,
        silence::{ANSWER, answered},
    },
    trace,
};
use sqlx::{PgConnection, PgPool};
use tracing::{Instrument as _, Span};

use super::{
    job::{Claim, Job, JobError, Outcome},
    retry::{Jitter, Retry},
};

/// Longest error text that is kept.
const ERROR_CHARS: usize = 2000;

/// What the row of a job becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its new state.
    pub state: &'static str,
    /// Its attempt counter.
    pub attempt: i32,
    /// When it is due, if that changes to a fixed time.
    pub until: Option<DateTime<Utc>>,
    /// When it is due, if that changes to some time from now.
    pub wait: Option<Duration>,
    /// What is kept of a good end.
    pub result: Option<Value>,
    /// What is kept of a bad end.
    pub error: Option<String>,
    /// Label in metrics and logs.
    pub label: &'static str,
}

impl Verdict {
    /// For the statement that writes it down.
    fn span(&self, job: &Job) -> Span {
        trace::settling(&job.kind, job.id, self.label)
    }
}

/// The verdict on an outcome.
#[must_use]
pub fn of_outcome(job: &Job, outcome: Outcome) -> Verdict {
    let ended = |state, label, result| Verdict {
        state,
        attempt: job.attempt,
        until: None,
        wait: None,
        result: Some(result),
        error: None,
        label,
    };
    match outcome {
        Outcome::Done(result) => ended("completed", "done", result),
        Outcome::AlreadyApplied(why) => {
            ended("completed", "already_applied", json!({ "already_applied": why }))
        }
        Outcome::Cancel { reason } => ended("canceled", "canceled", json!({ "canceled": reason })),
        Outcome::Snooze { until, reason } => Verdict {
            attempt: job.attempt - 1,
            until: Some(until),
            ..ended("available", "snoozed", json!({ "snoozed": reason }))
        },
    }
}

/// The verdict on an error; `None` when the run was not ours, so that nothing is written.
#[must_use]
pub fn of_error(job: &Job, retry: &Retry, error: JobError, jitter: Jitter) -> Option<Verdict> {
    let failed = |state, label, wait, message: String| Verdict {
        state,
        attempt: job.attempt,
        until: None,
        wait,
        result: None,
        error: Some(message.chars().take(ERROR_CHARS).collect()),
        label,
    };
    let used_up = job.attempt >= job.max_attempts.min(retry.attempts.0);
    let (wait, message) = match error {
        JobError::Stale => return None,
        JobError::Fail { message } => return Some(failed("discarded", "failed", None, message)),
        JobError::Retry { message } => (retry.wait_after(job.attempt, jitter), message),
        // The fault is not the job's (a refused key, a rate limit): waiting for it to pass uses up no attempt.
        JobError::RetryAfter { delay, message } => {
            return Some(Verdict {
                attempt: job.attempt - 1,
                ..failed("retryable", "retryable", Some(delay), message)
            });
        }
    };
    Some(if used_up {
        failed("discarded", "discarded", None, message)
    } else {
        failed("retryable", "retryable", Some(wait), message)
    })
}

/// What a written verdict leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Written. The job of the same order key that may run next, if any is due.
    Written {
        /// Its id.
        next: Option<JobId>,
    },
    /// The run was not ours any more; nothing was written.
    Stale,
}

impl Settled {
    fn of(row: Option<Option<uuid::Uuid>>) -> Self {
        row.map_or(Settled::Stale, |next| Settled::Written {
            next: next.map(JobId),
        })
    }
}

/// Ends a transactional run inside its own transaction, whose lock on the row is the proof.
///
/// # Errors
/// When the database is away.
pub async fn in_transaction(
    conn: &mut PgConnection,
    job: &Job,
    worker_id: &str,
    started_at: DateTime<Utc>,
    verdict: &Verdict,
) -> Result<Settled> {
    let next = sqlx::query_scalar!(
        r#"
        with noted as (delete from job_runs where job_id = $1 and worker_id = $2)
        update jobs j set state = $3, attempt = $4, run_at = coalesce($5, j.run_at), result = $6, started_at = $7,
               dispatched_at = null,
               finished_at = case when $3 in ('completed', 'canceled') then app.now() end
         where j.id = $1
        returning (select n.id from jobs n
                    where n.order_key = j.order_key and n.queue = j.queue and n.id <> j.id
                      and n.state in ('available', 'retryable') and n.run_at <= app.now()
                    order by n.seq limit 1)
        "#,
        job.id.0,
        worker_id,
        verdict.state,
        verdict.attempt,
        verdict.until,
        verdict.result,
        started_at,
    )
    .fetch_optional(conn)
    .instrument(verdict.span(job))
    .await?;
    Ok(Settled::of(next))
}

/// Records that a transactional run failed, after its transaction was rolled back. The proof is the note of the run:
/// rescue takes it away from a worker that it holds for dead.
///
/// # Errors
/// When the database is away.
pub async fn failed_transaction(
    pool: &PgPool,
    job: &Job,
    worker_id: &str,
    verdict: &Verdict,
) -> Result<Settled> {
    let query = sqlx::query_scalar!(
        r#"
        with noted as (delete from job_runs where job_id = $1 and worker_id = $2 returning job_id)
        update jobs j set state = $3, attempt = $4, last_error = $5, dispatched_at = null,
               run_at = coalesce(app.now() + make_interval(secs => $6), j.run_at),
               finished_at = case when $3 = 'discarded' then app.now() end
         where j.id = (select job_id from noted) and j.state in ('available', 'retryable') and j.attempt = $4 - 1
        returning (select n.id from jobs n
                    where n.order_key = j.order_key and n.queue = j.queue and n.id <> j.id
                      and n.state in ('available', 'retryable') and n.run_at <= app.now()
                    order by n.seq limit 1)
        "#,
        job.id.0,
        worker_id,
        verdict.state,
        verdict.attempt,
        verdict.error,
        verdict.wait.map(|wait| wait.as_secs_f64()),
    );
    let written = answered(ANSWER, query.fetch_optional(pool)).instrument(verdict.span(job));
    let next = failpoint::around(Effect::Settle, written).await?;
    Ok(Settled::of(next))
}

/// Ends an external run. The proof is the fence.
///
/// # Errors
/// When the database is away.
pub async fn claimed(pool: &PgPool, claim: &Claim, verdict: &Verdict) -> Result<Settled> {
    let query = sqlx::query_scalar!(
        r#"
        update jobs j set state = $4, attempt = $5, lease_owner = null, lease_until = null, dispatched_at = null,
               run_at = coalesce($6, app.now() + make_interval(secs => $7), j.run_at),
               result = coalesce($8, j.result), last_error = coalesce($9, j.last_error),
               finished_at = case when $4 in ('completed', 'canceled', 'discarded') then app.now() end
         where j.id = $1 and j.fence = $2 and j.lease_owner = $3 and j.state = 'running'
        returning (select n.id from jobs n
                    where n.order_key = j.order_key and n.queue = j.queue and n.id <> j.id
                      and n.state in ('available', 'retryable') and n.run_at <= app.now()
                    order by n.seq limit 1)
        "#,
        claim.job.id.0,
        claim.fence,
        claim.owner,
        verdict.state,
        verdict.attempt,
        verdict.until,
        verdict.wait.map(|wait| wait.as_secs_f64()),
        verdict.result,
        verdict.error,
    );
    let written = answered(ANSWER, query.fetch_optional(pool)).instrument(verdict.span(&claim.job));
    let next = failpoint::around(Effect::Settle, written).await?;
    Ok(Settled::of(next))
}

#[cfg(test)]
mod tests {
    use super::{super::retry::Attempts, *};

    #[test]
    fn a_fault_that_is_not_the_jobs_uses_up_no_attempt_however_long_it_lasts() {
        let now = DateTime::UNIX_EPOCH;
        let job = Job {
            id: JobId::new(),
            firm_id: None,
            kind: "any".into(),
            payload: Value::Null,
            attempt: 25,
            max_attempts: 25,
            created_at: now,
            run_at: now,
            traceparent: None,
        };
        let retry = Retry::exponential(Attempts(25), Duration::from_secs(1), Duration::from_secs(60));
        let delay = Duration::from_secs(60);
        let refused = JobError::RetryAfter {
            delay,
            message: "the key is refused".into(),
        };
        let verdict = of_error(&job, &retry, refused, Jitter::draw()).unwrap();
        assert_eq!(
            (verdict.state, verdict.attempt, verdict.wait),
            ("retryable", 24, Some(delay))
        );
        let own = of_error(&job, &retry, JobError::retry("its own"), Jitter::draw()).unwrap();
        assert_eq!((own.state, own.attempt), ("discarded", 25));
    }
}
