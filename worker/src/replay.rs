//! Processing an event outside of the queue, with the very code of its job: to see what it would do, or on a copy.
//!
//! A replay for real is a job like any other. Here the job's two halves run in this process: a dry run undoes the transaction
//! after it has compared every row it wrote with what everybody else sees; on a copy of the database it is committed.

use serde_json::{Value, json};
use shared::{
    ids::JobId,
    store::{
        self,
        replays::KIND,
        written::{self, Effect},
    },
};
use uuid::Uuid;

use crate::{
    context::Context,
    jobs::process_stripe_event::ProcessStripeEvent,
    queue::{Job, JobError, Outcome, TransactionalJob},
};

/// What processing an event would do.
#[derive(Debug)]
pub struct DryRun {
    /// What the job would report.
    pub report: Value,
    /// Rows that would be new, or change.
    pub effects: Vec<Effect>,
}

/// Processes an event and undoes it. Stripe is read; a client that can write is not needed.
///
/// # Errors
/// As its job.
pub async fn dry_run(cx: &Context, event: &str) -> Result<DryRun, JobError> {
    let job = job(cx, event, Uuid::nil()).await?;
    let prepared = ProcessStripeEvent::prepare(cx, &job).await?;
    let mut tx = cx.db.plain().await?;
    let outcome = ProcessStripeEvent::apply(cx, &mut tx, &job, prepared).await?;
    written::check_as_at_commit(&mut tx).await?;
    // By another connection, which sees what was committed; its firm is the one that the job has found by now.
    let mut outside = cx.db.plain().await?;
    if let Some(firm) = written::firm_in_sight(&mut tx).await? {
        outside.set_firm(firm).await?;
    }
    let effects = written::effects(&mut tx, &mut outside).await?;
    outside.rollback().await?;
    tx.rollback().await?;
    Ok(DryRun {
        report: report(outcome),
        effects,
    })
}

/// Processes an event for good, on a database that no worker works on.
///
/// # Errors
/// As its job; nothing has happened then.
pub async fn here(cx: &Context, event: &str, run: Uuid) -> Result<Value, JobError> {
    let job = job(cx, event, run).await?;
    let prepared = ProcessStripeEvent::prepare(cx, &job).await?;
    let mut tx = cx.db.plain().await?;
    let outcome = ProcessStripeEvent::apply(cx, &mut tx, &job, prepared).await?;
    tx.commit().await?;
    Ok(report(outcome))
}

/// The job as the queue would hand it over.
async fn job(cx: &Context, event: &str, run: Uuid) -> Result<Job, store::Error> {
    let now = cx.db.now().await?;
    Ok(Job {
        id: JobId::new(),
        firm_id: None,
        kind: KIND.to_owned(),
        payload: json!({ "event_id": event, "replay": run }),
        attempt: 1,
        max_attempts: 1,
        created_at: now,
        run_at: now,
        traceparent: None,
    })
}

fn report(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done(value) => value,
        Outcome::AlreadyApplied(why) => json!({ "not_applied": why }),
        Outcome::Snooze { reason, .. } | Outcome::Cancel { reason } => json!({ "not_applied": reason }),
    }
}
