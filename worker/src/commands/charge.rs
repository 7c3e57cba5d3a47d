//! `quittance process-recurring-charges`: what would be charged, or charging everything that is due.

use std::{collections::BTreeMap, time::Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    actions::runs,
    domain::collection::{AttemptState, ChargeDecision, CycleState, decide_charge},
    ids::{FirmId, InvoiceId, JobId},
    store::{
        self, Db,
        cycles::{self, AttemptReport},
        jobs,
    },
};
use uuid::Uuid;

use super::{
    firms::{FailedFirm, FirmLabel, chosen_firms, exit_after, failed_text, label_of},
    open_db,
    wait::{Ended, WaitArgs, pause, wait_for},
};
use crate::output::{Exit, Failure, Format, table};

/// Arguments of `process-recurring-charges`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what would be charged, and why the rest would not; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only this firm; all firms unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// As if it were this time (RFC 3339, or a date: midnight UTC).
    #[arg(long, value_name = "TIME", value_parser = super::clock::parse_time)]
    as_of: Option<DateTime<Utc>>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// A charge that would be made.
#[derive(Debug, Serialize)]
struct WouldCharge {
    invoice: InvoiceId,
    amount_minor: i64,
    currency: String,
    attempt_number: u32,
}

/// An invoice under collection that would not be charged now.
#[derive(Debug, Serialize)]
struct Skipped {
    invoice: InvoiceId,
    reason_code: String,
}

/// Runs `process-recurring-charges`.
///
/// # Errors
/// When the database is away, no worker runs, or outcomes are still open when the time is up.
pub async fn run(args: Args, format: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let firms = chosen_firms(&db, args.firm_id.as_deref()).await?;
    let as_of = match args.as_of {
        Some(time) => time,
        None => db.now().await?,
    };
    if args.dry_run {
        return dry_run(&db, &firms, as_of, format).await;
    }
    let run_id = Uuid::now_v7();
    let jobs = enqueue(&db, &args, &firms, as_of, run_id).await?;
    if args.wait.no_wait {
        format.show(&json!({"run_id": run_id, "enqueued": jobs}), |_| {
            format!("enqueued {} charge(s), run {run_id}", jobs.len())
        })?;
        return Ok(Exit::Done);
    }
    let (ended, charged) = wait_for_outcomes(&db, &jobs, args.wait, format).await?;
    conclude(&ended, &charged, &firms, run_id, format)
}

/// Waits until jobs have ended and every attempt that they made has an outcome.
///
/// # Errors
/// When the database is away, no worker runs, or the time is up.
pub async fn wait_for_outcomes(
    db: &Db,
    jobs: &[JobId],
    wait: WaitArgs,
    format: Format,
) -> Result<(Vec<Ended>, Vec<AttemptReport>), Failure> {
    let started = Instant::now();
    let ended = wait_for(db, jobs, wait, format, "charges").await?;
    loop {
        let charged = outcomes(db, &ended).await?;
        if charged.iter().all(is_settled) {
            return Ok((ended, charged));
        }
        pause(db, started, wait, "charges").await?;
    }
}

/// An attempt that waits for the client has an outcome: there is nothing more that we could wait for.
fn is_settled(report: &AttemptReport) -> bool {
    report
        .state
        .parse::<AttemptState>()
        .is_ok_and(|s| !s.is_open() || s == AttemptState::ActionRequired)
}

async fn dry_run(
    db: &Db,
    firms: &[FirmLabel],
    as_of: DateTime<Utc>,
    format: Format,
) -> Result<Exit, Failure> {
    let (mut would, mut skipped, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for firm in firms {
        match plan(db, firm.id, as_of).await {
            Ok(planned) => {
                would.extend(planned.0);
                skipped.extend(planned.1);
            }
            Err(fault) => failed.push(firm.failed(fault)?),
        }
    }
    let document = json!({
        "dry_run": true, "as_of": as_of, "would_charge": would, "skipped": skipped, "failed": failed,
    });
    format.show(&document, |_| dry_text(&would, &skipped, &failed))?;
    Ok(exit_after(failed.len(), firms.len()))
}

/// What of one firm would be charged, and what would not.
async fn plan(
    db: &Db,
    firm: FirmId,
    as_of: DateTime<Utc>,
) -> store::Result<(Vec<WouldCharge>, Vec<Skipped>)> {
    let (mut would, mut skipped) = (Vec::new(), Vec::new());
    let mut tx = db.firm(firm).await?;
    for cycle in cycles::due_or_stuck(&mut tx, firm, as_of).await? {
        let reason = match cycle.state {
            CycleState::Scheduled | CycleState::RetryWait => {
                let mut facts = cycles::charge_facts(&mut tx, firm, cycle.id).await?;
                // those before it in this run count too
                if let Some(per_day) = &mut facts.limits.per_day {
                    per_day.made += i64::try_from(would.len()).unwrap_or(i64::MAX);
                }
                match decide_charge(&facts, as_of).0 {
                    ChargeDecision::Charge { amount, step, .. } => {
                        would.push(WouldCharge {
                            invoice: cycle.invoice,
                            amount_minor: amount.minor(),
                            currency: amount.currency().as_str().to_owned(),
                            attempt_number: step,
                        });
                        continue;
                    }
                    other => other.reason_code().to_owned(),
                }
            }
            // What stopped it says more than that it is stopped.
            CycleState::Paused => cycle.reason.unwrap_or_else(|| cycle.state.to_string()),
            other => other.as_str().to_owned(),
        };
        skipped.push(Skipped {
            invoice: cycle.invoice,
            reason_code: reason,
        });
    }
    Ok((would, skipped))
}

fn dry_text(would: &[WouldCharge], skipped: &[Skipped], failed: &[FailedFirm]) -> String {
    let mut text = format!("would charge {} invoice(s)\n", would.len());
    if !would.is_empty() {
        let rows: Vec<Vec<String>> = would
            .iter()
            .map(|w| {
                vec![
                    w.invoice.to_string(),
                    w.amount_minor.to_string(),
                    w.currency.clone(),
                    w.attempt_number.to_string(),
                ]
            })
            .collect();
        text.push_str(&table(&["INVOICE", ">MINOR", "CURRENCY", ">ATTEMPT"], &rows));
    }
    if !skipped.is_empty() {
        let rows: Vec<Vec<String>> = skipped
            .iter()
            .map(|s| vec![s.invoice.to_string(), s.reason_code.clone()])
            .collect();
        text.push_str(&format!(
            "skipped {}\n{}",
            skipped.len(),
            table(&["INVOICE", "REASON"], &rows)
        ));
    }
    text.push_str(&failed_text(failed));
    text
}

async fn enqueue(
    db: &Db,
    args: &Args,
    firms: &[FirmLabel],
    as_of: DateTime<Utc>,
    run_id: Uuid,
) -> Result<Vec<JobId>, Failure> {
    let mut tx = db.plain().await?;
    let only = args.firm_id.as_ref().and_then(|_| firms.first()).map(|f| f.id);
    let ids = runs::charges(&mut tx, only, Some(as_of), run_id).await?;
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    Ok(ids)
}

/// The attempts that the jobs of this run made, over all firms.
async fn outcomes(db: &Db, ended: &[Ended]) -> Result<Vec<AttemptReport>, Failure> {
    let mut by_firm: BTreeMap<FirmId, Vec<Uuid>> = BTreeMap::new();
    for job in ended {
        if let Some(firm) = job.firm {
            by_firm.entry(firm).or_default().push(job.id.0);
        }
    }
    let mut all = Vec::new();
    for (firm, jobs) in by_firm {
        let mut tx = db.firm(firm).await?;
        all.extend(cycles::attempts_of_jobs(&mut tx, firm, &jobs).await?);
    }
    Ok(all)
}

fn conclude(
    ended: &[Ended],
    charged: &[AttemptReport],
    firms: &[FirmLabel],
    run_id: Uuid,
    format: Format,
) -> Result<Exit, Failure> {
    let charges: Vec<Value> = charged
        .iter()
        .map(|c| json!({"invoice": c.invoice, "attempt_number": c.step, "state": c.state}))
        .collect();
    let failed: Vec<FailedFirm> = ended
        .iter()
        .filter(|e| e.state == "discarded")
        .map(|e| FailedFirm {
            firm: label_of(firms, e.firm),
            job: Some(e.id),
            message: e.last_error.clone().unwrap_or_else(|| e.state.clone()),
        })
        .collect();
    format.show(
        &json!({"run_id": run_id, "charged": charges, "failed": failed}),
        |_| {
            let mut text = format!("made {} attempt(s), run {run_id}\n", charged.len());
            if !charged.is_empty() {
                let rows: Vec<Vec<String>> = charged
                    .iter()
                    .map(|c| vec![c.invoice.to_string(), c.step.to_string(), c.state.clone()])
                    .collect();
                text.push_str(&table(&["INVOICE", ">ATTEMPT", "STATE"], &rows));
            }
            text.push_str(&failed_text(&failed));
            text
        },
    )?;
    Ok(exit_after(failed.len(), ended.len()))
}
