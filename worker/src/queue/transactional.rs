//! Running a transactional job: prepare without a transaction, then lock the row, do everything, mark it, commit.
//!
//! A crash anywhere rolls back and frees the row at once; the note of the run tells rescue which job it was.

use chrono::{DateTime, Utc};
use shared::store::Db;

use super::{
    claim,
    job::{Job, JobError},
    registry::{Apply, Handler},
    runner::Runner,
    settle::{self, Settled, Verdict},
    unwind::within,
};

/// How the locked attempt went.
enum Locked {
    /// Another worker has the row, or it ended meanwhile, or rescue holds us for dead.
    Gone,
    /// Another job of the same order key is in its transaction right now.
    OutOfTurn,
    /// Committed.
    Ended(Verdict, Settled),
}

/// What a run of either contract leads to.
pub enum Ran {
    /// Written down, under this label.
    Ended(&'static str, Settled),
    /// It was put back and will come again; the attempt does not count.
    PutBack,
    /// Somebody else has it.
    Gone,
}

impl Ran {
    /// How it ended, for traces.
    pub fn label(&self) -> &'static str {
        match self {
            Ran::Ended(_, Settled::Stale) => "stale",
            Ran::Ended(label, Settled::Written { .. }) => label,
            Ran::PutBack => "put_back",
            Ran::Gone => "gone",
        }
    }
}

/// Runs it to its end.
///
/// # Errors
/// When the end could not be written down: the job comes again.
pub async fn run(
    runner: &Runner,
    handler: &Handler,
    prepare: super::registry::Prepare,
    job: &Job,
    now: DateTime<Utc>,
) -> Result<Ran, shared::store::Error> {
    let (db, worker_id) = (&runner.context().db, runner.worker_id());
    let attempt = async {
        let apply = prepare(runner.context(), job).await?;
        in_transaction(runner, db, job, now, apply).await
    };
    let attempted = tokio::select! {
        attempted = within(runner.bounds(handler), attempt) => attempted,
        () = runner.hard_stop() => {
            claim::release(db.pool(), job.id, worker_id).await?;
            return Ok(Ran::PutBack);
        }
    };
    match attempted {
        Ok(Locked::Ended(verdict, settled)) => Ok(Ran::Ended(verdict.label, settled)),
        Ok(Locked::OutOfTurn) => {
            claim::put_back(db.pool(), job.id, worker_id).await?;
            Ok(Ran::PutBack)
        }
        Ok(Locked::Gone) => {
            claim::put_back(db.pool(), job.id, worker_id).await?;
            Ok(Ran::Gone)
        }
        Err(error) => {
            let Some(verdict) = settle::of_error(job, &handler.retry, error, runner.jitter()) else {
                claim::put_back(db.pool(), job.id, worker_id).await?;
                return Ok(Ran::Gone);
            };
            runner.log_failure(job, &verdict);
            let settled = settle::failed_transaction(db.pool(), job, worker_id, &verdict).await?;
            Ok(Ran::Ended(verdict.label, settled))
        }
    }
}

async fn in_transaction(
    runner: &Runner,
    db: &Db,
    job: &Job,
    now: DateTime<Utc>,
    apply: Apply,
) -> Result<Locked, JobError> {
    let mut tx = db.plain().await?;
    // Rolled back at once where nothing is done, so that the row is free before the id is put back.
    match lock(&mut tx, job, runner.worker_id()).await? {
        None => {
            tx.rollback().await?;
            return Ok(Locked::Gone);
        }
        Some(false) => {
            tx.rollback().await?;
            return Ok(Locked::OutOfTurn);
        }
        Some(true) => {}
    }
    match apply(runner.context(), &mut tx, job).await {
        Ok(outcome) => {
            let verdict = settle::of_outcome(job, outcome);
            let settled = settle::in_transaction(&mut tx, job, runner.worker_id(), now, &verdict).await?;
            tx.commit().await?;
            Ok(Locked::Ended(verdict, settled))
        }
        Err(error) => {
            tx.rollback().await?;
            Err(error)
        }
    }
}

/// Locks the row and, where it has an order key, the key. `None` when the run is not ours: someone has the row, it
/// changed since it was opened, or its note is gone. `Some(false)` when the key is taken.
async fn lock(conn: &mut sqlx::PgConnection, job: &Job, worker_id: &str) -> Result<Option<bool>, JobError> {
    Ok(sqlx::query_scalar!(
        r#"select (j.order_key is null or pg_try_advisory_xact_lock(hashtextextended(j.order_key, 0))) as "in_turn!"
             from (select order_key from jobs
                    where id = $1 and state in ('available', 'retryable') and run_at <= app.now() and attempt = $3 - 1
                      and exists (select from job_runs r where r.job_id = $1 and r.worker_id = $2)
                      for update skip locked) j"#,
        job.id.0,
        worker_id,
        job.attempt,
    )
    .fetch_optional(conn)
    .await?)
}
