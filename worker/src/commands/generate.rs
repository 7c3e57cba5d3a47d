//! `quittance generate-package-invoices`: what would be billed, or billing it, firm by firm.

use chrono::NaiveDate;
use serde_json::{Value, json};
use shared::{
    domain::generate::{Approval, plan_hash},
    ids::{FirmId, JobId},
    store::{
        Db,
        audit::Cause,
        jobs::{self, NewJob, Queue},
    },
};
use uuid::Uuid;

use super::{
    firms::{FirmLabel, chosen_firms},
    open_db,
    wait::{Ended, WaitArgs, wait_for},
};
use crate::{
    generation::{Bill, Order, Report, Skip},
    jobs::generate_package_invoices::{KIND, dry_run},
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
    let mut plans = Vec::new();
    for firm in &firms {
        plans.push(dry_run(&db, firm.id, order, &cause).await?);
    }
    let all: Vec<_> = plans.iter().flat_map(|p| p.items.clone()).collect();
    let hash = plan_hash(&all);
    if args.dry_run {
        return show_plan(plans, &hash, format);
    }
    if let Some(expected) = args.expect_plan.as_ref().filter(|expected| **expected != hash) {
        let message =
            format!("the plan has changed: expected {expected}, it is {hash} now; look at --dry-run again");
        return Err(Failure::refused("plan_changed", message));
    }
    let jobs = enqueue(&db, &args, &firms, &plans, run_id).await?;
    if args.wait.no_wait {
        format.show(
            &json!({"run_id": run_id, "plan_hash": hash, "enqueued": jobs}),
            |_| format!("enqueued {} job(s), run {run_id}", jobs.len()),
        )?;
        return Ok(Exit::Done);
    }
    let ended = wait_for(&db, &jobs, args.wait, format, "invoice runs").await?;
    conclude(ended, &firms, run_id, &hash, format)
}

/// One job per firm, so that one firm's fault does not stop the others.
async fn enqueue(
    db: &Db,
    args: &Args,
    firms: &[FirmLabel],
    plans: &[Report],
    run_id: Uuid,
) -> Result<Vec<JobId>, Failure> {
    let mut tx = db.plain().await?;
    let now = tx.now();
    let mut ids = Vec::new();
    for (firm, plan) in firms.iter().zip(plans) {
        let expect = args.expect_plan.as_ref().map(|_| plan_hash(&plan.items));
        let payload = json!({"firm_id": firm.id, "as_of": args.as_of, "expect_plan": expect, "catch_up": args.catch_up});
        let job = NewJob::new(
            Queue::Invoices,
            KIND,
            format!("{}:{run_id}", firm.id),
            payload,
            now,
        )
        .firm(firm.id)
        .in_order_of(format!("generate:{}", firm.id));
        ids.extend(jobs::enqueue(&mut tx, &job).await?);
    }
    jobs::nudge(&mut tx).await?;
    tx.commit().await?;
    Ok(ids)
}

fn show_plan(plans: Vec<Report>, hash: &str, format: Format) -> Result<Exit, Failure> {
    let bills: Vec<Bill> = plans
        .iter()
        .flat_map(|p| {
            p.bills.iter().map(|b| Bill {
                invoice: None,
                ..b.clone()
            })
        })
        .collect();
    let skipped: Vec<Skip> = plans.into_iter().flat_map(|p| p.skipped).collect();
    let document = json!({"dry_run": true, "plan_hash": hash, "would_create": bills, "skipped": skipped});
    format.show(&document, |_| plan_text(&bills, &skipped, hash))?;
    Ok(Exit::Done)
}

fn plan_text(bills: &[Bill], skipped: &[Skip], hash: &str) -> String {
    let rows: Vec<Vec<String>> = bills
        .iter()
        .map(|b| {
            let warnings: Vec<&str> = b.warnings.iter().filter_map(|w| w["code"].as_str()).collect();
            vec![
                b.engagement.clone(),
                format!("{} to {}", b.period.start, b.period.end),
                b.total_minor.to_string(),
                b.currency.clone(),
                warnings.join(", "),
            ]
        })
        .collect();
    let mut text = format!("would create {} invoice(s)\n", bills.len());
    if !rows.is_empty() {
        text.push_str(&table(
            &["ENGAGEMENT", "PERIOD", ">MINOR", "CURRENCY", "WARNINGS"],
            &rows,
        ));
    }
    text.push_str(&skipped_text(skipped));
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
    run_id: Uuid,
    hash: &str,
    format: Format,
) -> Result<Exit, Failure> {
    let label = |id: Option<FirmId>| {
        firms
            .iter()
            .find(|f| Some(f.id) == id)
            .map_or_else(|| "unknown".to_owned(), |f| f.label.clone())
    };
    if ended
        .iter()
        .any(|e| e.state == "canceled" && e.last_error.as_deref() == Some("plan_changed"))
    {
        let message = "the plan changed while the run was waiting for its turn; look at --dry-run again";
        let details = ended
            .iter()
            .filter(|e| e.state == "canceled")
            .map(|e| Detail {
                path: label(e.firm),
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
    let failed: Vec<Value> = ended
        .iter()
        .filter(|e| e.state != "completed")
        .map(|e| json!({"firm": label(e.firm), "message": e.last_error.clone().unwrap_or_else(|| e.state.clone())}))
        .collect();
    let document = json!({"run_id": run_id, "plan_hash": hash, "created": created, "skipped": skipped, "failed": failed});
    format.show(&document, |_| {
        let mut text = format!(
            "created {} invoice(s), skipped {}, run {run_id}\n",
            created.len(),
            skipped.len()
        );
        for failure in &failed {
            text.push_str(&format!(
                "FAILED {}: {}\n",
                failure["firm"].as_str().unwrap_or_default(),
                failure["message"].as_str().unwrap_or_default()
            ));
        }
        text
    })?;
    Ok(match failed.len() {
        0 => Exit::Done,
        n if n < ended.len() => Exit::PartlyFailed,
        _ => Exit::Error,
    })
}
