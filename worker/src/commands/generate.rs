//! `quittance generate-package-invoices`: what would be billed (fees, and the hours that fall due), or billing it, firm by
//! firm.

use chrono::NaiveDate;
use serde_json::{Value, json};
use shared::{
    actions::runs::{self, InvoiceRun},
    domain::{
        generate::{Approval, plan_hash},
        import::LineKind,
    },
    ids::JobId,
    store::{Db, audit::Cause, jobs},
};
use uuid::Uuid;

use super::{
    firms::{FailedFirm, FirmLabel, chosen_firms, exit_after, failed_text, label_of},
    open_db,
    wait::{Ended, WaitArgs, wait_for},
};
use crate::{
    generation::{Bill, Order, Report, Skip},
    jobs::generate_package_invoices::dry_run,
    output::{Detail, Exit, Failure, Format, table},
};

/// Arguments of `generate-package-invoices`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what would be billed and the plan's hash; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only this firm; all firms unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Plan for this date instead of each firm's today.
    #[arg(long, value_name = "DATE")]
    as_of: Option<NaiveDate>,
    /// Refuse (exit 4) when the plan has another hash by now.
    #[arg(long, value_name = "HASH", conflicts_with = "dry_run")]
    expect_plan: Option<String>,
    /// Bill everything in arrears, however far back: you have looked at the dry run.
    #[arg(long)]
    catch_up: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs `generate-package-invoices`.
///
/// # Errors
/// When the database is away, the plan changed, no worker runs, or every firm failed.
pub async fn run(args: Args, format: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let firms = chosen_firms(&db, args.firm_id.as_deref()).await?;
    let order = Order {
        as_of: args.as_of,
        approval: Approval {
            approved: args.catch_up,
            ..Approval::default()
        },
    };
    let run_id = Uuid::now_v7();
    let cause = Cause::command(run_id);
    let (mut plans, mut failed) = (Vec::new(), Vec::new());
    for firm in firms {
        match dry_run(&db, firm.id, order, &cause).await {
            Ok(plan) => plans.push((firm, plan)),
            // What cannot be planned cannot be billed either.
            Err(fault) => failed.push(firm.failed(fault)?),
        }
    }
    let all: Vec<_> = plans.iter().flat_map(|(_, plan)| plan.items.clone()).collect();
    let hash = plan_hash(&all);
    if args.dry_run {
        return show_plan(plans, &failed, &hash, format);
    }
    if let Some(expected) = args.expect_plan.as_ref().filter(|expected| **expected != hash) {
        let message =
            format!("the plan has changed: expected {expected}, it is {hash} now; look at --dry-run again");
        return Err(Failure::refused("plan_changed", message));
    }
    let jobs = enqueue(&db, &args, &plans, run_id).await?;
    if args.wait.no_wait {
        format.show(
            &json!({"run_id": run_id, "plan_hash": hash, "enqueued": jobs, "failed": failed}),
            |_| {
                format!(
                    "enqueued {} job(s), run {run_id}\n{}",
                    jobs.len(),
                    failed_text(&failed)
                )
            },
        )?;
        return Ok(exit_after(failed.len(), failed.len() + jobs.len()));
    }
    let ended = wait_for(&db, &jobs, args.wait, format, "invoice runs").await?;
    let firms: Vec<FirmLabel> = plans.into_iter().map(|(firm, _)| firm).collect();
    conclude(ended, &firms, failed, run_id, &hash, format)
}

/// One job per firm, so that one firm's fault does not stop the others.
async fn enqueue(
    db: &Db,
    args: &Args,
    plans: &[(FirmLabel, Report)],
    run_id: Uuid,
) -> Result<Vec<JobId>, Failure> {
    let mut tx = db.plain().await?;
    let mut ids = Vec::new();
    for (firm, plan) in plans {
        let expect = args.expect_plan.as_ref().map(|_| plan_hash(&plan.items));
        let order = InvoiceRun {
            as_of: args.as_of,
            expect_plan: expect.as_deref(),
            catch_up: args.catch_up,
        };
        ids.extend(runs::invoices(&mut tx, firm.id, &order, run_id).await?);
    }
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    Ok(ids)
}

fn show_plan(
    plans: Vec<(FirmLabel, Report)>,
    failed: &[FailedFirm],
    hash: &str,
    format: Format,
) -> Result<Exit, Failure> {
    let exit = exit_after(failed.len(), failed.len() + plans.len());
    let bills: Vec<Bill> = plans
        .iter()
        .flat_map(|(_, plan)| {
            plan.bills.iter().map(|b| Bill {
                invoice: None,
                ..b.clone()
            })
        })
        .collect();
    let skipped: Vec<Skip> = plans.into_iter().flat_map(|(_, plan)| plan.skipped).collect();
    let document = json!({
        "dry_run": true, "plan_hash": hash, "would_create": bills, "skipped": skipped, "failed": failed,
    });
    format.show(&document, |_| plan_text(&bills, &skipped, failed, hash))?;
    Ok(exit)
}

/// What of an invoice is for one kind of lines, in minor units.
fn kind(bill: &Bill, kind: LineKind) -> String {
    let sum = bill.lines.iter().find(|sum| sum.kind == kind);
    sum.map(|sum| sum.amount_minor.to_string()).unwrap_or_default()
}

fn plan_text(bills: &[Bill], skipped: &[Skip], failed: &[FailedFirm], hash: &str) -> String {
    let rows: Vec<Vec<String>> = bills
        .iter()
        .map(|b| {
            let warnings: Vec<&str> = b.warnings.iter().filter_map(|w| w["code"].as_str()).collect();
            vec![
                b.engagement.clone(),
                format!("{} to {}", b.period.start, b.period.end),
                kind(b, LineKind::PackageFee),
                kind(b, LineKind::Hourly),
                b.total_minor.to_string(),
                b.currency.clone(),
                warnings.join(", "),
            ]
        })
        .collect();
    let mut text = format!("would create {} invoice(s)\n", bills.len());
    if !rows.is_empty() {
        text.push_str(&table(
            &[
                "ENGAGEMENT",
                "PERIOD",
                ">PACKAGE",
                ">HOURS",
                ">TOTAL MINOR",
                "CURRENCY",
                "WARNINGS",
            ],
            &rows,
        ));
    }
    text.push_str(&skipped_text(skipped));
    text.push_str(&failed_text(failed));
    text.push_str(&format!(
        "plan {hash}\nrun it: quittance generate-package-invoices --expect-plan {hash}\n"
    ));
    text
}

fn skipped_text(skipped: &[Skip]) -> String {
    if skipped.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = skipped
        .iter()
        .map(|s| {
            let period = s
                .period
                .map(|p| format!("{} to {}", p.start, p.end))
                .unwrap_or_default();
            vec![s.engagement.clone(), period, s.reason_code.clone()]
        })
        .collect();
    format!(
        "skipped {}\n{}",
        skipped.len(),
        table(&["ENGAGEMENT", "PERIOD", "REASON"], &rows)
    )
}

fn conclude(
    ended: Vec<Ended>,
    firms: &[FirmLabel],
    mut failed: Vec<FailedFirm>,
    run_id: Uuid,
    hash: &str,
    format: Format,
) -> Result<Exit, Failure> {
    if ended
        .iter()
        .any(|e| e.state == "canceled" && e.last_error.as_deref() == Some("plan_changed"))
    {
        let message = "the plan changed while the run was waiting for its turn; look at --dry-run again";
        let details = ended
            .iter()
            .filter(|e| e.state == "canceled")
            .map(|e| Detail {
                path: label_of(firms, e.firm),
                message: "plan_changed".into(),
            })
            .collect();
        return Err(Failure::refused("plan_changed", message).with_details(details));
    }
    let list = |name: &str| -> Vec<Value> {
        ended
            .iter()
            .filter_map(|e| e.result[name].as_array())
            .flatten()
            .cloned()
            .collect()
    };
    let (created, skipped) = (list("created"), list("skipped"));
    let tried = failed.len() + ended.len();
    failed.extend(
        ended
            .iter()
            .filter(|e| e.state != "completed")
            .map(|e| FailedFirm {
                firm: label_of(firms, e.firm),
                job: Some(e.id),
                message: e.last_error.clone().unwrap_or_else(|| e.state.clone()),
            }),
    );
    let document = json!({"run_id": run_id, "plan_hash": hash, "created": created, "skipped": skipped, "failed": failed});
    format.show(&document, |_| {
        format!(
            "created {} invoice(s), skipped {}, run {run_id}\n{}",
            created.len(),
            skipped.len(),
            failed_text(&failed)
        )
    })?;
    Ok(exit_after(failed.len(), tried))
}
