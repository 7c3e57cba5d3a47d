//! Runs that a person asks for: of invoices, of charges, of the comparison with Stripe. Each is enqueued here and done by workers.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;
use uuid::Uuid;

use super::Result;
use crate::{
    ids::{FirmId, JobId},
    store::{
        Tx,
        audit::{self, By},
        cycles,
        jobs::{self, NewJob, Queue},
        jobs_by_hand,
    },
};

/// The job that makes a firm's invoices.
pub const GENERATE: &str = "generate_package_invoices";
/// The job that compares our books with Stripe's and with themselves.
pub const RECONCILE: &str = "reconcile";
/// Charges per run; a second run takes the rest.
pub const MOST_CHARGES: i32 = 100_000;

/// A run of a firm's invoices.
#[derive(Clone, Copy, Debug, Default)]
pub struct InvoiceRun<'a> {
    /// Plan for this date instead of the firm's today.
    pub as_of: Option<NaiveDate>,
    /// Do nothing when the plan has another hash by then.
    pub expect_plan: Option<&'a str>,
    /// Bill everything in arrears, however far back.
    pub catch_up: bool,
}

/// Enqueues a run of a firm's invoices; `run` makes it this run's own.
///
/// # Errors
/// When the database is away.
pub async fn invoices(tx: &mut Tx, firm: FirmId, order: &InvoiceRun<'_>, run: Uuid) -> Result<Option<JobId>> {
    let payload = json!({
        "firm_id": firm, "as_of": order.as_of, "expect_plan": order.expect_plan, "catch_up": order.catch_up,
    });
    let at = tx.now();
    let job = NewJob::new(Queue::Invoices, GENERATE, format!("{firm}:{run}"), payload, at)
        .firm(firm)
        .in_order_of(format!("generate:{firm}"));
    Ok(jobs::enqueue(tx, &job).await?)
}

/// Enqueues the charges of a firm that are due. Returns their jobs, those that were waiting already among them.
///
/// # Errors
/// When the database is away.
pub async fn charges(
    tx: &mut Tx,
    firm: Option<FirmId>,
    as_of: Option<DateTime<Utc>>,
    run: Uuid,
) -> Result<Vec<JobId>> {
    let as_of = as_of.unwrap_or(tx.now());
    Ok(cycles::enqueue_due(tx, firm, as_of, &run.to_string(), MOST_CHARGES).await?)
}

/// Puts a firm's run on record: `generation.requested` or `charging.requested`.
///
/// # Errors
/// When the database is away.
pub async fn record(
    tx: &mut Tx,
    firm: FirmId,
    (action, reason, run): (&str, &str, Uuid),
    by: &By<'_>,
) -> Result<()> {
    let meta = json!({ "reason": reason, "run_id": run });
    Ok(audit::record(tx, firm, by.at, &by.entry(action, "firm", firm.0, meta)).await?)
}

/// Enqueues a comparison of all firms' books, on the platform's record. What differs is a finding of the firm that it belongs to.
///
/// # Errors
/// When the database is away.
pub async fn reconciliation(tx: &mut Tx, (reason, run): (&str, Uuid), by: &By<'_>) -> Result<Option<JobId>> {
    let job = NewJob::new(
        Queue::Maintenance,
        RECONCILE,
        format!("by_hand:{run}"),
        json!({}),
        by.at,
    );
    let job = jobs::enqueue(tx, &job).await?;
    jobs_by_hand::record(tx, "reconcile.requested", reason, &json!({ "run": run }), by).await?;
    Ok(job)
}
