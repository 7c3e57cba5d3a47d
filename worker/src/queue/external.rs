//! Running an external job: claim under a lease, run with the lease kept alive, write down the end under the fence.

use std::time::Duration;

use shared::store::{self, Error};
use sqlx::PgPool;
use tokio::time::sleep;

use super::{
    claim,
    job::{Claim, Job, JobError},
    registry::{Handler, Run},
    runner::Runner,
    settle::{self, Settled, Verdict},
    transactional::Ran,
    unwind::within,
};

/// Tries to write down the end of an external run before the lease is left to run out. What was paid was paid: it is
/// worth some patience, and the fence keeps a late write harmless.
const SETTLE_TRIES: u32 = 6;
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// Runs it to its end.
///
/// # Errors
/// When it could not be claimed, or its end could not be written down: the lease runs out then.
pub async fn run(runner: &Runner, handler: &Handler, run: Run, job: Job) -> Result<Ran, store::Error> {
    let pool = runner.context().db.pool();
    let id = job.id;
    let claim = match claim::take(pool, job, runner.worker_id(), runner.lease()).await {
        Ok(Some(claim)) => claim,
        Ok(None) => return Ok(Ran::Gone),
        Err(error) if claim::is_out_of_turn(&error) => {
            claim::put_back(pool, id, runner.worker_id()).await?;
            return Ok(Ran::PutBack);
        }
        Err(error) => return Err(error),
    };
    let ended = tokio::select! {
        ended = within(runner.bounds(handler), run(runner.context(), &claim)) => ended,
        () = keep(runner.upkeep(), &claim, runner.lease()) => Err(JobError::Stale),
        () = runner.hard_stop() => {
            claim::give_back(pool, &claim).await?;
            return Ok(Ran::PutBack);
        }
    };
    let verdict = match ended {
        Ok(outcome) => settle::of_outcome(&claim.job, outcome),
        Err(error) => match settle::of_error(&claim.job, &handler.retry, error, runner.jitter()) {
            Some(verdict) => {
                runner.log_failure(&claim.job, &verdict);
                verdict
            }
            None => return Ok(Ran::Ended("stale", Settled::Stale)),
        },
    };
    let settled = settle(pool, &claim, &verdict).await?;
    Ok(Ran::Ended(verdict.label, settled))
}

/// Keeps the lease alive; returns when it is lost: to somebody else, or because it ran out and nobody could be told. A
/// database that is away may come back before it ends, so that is no loss yet.
async fn keep(pool: &PgPool, claim: &Claim, lease: Duration) {
    loop {
        sleep(lease / 3).await;
        match claim::renew(pool, claim, lease).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(job.id = %claim.job.id, "lease not renewed: {error}");
                if claim.lease.has_ended() {
                    return;
                }
            }
        }
    }
}

async fn settle(pool: &PgPool, claim: &Claim, verdict: &Verdict) -> Result<Settled, Error> {
    let mut pause = SETTLE_PAUSE;
    for _ in 1..SETTLE_TRIES {
        match settle::claimed(pool, claim, verdict).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(job.id = %claim.job.id, "end of the job not written yet: {error}");
                sleep(pause).await;
                pause *= 2;
            }
            settled => return settled,
        }
    }
    settle::claimed(pool, claim, verdict).await
}
