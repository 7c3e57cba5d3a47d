//! `quittance invoice charge`: one attempt to charge an invoice, now, because a person says so.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use shared::{
    domain::explain::reasons,
    ids::{InvoiceId, JobId},
    money::Money,
    store::{
        Db,
        audit::{By, Cause},
        cycles::{self, ByHand},
        jobs,
    },
};
use uuid::Uuid;

use super::{
    charge::wait_for_outcomes,
    find::find_invoice,
    operator,
    reason::said,
    wait::{Ended, WaitArgs, pause},
};
use crate::output::{Exit, Failure, Format};

/// Arguments of `invoice charge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// UUID, number, external_id, or the Stripe id of an intent or charge.
    id: String,
    /// Yes, charge the client's card now.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "R", value_parser = said)]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Serialize)]
struct Shown {
    invoice: InvoiceId,
    amount_minor: i64,
    currency: String,
    job: JobId,
    /// How the attempt stands; none where nobody waited for it.
    state: Option<String>,
}

/// Runs `invoice charge`.
///
/// # Errors
/// When a condition refuses it, it is not confirmed, the time is up, or the database is away.
pub async fn run(db: &Db, args: Args, out: Format) -> Result<Exit, Failure> {
    if !args.yes {
        return Err(Failure::usage(
            "this charges the client's card at once: say --yes",
        ));
    }
    let (firm, invoice) = find_invoice(db, &args.id).await?;
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let started = Instant::now();
    let (job, amount) = loop {
        let mut tx = db.firm(firm).await?;
        let by = By {
            actor: &actor,
            cause: &cause,
            at: tx.now(),
        };
        let asked = cycles::charge_by_hand(&mut tx, firm, invoice, args.reason.as_deref(), &by).await?;
        jobs::nudge(&mut tx).await?;
        tx.commit().await?;
        match asked {
            ByHand::Charges(job, amount) => break (job, amount),
            ByHand::Refuse(reason) => {
                let message = format!("{} is not charged: {}", args.id, reasons::text(reason));
                return Err(Failure::refused(reason, message));
            }
            ByHand::Wait if args.wait.no_wait => {
                let message =
                    "what its last collection left at Stripe is being canceled: ask again in a moment";
                return Err(Failure::try_again("earlier_intent_open", message));
            }
            ByHand::Wait => pause(db, started, args.wait, "the cancellation of its last collection").await?,
        }
    };
    let mut state = None;
    if !args.wait.no_wait {
        let (ended, charged) = wait_for_outcomes(db, &[job], args.wait, out).await?;
        let Some(attempt) = charged.into_iter().next() else {
            return Err(nothing_charged(&args.id, &ended));
        };
        state = Some(attempt.state);
    }
    let shown = Shown {
        invoice,
        amount_minor: amount.minor(),
        currency: amount.currency().as_str().to_owned(),
        job,
        state,
    };
    out.show(&shown, |shown| describe(shown, &args.id, amount))?;
    Ok(Exit::Done)
}

/// The job ended without an attempt: it failed, or what it looked at had changed since it was asked for, such as by a pause.
fn nothing_charged(label: &str, ended: &[Ended]) -> Failure {
    if let Some(job) = ended.iter().find(|job| job.state == "discarded") {
        let why = job.last_error.as_deref().unwrap_or("its job was given up");
        return Failure::new("failed", format!("{label} is not charged: {why}"));
    }
    let reason = ended.iter().find_map(|job| {
        let told = ["held", "canceled", "already_applied"]
            .iter()
            .find_map(|key| job.result.get(key));
        told.and_then(Value::as_str)
    });
    let why = reason.map_or_else(|| "something came between".to_owned(), reasons::text);
    Failure::refused(
        "not_charged",
        format!("{label} is not charged: {why}; `quittance why-not charge {label}` says more"),
    )
}

fn describe(shown: &Shown, label: &str, amount: Money) -> String {
    match &shown.state {
        Some(state) => format!("{label}: {amount} {state}\n"),
        None => format!("{label}: {amount} is charged by job {}\n", shown.job),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(state: &str, result: Value, last_error: Option<&str>) -> Vec<Ended> {
        vec![Ended {
            id: JobId::new(),
            firm: None,
            state: state.into(),
            result,
            last_error: last_error.map(str::to_owned),
        }]
    }

    #[test]
    fn a_charge_that_did_not_happen_is_no_success() {
        let held = nothing_charged(
            "INV-1",
            &ended("completed", json!({"held": "autopay_paused"}), None),
        );
        assert_eq!((held.code, held.exit), ("not_charged", Exit::Refused));
        assert!(
            held.message.contains(&reasons::text("autopay_paused")),
            "{}",
            held.message
        );
        let failed = nothing_charged("INV-1", &ended("discarded", Value::Null, Some("no key")));
        assert_eq!((failed.code, failed.exit), ("failed", Exit::Error));
        assert!(failed.message.ends_with("no key"), "{}", failed.message);
    }
}
