//! Issues the package invoices that are due for one firm.
//! Trigger: every firm's local date, at 02:00 there; `quittance generate-package-invoices`.
//! Effect: periods, invoices, lines, collection cycles and their first jobs, in chunks of one transaction each.
//! Idempotent: a period is billed by inserting its row; whoever comes second skips it.
//! Gives up: never half-way: a chunk is all or nothing, and the next run does what this one did not.

use std::time::Duration;

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::json;
use shared::{
    domain::generate::{Approval, plan_hash},
    ids::FirmId,
    store::{Db, audit::Cause, generation as rows, jobs::Queue},
};

use crate::{
    context::Context,
    generation::{self, Order, Report},
    queue::{Attempts, Claim, ExternalJob, JobError, Outcome, Retry, minutes, secs},
};

/// See the head of this file.
pub struct GeneratePackageInvoices;

/// The job's kind.
pub const KIND: &str = shared::actions::runs::GENERATE;

/// Its payload.
#[derive(Clone, Debug, Deserialize)]
pub struct Args {
    /// Which firm.
    pub firm_id: FirmId,
    /// Plan for this local date instead of the firm's today.
    pub as_of: Option<NaiveDate>,
    /// Refuse when the plan has another hash by now.
    #[serde(default)]
    pub expect_plan: Option<String>,
    /// A person approved billing everything in arrears.
    #[serde(default)]
    pub catch_up: bool,
}

impl ExternalJob for GeneratePackageInvoices {
    const KIND: &'static str = KIND;
    const QUEUE: Queue = Queue::Invoices;
    const RETRY: Retry = Retry::exponential(Attempts(10), secs(5), minutes(10));
    const TIME_LIMIT: Duration = Duration::from_secs(1800);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let args: Args = claim.job.args()?;
        let order = Order {
            as_of: args.as_of,
            approval: Approval {
                approved: args.catch_up,
                ..Approval::default()
            },
        };
        let cause = Cause::job(claim.job.id);
        // A run that died half-way has issued a part of its plan: the hash is of the whole, so only a first run compares.
        if let (Some(expected), 1) = (&args.expect_plan, claim.job.attempt) {
            let planned = dry_run(&cx.db, args.firm_id, order, &cause).await?;
            if plan_hash(&planned.items) != *expected {
                return Ok(Outcome::Cancel {
                    reason: "plan_changed".into(),
                });
            }
        }
        let mut report = Report::default();
        let mut after = None;
        loop {
            let mut tx = cx.db.firm(args.firm_id).await?;
            claim.guard(&mut tx).await?;
            let firm = rows::firm_context(&mut tx, args.firm_id).await?;
            let now = tx.now();
            let (last, part) = generation::chunk(&mut tx, &firm, order, after, now, &cause).await?;
            if !part.bills.is_empty() {
                shared::store::jobs::nudge(&mut tx).await?;
            }
            tx.commit().await?;
            report.extend(part);
            match last {
                Some(id) => after = Some(id),
                None => break,
            }
        }
        Ok(Outcome::Done(json!({
            "created": created(cx, &args, claim, &report).await?,
            "skipped": report.skipped,
        })))
    }
}

/// The invoices of this job. A run after a crash asks the audit log, which also knows those of the run before.
async fn created(
    cx: &Context,
    args: &Args,
    claim: &Claim,
    report: &Report,
) -> Result<serde_json::Value, JobError> {
    if claim.job.attempt <= 1 {
        return Ok(json!(
            report.bills.iter().filter_map(|b| b.invoice).collect::<Vec<_>>()
        ));
    }
    let mut tx = cx.db.firm(args.firm_id).await?;
    Ok(json!(rows::issued_by(&mut tx, args.firm_id, claim.job.id).await?))
}

/// Runs the whole generation of a firm and undoes it.
///
/// # Errors
/// When the database is away.
pub async fn dry_run(db: &Db, firm: FirmId, order: Order, cause: &Cause) -> shared::store::Result<Report> {
    let mut tx = db.firm(firm).await?;
    let context = rows::firm_context(&mut tx, firm).await?;
    let now = tx.now();
    let mut report = Report::default();
    let mut after = None;
    loop {
        let (last, part) = generation::chunk(&mut tx, &context, order, after, now, cause).await?;
        report.extend(part);
        match last {
            Some(id) => after = Some(id),
            None => break,
        }
    }
    tx.rollback().await?;
    Ok(report)
}
