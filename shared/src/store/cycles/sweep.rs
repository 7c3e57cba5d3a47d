//! What is due or open and has no job: for the safety sweep, and for the command that sweeps by hand.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    enqueue::{CANCEL_INTENT, CANCELLATIONS, COLLECT, LOOKUPS, RECONCILE, REVIEW},
    words::parse,
};
use crate::{
    counts,
    domain::collection::CycleState,
    ids::{CycleId, FirmId, InvoiceId, JobId},
    store::{error::Result, jobs::Queue},
    trace::traceparent,
};

/// A cycle as a list shows it: due now, or waiting for something that a sweep cannot give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCycle {
    /// The cycle.
    pub id: CycleId,
    /// Its invoice.
    pub invoice: InvoiceId,
    /// Where it stands.
    pub state: CycleState,
    /// Why, where the state alone does not say.
    pub reason: Option<String>,
    /// Counts changes.
    pub version: i32,
}

/// Live cycles of a firm that are due at `as_of`, or stand still in a state that waits for someone.
///
/// # Errors
/// When the database is away.
pub async fn due_or_stuck(
    conn: &mut PgConnection,
    firm: FirmId,
    as_of: DateTime<Utc>,
) -> Result<Vec<LiveCycle>> {
    sqlx::query!(
        "select id, invoice_id, state, state_reason, version from collection_cycles
         where firm_id = $1 and ((state in ('scheduled', 'retry_wait') and next_attempt_at <= $2)
            or state in ('action_required', 'method_required', 'unknown', 'paused', 'in_flight'))
         order by next_attempt_at nulls last, id",
        firm.0,
        as_of
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|r| {
        Ok(LiveCycle {
            id: CycleId(r.id),
            invoice: InvoiceId(r.invoice_id),
            state: parse(&r.state)?,
            reason: r.state_reason,
            version: r.version,
        })
    })
    .collect()
}

/// Enqueues the next attempt of every cycle that is due at `as_of`, of one firm or of all, where no unfinished job for it
/// exists. `run` makes the jobs of one sweep its own. Returns the jobs, including those that were waiting already.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_due(
    conn: &mut PgConnection,
    firm: Option<FirmId>,
    as_of: DateTime<Utc>,
    run: &str,
    most: i32,
) -> Result<Vec<JobId>> {
    let jobs = sqlx::query!(
        r#"with due as (
             select *, cycle_id::text || ':v' || version as key from app.due_cycles($1, $2) where firm_id = $3 or $3 is null),
           waiting as (
             select distinct on (d.cycle_id) j.id, d.cycle_id
             from due d join jobs j on j.order_key = d.order_key and j.kind = $4 and j.payload ->> 'cycle_id' = d.cycle_id::text
             where j.state in ('available', 'retryable', 'running') and (j.run_at <= app.now() or j.state <> 'available')
             order by d.cycle_id, j.seq),
           made as (
             insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at, traceparent)
             select gen_random_uuid(), firm_id, 'charges', $4, key || ':' || $5, order_key,
                    jsonb_build_object('cycle_id', cycle_id, 'as_of', $1::timestamptz, 'version', version), app.now(), app.now(), $6
             from due where cycle_id not in (select cycle_id from waiting)
             on conflict (kind, dedupe_key) do nothing returning id)
           select id as "id!", false as "made!" from waiting union all select id, true from made"#,
        as_of,
        most,
        firm.map(|f| f.0),
        COLLECT,
        run,
        traceparent()
    )
    .fetch_all(conn)
    .await?;
    let made = jobs.iter().filter(|job| job.made).count();
    counts::enqueued(Queue::Charges, u64::try_from(made).unwrap_or(u64::MAX));
    Ok(jobs.into_iter().map(|job| JobId(job.id)).collect())
}

/// Has every attempt looked after that was made or sent before `sent_before` and whose end is still open, where no
/// unfinished job does so. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_lookups(
    conn: &mut PgConnection,
    sent_before: DateTime<Utc>,
    run: &str,
    most: i32,
) -> Result<u64> {
    let done = sqlx::query!(
        "insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, max_attempts, run_at, created_at,
                           traceparent)
         select gen_random_uuid(), o.firm_id, 'charges', $3, o.attempt_id::text || ':' || $4, o.order_key,
                jsonb_build_object('cycle_id', o.cycle_id), $6, app.now(), app.now(), $7
         from app.open_outcomes($1, $2) o
         where not exists (select 1 from jobs j
                           where j.order_key = o.order_key and j.payload ->> 'cycle_id' = o.cycle_id::text
                             and j.state in ('available', 'retryable', 'running')
                             and (j.kind = $3 or (j.kind = $5 and (j.run_at <= app.now() or j.state <> 'available'))))
         on conflict (kind, dedupe_key) do nothing",
        sent_before,
        most,
        RECONCILE,
        run,
        COLLECT,
        LOOKUPS,
        traceparent()
    )
    .execute(conn)
    .await?;
    counts::enqueued(Queue::Charges, done.rows_affected());
    Ok(done.rows_affected())
}

/// Has every cycle looked at again that stands still and whose client has had its time, or whose pause may have lost its
/// cause: once a day as long as nothing changes. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_reviews(conn: &mut PgConnection, as_of: DateTime<Utc>, most: i32) -> Result<u64> {
    let done = sqlx::query!(
        "insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at, traceparent)
         select gen_random_uuid(), s.firm_id, 'charges', $3, s.cycle_id::text || ':v' || s.version || ':' || ($1 at time zone 'UTC')::date,
                s.order_key, jsonb_build_object('cycle_id', s.cycle_id), app.now(), app.now(), $4
         from app.standing_cycles($1, $2) s
         on conflict (kind, dedupe_key) do nothing",
        as_of,
        most,
        REVIEW,
        traceparent()
    )
    .execute(conn)
    .await?;
    counts::enqueued(Queue::Charges, done.rows_affected());
    Ok(done.rows_affected())
}

/// Has every PaymentIntent canceled (again) that was given up with automatic payment and that a new collection of its invoice
/// waits for, where no unfinished job does so. `run` makes the jobs of one sweep its own. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn enqueue_cancellations(conn: &mut PgConnection, run: &str, most: i32) -> Result<u64> {
    let done = sqlx::query!(
        "insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, max_attempts, run_at, created_at,
                           traceparent)
         select gen_random_uuid(), u.firm_id, 'charges', $3, u.cycle_id::text || ':' || $2, u.order_key,
                jsonb_build_object('cycle_id', u.cycle_id), $4, app.now(), app.now(), $5
         from app.unclosed_intents($1) u
         where not exists (select 1 from jobs j where j.order_key = u.order_key and j.kind = $3
                             and j.payload ->> 'cycle_id' = u.cycle_id::text and j.state in ('available', 'retryable', 'running'))
         on conflict (kind, dedupe_key) do nothing",
        most,
        run,
        CANCEL_INTENT,
        CANCELLATIONS,
        traceparent()
    )
    .execute(conn)
    .await?;
    counts::enqueued(Queue::Charges, done.rows_affected());
    Ok(done.rows_affected())
}

/// An attempt as `process-recurring-charges` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptReport {
    /// The invoice.
    pub invoice: InvoiceId,
    /// The step.
    pub step: i32,
    /// Where it stands.
    pub state: String,
}

/// The attempts that jobs of a run made.
///
/// # Errors
/// When the database is away.
pub async fn attempts_of_jobs(
    conn: &mut PgConnection,
    firm: FirmId,
    jobs: &[Uuid],
) -> Result<Vec<AttemptReport>> {
    let causes: Vec<String> = jobs.iter().map(Uuid::to_string).collect();
    Ok(sqlx::query!(
        r#"select e.subject_id as "invoice!", a.step, a.state from audit_events e
           join payment_attempts a on a.firm_id = e.firm_id and a.id = (e.meta ->> 'attempt')::uuid
           where e.firm_id = $1 and e.action = 'payment.attempted' and e.cause_kind = 'job' and e.cause_id = any($2)
           order by a.created_at, a.id"#,
        firm.0,
        &causes
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|r| AttemptReport { invoice: InvoiceId(r.invoice), step: r.step, state: r.state })
    .collect())
}
