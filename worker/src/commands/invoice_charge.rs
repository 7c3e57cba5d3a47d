//! `quittance invoice charge`: one attempt to charge an invoice, now, because a person says so.

use std::time::Instant;

use serde::Serialize;
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
    wait::{WaitArgs, pause},
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
        let charged = wait_for_outcomes(db, &[job], args.wait, out).await?.1;
        state = charged.into_iter().next().map(|attempt| attempt.state);
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

fn describe(shown: &Shown, label: &str, amount: Money) -> String {
    match &shown.state {
        Some(state) => format!("{label}: {amount} {state}\n"),
        None => format!("{label}: {amount} is charged by job {}\n", shown.job),
    }
}
